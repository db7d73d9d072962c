"""Artefacts of a label that bias topology numbers: what they are, how many a label has, and what to do about them.

Vessels are 26-connected and the background is 6-connected, as in ``minivess.metrics.betti``.
"""

from __future__ import annotations

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
    return [
        finding
        for finding in (
            _small_pieces(name, found),
            _bridges(name, found),
            _pinholes(name, found),
            _cavities(name, found),
            _no_centreline(name, found),
            _staircase(name, found),
        )
        if finding is not None
    ]


def _small_pieces(name: str, found: LabelArtefacts) -> Finding | None:
    if not found.small_pieces:
        return None
    got = f"{found.small_pieces} of {counted(found.pieces, 'piece')} have fewer than {SMALL_VOXELS} voxels"
    expected = f"pieces of {SMALL_VOXELS} voxels or more"
    cure = "each counts as a vessel in the Betti-0 error; join it to its vessel, or remove it if it is noise"
    level = _level(found.small_pieces, found.pieces)
    return Finding(level, "label_small_pieces", name, expected, got, cure)


def _bridges(name: str, found: LabelArtefacts) -> Finding | None:
    if not found.bridges:
        return None
    got = f"{counted(found.bridges, 'place')} where one voxel joins two parts"
    cure = (
        "each decides alone whether two vessels are one (Betti-0) or form a loop (Betti-1); "
        "thicken it if the vessels meet, remove it if they do not"
    )
    level = _level(found.bridges, found.pieces + found.tunnels)
    return Finding(level, "label_bridges", name, "vessels joined by more than one voxel", got, cure)


def _pinholes(name: str, found: LabelArtefacts) -> Finding | None:
    if not found.pinholes:
        return None
    got = f"{found.pinholes} of {counted(found.tunnels, 'tunnel')} are one voxel wide"
    cure = "each counts as a loop in the Betti-1 error; fill it, unless two vessels really run that close"
    level = _level(found.pinholes, found.tunnels)
    return Finding(level, "label_pinholes", name, "loops wider than one voxel", got, cure)


def _cavities(name: str, found: LabelArtefacts) -> Finding | None:
    if not found.cavities:
        return None
    got = f"{counted(found.cavities, 'cavity', 'cavities')} of {counted(found.cavity_voxels, 'voxel')} in all"
    cure = "a centreline becomes a shell around each, and its wall counts in surface distances; fill it"
    level = _level(found.cavities, found.pieces)
    return Finding(level, "label_cavities", name, "vessels without cavities", got, cure)


def _no_centreline(name: str, found: LabelArtefacts) -> Finding | None:
    if not found.lost_pieces:
        return None
    got = f"{found.lost_pieces} of {counted(found.pieces, 'piece')} vanish in scikit-image's skeleton"
    expected = 'a voxel of each piece in skeletonize(method="lee")'
    cure = (
        "centreline_dsc and other clDice on that skeleton do not count these pieces: missing them costs nothing; "
        "read it together with the Betti-0 error"
    )
    level = _level(found.lost_pieces, found.pieces)
    return Finding(level, "label_no_centreline", name, expected, got, cure)


def _staircase(name: str, found: LabelArtefacts) -> Finding | None:
    if not found.is_staircase:
        return None
    got = f"sideways jumps of {found.jump_um:.2g} µm between slices, and {found.jump_in_plane_um:.2g} µm within a slice"
    cure = (
        "the label was probably drawn slice by slice: steps add surface distance and side branches of centrelines; "
        "smooth it along Z, or do not read differences below the jump"
    )
    return Finding("warning", "label_staircase", name, "vessels as smooth along Z as in plane", got, cure)


def _level(number: int, of: int) -> Level:
    return "warning" if number >= FEW and number > SHARE * of else "info"
