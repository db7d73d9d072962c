"""Measure the artefacts of a label. Imports Numba and scikit-image, which takes a second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.data.checks.label_artefacts import SMALL_VOXELS, Kind, LabelArtefacts
from minivess.data.checks.label_bits import LabelBits, unpack
from minivess.data.checks.label_skeleton import find_lost
from minivess.data.checks.label_topology import (
    Pieces,
    cavities,
    count_jumps,
    euler_characteristic,
    mark_narrow,
    vessel_pieces,
)
from minivess.geometry import Shape, Spacing

JUMPS = 200
"""Smallest number of jumps in each direction for which the ratio is judged."""

LONGEST_RUN = 64
"""Longer runs of voxels along X are vessels that lie along X; they do not show a jump along X."""

LARGEST_JUMP = 8.0
"""Larger jumps count as this many voxels, so that a few wrong pairs do not decide the mean."""

ROUNDING = 0.25
"""Mean jump in voxels that rounding to voxels alone causes in a smooth vessel."""

_REACH, _TRIED = 8, 100
"""Voxels around a passage in which a tunnel is looked for, and number of passages that are tried, for the picture."""

Place = tuple[int, int, int]


def measure_artefacts(words: NDArray[np.uint32], shape: Shape, spacing_um: Spacing) -> LabelArtefacts:
    """Count the artefacts of a label.

    Args:
        words: The label, from ``LabelBits.words``; its pieces are taken out of it.
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z in micrometres.
    """
    pieces, holes = vessel_pieces(words, shape[0]), cavities(words, shape[0])
    tunnels = _count_tunnels(words, len(pieces.sizes), holes)
    jump_um, in_plane_um, step = _jumps(words, shape, spacing_um)
    bridges, pinholes, pinhole = _narrow_places(words, shape, len(pieces.sizes), tunnels)
    lost = find_lost(words, pieces)
    small = pieces.some(np.flatnonzero(pieces.sizes < SMALL_VOXELS))
    places: dict[Kind, Place | None] = {
        "label_small_pieces": _largest(small),
        "label_bridges": _largest(bridges),
        "label_pinholes": pinhole,
        "label_cavities": _largest(holes),
        "label_no_centreline": _largest(pieces.some(lost)),
        "label_staircase": step,
    }
    found = LabelArtefacts(
        pieces=len(pieces.sizes),
        tunnels=tunnels,
        cavities=len(holes.sizes),
        cavity_voxels=int(holes.sizes.sum()),
        small_pieces=len(small.sizes),
        bridges=len(bridges.sizes),
        pinholes=pinholes,
        lost_pieces=len(lost),
        jump_um=jump_um,
        jump_in_plane_um=in_plane_um,
    )
    return found.model_copy(update={"places": {kind: at for kind, at in places.items() if at and found.count(kind)}})


def _count_tunnels(words: NDArray[np.uint32], pieces: int, holes: Pieces) -> int:
    """Betti-1, from the Euler characteristic: pieces - tunnels + cavities."""
    return pieces + len(holes.sizes) - int(euler_characteristic(words))


def _largest(pieces: Pieces) -> Place | None:
    return _place(pieces.firsts[np.argmax(pieces.sizes)]) if len(pieces.sizes) else None


def _place(voxel: NDArray[np.int64]) -> Place:
    x, y, z = voxel.tolist()
    return x, y, z


def _narrow_places(
    words: NDArray[np.uint32], shape: Shape, pieces: int, tunnels: int
) -> tuple[Pieces, int, Place | None]:
    """Bridges, number of pinholes, and a voxel in a pinhole."""
    marked, passages = mark_narrow(words)
    bridges = vessel_pieces(marked, shape[0])
    del marked
    groups = vessel_pieces(passages, shape[0])
    if not len(groups.sizes):
        return bridges, 0, None
    place = _find_pinhole(words, passages, groups.firsts, shape)
    passages |= words  # joins no pieces, because all foreground around a passage voxel is connected
    left = _count_tunnels(passages, pieces, cavities(passages, shape[0]))
    return bridges, tunnels - left, place


def _jumps(words: NDArray[np.uint32], shape: Shape, spacing_um: Spacing) -> tuple[float | None, float | None, Place]:
    """Mean jump between slices and within a slice in micrometres, and the middle of the row with the largest jumps."""
    rows = max(1, round(spacing_um[2] / spacing_um[1]))
    between, sums = count_jumps(words, shape[0], 0, 1, LONGEST_RUN)
    within, _ = count_jumps(words, shape[0], rows, 0, LONGEST_RUN)
    y = int(np.argmax(sums))
    plane = unpack(words, (0, y, 0), (shape[0], y + 1, shape[2]))[:, 0]
    x = int(np.argmax(np.count_nonzero(plane, axis=1)))
    z = int(np.median(np.flatnonzero(plane[x]))) if plane.any() else 0
    if min(between.sum(), within.sum()) < JUMPS:
        return None, None, (x, y, z)
    jumps = np.minimum(np.arange(between.size) / 4, LARGEST_JUMP)
    means = [float(jumps @ counts / counts.sum()) for counts in (between, within)]
    return means[0] * spacing_um[0], max(means[1], ROUNDING) * spacing_um[0], (x, y, z)


def _find_pinhole(
    words: NDArray[np.uint32], passages: NDArray[np.uint32], firsts: NDArray[np.int64], shape: Shape
) -> Place:
    """The first passage whose filling closes a tunnel within a few voxels; a blind pit closes none."""
    for first in firsts[:_TRIED]:
        low = np.maximum(first - _REACH, 0)
        high = np.minimum(first + _REACH + 1, shape)
        box = unpack(words, low, high)
        if _tunnels_of(box | unpack(passages, low, high)) < _tunnels_of(box):
            return _place(first)
    return _place(firsts[0])


def _tunnels_of(mask: NDArray[np.bool_]) -> int:
    bits = LabelBits()
    bits.take(mask.ravel(order="F"))
    words, width = bits.words(mask.shape), mask.shape[0]
    return _count_tunnels(words, len(vessel_pieces(words, width).sizes), cavities(words, width))
