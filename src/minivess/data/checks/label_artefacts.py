"""Artefacts of a label that bias topology numbers: what they are, how many a label has, and what to do about them.

Vessels are 26-connected and the background is 6-connected, as in ``minivess.metrics.betti``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from minivess.findings import Finding, Level
from minivess.text import counted

SMALL_VOXELS = 64
"""Pieces with fewer voxels are small: less than a block of 4 x 4 x 4."""

SHARE, FEW = 0.1, 3
"""Artefacts are a warning if they are more than this share of the number that they change, and at least this many."""

STAIRCASE = 1.5
"""Smallest ratio of the jumps between slices to those within a slice that is a staircase.

Phantoms with smooth vessels have at most 1.2, and 2 to 5 after a random shift of each slice by at most one voxel.
"""

Kind = Literal[
    "label_small_pieces", "label_bridges", "label_pinholes", "label_cavities", "label_no_centreline", "label_staircase"
]


class LabelArtefacts(BaseModel):
    """Topology of a label and its artefacts.

    Attributes:
        pieces: Number of 26-connected pieces (Betti-0).
        tunnels: Number of tunnels, the loops of the vessel network (Betti-1).
        cavities: Number of enclosed pieces of background (Betti-2). Vessels have none.
        cavity_voxels: Voxels of all cavities.
        small_pieces: Number of pieces with fewer than ``SMALL_VOXELS`` voxels.
        bridges: Number of places where a single voxel joins two thick parts of vessel. Around each such voxel, the
            vessel falls apart without it, and two of these parts touch a block of 2x2x2 vessel voxels.
        pinholes: Number of tunnels that close if every passage one voxel wide is filled.
        lost_pieces: Number of pieces of which scikit-image's ``skeletonize(method="lee")`` keeps no voxel. Pieces whose
            bounding box has more than 2^18 voxels are not tried.
        jump_um: Mean sideways jump of vessels from slice to slice, along X in micrometres; None with too few vessels.
        jump_in_plane_um: The same between rows of one slice that are as far apart as the slices; at least a quarter of a
            voxel, which rounding to voxels causes.
        places: A voxel (x, y, z) of the largest artefact of each kind that was found, by the name of its finding.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    pieces: int
    tunnels: int
    cavities: int
    cavity_voxels: int
    small_pieces: int
    bridges: int
    pinholes: int
    lost_pieces: int
    jump_um: float | None
    jump_in_plane_um: float | None
    places: dict[Kind, tuple[int, int, int]] = {}

    @property
    def is_staircase(self) -> bool:
        """Whether vessels jump more between slices than within a slice."""
        if self.jump_um is None or self.jump_in_plane_um is None:
            return False
        return self.jump_um > STAIRCASE * self.jump_in_plane_um

    @property
    def jumps(self) -> str:
        """The jumps between slices and within a slice, such as "1.3 / 0.8"; empty if there are too few."""
        if self.jump_um is None or self.jump_in_plane_um is None:
            return ""
        return f"{self.jump_um:.2g} / {self.jump_in_plane_um:.2g}"

    def count(self, kind: Kind) -> int:
        """Number of artefacts of a kind; 1 for a staircase."""
        numbers: dict[Kind, int] = {
            "label_small_pieces": self.small_pieces,
            "label_bridges": self.bridges,
            "label_pinholes": self.pinholes,
            "label_cavities": self.cavities,
            "label_no_centreline": self.lost_pieces,
            "label_staircase": int(self.is_staircase),
        }
        return numbers[kind]


def check_artefacts(name: str, found: LabelArtefacts) -> list[Finding]:
    """Report the artefacts of a label. None of them stops a run."""
    findings = []
    for kind, describe in _DESCRIBE.items():
        if found.count(kind):
            level, expected, got, cure = describe(found)
            findings.append(Finding(level, kind, name, expected, got, cure))
    return findings


_Description = tuple[Level, str, str, str]
"""Level, what was expected, what was found, and what to do."""


def _small_pieces(found: LabelArtefacts) -> _Description:
    return (
        _level(found.small_pieces, found.pieces),
        f"pieces of {SMALL_VOXELS} voxels or more",
        f"pieces with fewer than {SMALL_VOXELS} voxels: {found.small_pieces} of {found.pieces}",
        "each counts as a vessel in the Betti-0 error; join it to its vessel, or remove it if it is noise",
    )


def _bridges(found: LabelArtefacts) -> _Description:
    return (
        _level(found.bridges, found.pieces + found.tunnels),
        "vessels joined by more than one voxel",
        f"{counted(found.bridges, 'place')} where one voxel joins two parts",
        "this one voxel decides whether two vessels count as one (Betti-0) or as a loop (Betti-1); "
        "thicken it if the vessels meet, remove it if they do not",
    )


def _pinholes(found: LabelArtefacts) -> _Description:
    return (
        _level(found.pinholes, found.tunnels),
        "loops wider than one voxel",
        f"tunnels that are one voxel wide: {found.pinholes} of {found.tunnels}",
        "each counts as a loop in the Betti-1 error; fill the hole, unless these are two separate vessels",
    )


def _cavities(found: LabelArtefacts) -> _Description:
    return (
        _level(found.cavities, found.pieces),
        "vessels without cavities",
        f"{counted(found.cavities, 'cavity', 'cavities')} of {counted(found.cavity_voxels, 'voxel')} in all",
        "the centreline becomes a closed surface around each cavity, and its wall counts in surface distances; fill it",
    )


def _no_centreline(found: LabelArtefacts) -> _Description:
    return (
        _level(found.lost_pieces, found.pieces),
        'a voxel of each piece in skeletonize(method="lee")',
        f"pieces that vanish in scikit-image's skeleton: {found.lost_pieces} of {found.pieces}",
        "in centreline_dsc and other clDice on that skeleton, a prediction that misses these vessels loses no score; "
        "compare cldice",
    )


def _staircase(found: LabelArtefacts) -> _Description:
    return (
        "warning",
        "vessels as smooth along Z as in plane",
        f"sideways jumps of {found.jump_um:.2g} µm between slices, and {found.jump_in_plane_um:.2g} µm within a slice",
        "the label was probably drawn slice by slice: smooth it along Z; "
        "differences of surface distances that are smaller than this jump have no meaning",
    )


_DESCRIBE: dict[Kind, Callable[[LabelArtefacts], _Description]] = {
    "label_small_pieces": _small_pieces,
    "label_bridges": _bridges,
    "label_pinholes": _pinholes,
    "label_cavities": _cavities,
    "label_no_centreline": _no_centreline,
    "label_staircase": _staircase,
}


def _level(number: int, of: int) -> Level:
    return "warning" if number >= FEW and number > SHARE * of else "info"
