"""Measure the artefacts of a label. Imports Numba, which takes a second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.data.checks.label_artefacts import SMALL_VOXELS, Kind, LabelArtefacts
from minivess.data.checks.label_bits import unpack
from minivess.data.checks.label_jumps import count_jumps
from minivess.data.checks.label_narrow import mark_narrow
from minivess.data.checks.label_skeleton import find_lost
from minivess.geometry import Shape, Spacing
from minivess.topology.packed import euler_characteristic, pack
from minivess.topology.pieces import Pieces, find_cavities, find_pieces

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


def measure_artefacts(packed: NDArray[np.uint8], shape: Shape, spacing_um: Spacing) -> LabelArtefacts:
    """Count the artefacts of a label.

    Args:
        packed: The label, from ``LabelBits.packed``; its pieces are taken out of it.
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z in micrometres.
    """
    pieces, holes = find_pieces(packed), find_cavities(packed)
    tunnels = _count_tunnels(packed, len(pieces.sizes), holes)
    jump_um, in_plane_um, step = _jumps(packed, shape, spacing_um)
    bridges, pinholes, pinhole = _narrow_places(packed, shape, len(pieces.sizes), tunnels)
    lost = find_lost(packed, pieces)
    small = pieces.some(np.flatnonzero(pieces.sizes < SMALL_VOXELS))
    places: dict[Kind, Place | None] = {
        "label_small_pieces": _largest(packed, small),
        "label_bridges": _largest(packed, bridges),
        "label_pinholes": pinhole,
        "label_cavities": _largest(packed, holes),
        "label_no_centreline": _largest(packed, pieces.some(lost)),
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


def _count_tunnels(packed: NDArray[np.uint8], pieces: int, holes: Pieces) -> int:
    """Betti-1, from the Euler characteristic: pieces - tunnels + cavities."""
    return pieces + len(holes.sizes) - int(euler_characteristic(packed))


def _largest(packed: NDArray[np.uint8], pieces: Pieces) -> Place | None:
    return _place(packed, pieces.firsts[np.argmax(pieces.sizes)]) if len(pieces.sizes) else None


def _place(packed: NDArray[np.uint8], at: np.int64) -> Place:
    z, y, x = np.unravel_index(at, (*packed.shape[:2], 8 * packed.shape[2]))
    return int(x), int(y) - 1, int(z) - 1


def _narrow_places(
    packed: NDArray[np.uint8], shape: Shape, pieces: int, tunnels: int
) -> tuple[Pieces, int, Place | None]:
    """Bridges, number of pinholes, and a voxel in a pinhole."""
    marked, passages = mark_narrow(packed)
    bridges = find_pieces(marked)
    del marked
    groups = find_pieces(passages)
    if not len(groups.sizes):
        return bridges, 0, None
    place = _find_pinhole(packed, passages, groups.firsts, shape)
    passages |= packed  # joins no pieces, because all foreground around a passage voxel is connected
    left = _count_tunnels(passages, pieces, find_cavities(passages))
    return bridges, tunnels - left, place


def _jumps(packed: NDArray[np.uint8], shape: Shape, spacing_um: Spacing) -> tuple[float | None, float | None, Place]:
    """Mean jump between slices and within a slice in micrometres, and the middle of the row with the largest jumps."""
    rows = max(1, round(spacing_um[2] / spacing_um[1]))
    between, sums = count_jumps(packed, 0, 1, LONGEST_RUN)
    within, _ = count_jumps(packed, rows, 0, LONGEST_RUN)
    y = int(np.argmax(sums))
    plane = unpack(packed, (0, y, 0), (shape[0], y + 1, shape[2]))[:, 0]
    x = int(np.argmax(np.count_nonzero(plane, axis=1)))
    z = int(np.median(np.flatnonzero(plane[x]))) if plane.any() else 0
    if min(between.sum(), within.sum()) < JUMPS:
        return None, None, (x, y, z)
    jumps = np.minimum(np.arange(between.size) / 4, LARGEST_JUMP)
    means = [float(jumps @ counts / counts.sum()) for counts in (between, within)]
    return means[0] * spacing_um[0], max(means[1], ROUNDING) * spacing_um[0], (x, y, z)


def _find_pinhole(
    packed: NDArray[np.uint8], passages: NDArray[np.uint8], firsts: NDArray[np.int64], shape: Shape
) -> Place:
    """The first passage whose filling closes a tunnel within a few voxels; a blind pit closes none."""
    places = [_place(packed, first) for first in firsts[:_TRIED]]
    for place in places:
        low = np.maximum(np.array(place) - _REACH, 0)
        high = np.minimum(np.array(place) + _REACH + 1, shape)
        box = unpack(packed, low, high)
        if _tunnels_of(box | unpack(passages, low, high)) < _tunnels_of(box):
            return place
    return places[0]


def _tunnels_of(mask: NDArray[np.bool_]) -> int:
    packed = pack(mask)
    return _count_tunnels(packed, len(find_pieces(packed).sizes), find_cavities(packed))
