"""Find regions where networks that have not seen a case agree with each other but not with its label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LEAST_VOXELS = 8
"""A region with fewer voxels beyond the tolerance is not listed."""
TILE_VOXELS = 64
"""Larger regions are cut at a grid in the plane with this distance, so that each can be looked at."""
_MOST_DEPTH = 2.0
"""A voxel that is farther beyond the tolerance than this many times the tolerance counts no more."""
_LEAST_AGREEMENT = 0.5
"""More than this share of the networks must disagree with the label at a voxel."""

Kind = Literal["missing", "unconfirmed"]


@dataclass(frozen=True)
class Doubt:
    """A region where the label is in doubt.

    Attributes:
        kind: "missing": the networks see vessel that the label does not have. "unconfirmed": the label has vessel that the
            networks do not see.
        voxels: Number of voxels of the region beyond the tolerance.
        volume_um3: Their volume in cubic micrometre.
        agreement: Mean share of the networks that disagree with the label, from 0.5 to 1.
        peak: The voxel (x, y, z), from 0, where the region is thickest.
        first: Smallest index of the region along X, Y and Z.
        last: Largest index of the region along X, Y and Z.
        score: Rank of the region: the higher, the more certainly the label is wrong and the more of it.
    """

    kind: Kind
    voxels: int
    volume_um3: float
    agreement: float
    peak: tuple[int, int, int]
    first: tuple[int, int, int]
    last: tuple[int, int, int]
    score: float


def find_doubts(
    label: NDArray[np.bool_], share: NDArray[np.float32], spacing_um: Sequence[float], tolerance_um: float
) -> list[Doubt]:
    """Find the regions of a volume where its label is in doubt, the most doubtful first.

    Vessels are drawn a little wider or narrower by every person. So a voxel counts only if it is farther from the other
    mask than ``tolerance_um``, or than one voxel along an axis with larger voxels.

    Args:
        label: The label (X, Y, Z).
        share: Share of the networks that call each voxel vessel, from 0 to 1 (X, Y, Z).
        spacing_um: Voxel size along X, Y and Z in micrometre.
        tolerance_um: Tolerance in micrometre.
    """
    seen = share > _LEAST_AGREEMENT
    unit = [float(size) / max(float(size), tolerance_um) for size in spacing_um]
    kinds: tuple[tuple[Kind, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float32]], ...] = (
        ("missing", seen, label, share),
        ("unconfirmed", label & (1 - share > _LEAST_AGREEMENT), seen, 1 - share),
    )
    found = [
        doubt
        for kind, present, absent_from, disagree in kinds
        for doubt in _regions(kind, present, absent_from, disagree, unit, float(np.prod(spacing_um)))
    ]
    return sorted(found, key=lambda doubt: (-doubt.score, doubt.peak))


def _regions(
    kind: Kind,
    present: NDArray[np.bool_],
    other: NDArray[np.bool_],
    disagree: NDArray[np.float32],
    unit: Sequence[float],
    voxel_um3: float,
) -> list[Doubt]:
    """Return the regions of ``present`` that are beyond the tolerance from ``other``; distance 1 is the tolerance."""
    depth = np.full(present.shape, _MOST_DEPTH, np.float32)
    if other.any():
        depth = np.minimum(_distances(~other, unit) - 1, _MOST_DEPTH).astype(np.float32)
    outside = present & (depth > 0)
    certain = np.where(outside, disagree * depth, 0)
    thickness = _distances(outside, unit)
    pieces = _in_tiles(ndimage.label(outside, np.ones((3, 3, 3)))[0])
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        inside = pieces[box] == number
        voxels = int(np.count_nonzero(inside))
        if voxels < LEAST_VOXELS:
            continue
        peak = np.unravel_index(int(np.argmax(thickness[box] * inside)), inside.shape)
        starts = [side.start for side in box]
        found.append(
            Doubt(
                kind=kind,
                voxels=voxels,
                volume_um3=voxels * voxel_um3,
                agreement=float(disagree[box][inside].mean()),
                peak=_triple(start + int(at) for start, at in zip(starts, peak, strict=True)),
                first=_triple(starts),
                last=_triple(side.stop - 1 for side in box),
                score=float(certain[box][inside].sum()),
            )
        )
    return found


def _distances(mask: NDArray[np.bool_], unit: Sequence[float]) -> NDArray[np.float32]:
    """Return the distance of each voxel of a mask to the nearest voxel outside of it; the volume has no border."""
    found: NDArray[np.float32] = edt.edt(
        np.asfortranarray(mask), anisotropy=tuple(unit), black_border=False, parallel=1
    )
    return found


def _in_tiles(pieces: NDArray[np.integer]) -> NDArray[np.int32]:
    """Cut connected pieces at a grid in the plane, so that each region fits into a picture; number them from 1."""
    at = np.nonzero(pieces)
    tiles = -(-np.array(pieces.shape[:2]) // TILE_VOXELS)
    tile = at[0] // TILE_VOXELS * tiles[1] + at[1] // TILE_VOXELS
    numbers = pieces[at].astype(np.int64) * int(tiles.prod()) + tile
    found = np.zeros(pieces.shape, np.int32)
    found[at] = np.unique(numbers, return_inverse=True)[1] + 1
    return found


def _triple(values: Iterable[int]) -> tuple[int, int, int]:
    x, y, z = values
    return x, y, z
