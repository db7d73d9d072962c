"""Pieces of a label that scikit-image's skeleton loses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from minivess.data.checks.label_topology import Pieces, take_pieces

LARGEST_BOX = 2**16
"""Voxels of the largest bounding box of a piece that is tried. Larger pieces have loops or bends, which are not lost."""

_BATCH, _STACK = 2**18, 2**20


def find_lost(words: NDArray[np.uint32], pieces: Pieces) -> NDArray[np.intp]:
    """Find the pieces of which ``skeletonize(method="lee")`` keeps no voxel.

    Args:
        words: The label; the pieces that are tried are removed from it.
        pieces: Its pieces.

    Returns:
        Numbers of the lost pieces, ascending.
    """
    # One or two voxels are an end of a line, which the thinning keeps.
    tried = np.flatnonzero((pieces.sizes > 2) & (pieces.sizes <= LARGEST_BOX))
    batches = np.cumsum(pieces.sizes[tried]) // _BATCH
    lost = [_lost_in_batch(words, pieces, tried[batches == batch]) for batch in np.unique(batches)]
    return np.sort(np.concatenate([*lost, np.empty(0, np.intp)]))


def _lost_in_batch(words: NDArray[np.uint32], pieces: Pieces, numbers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Put pieces of similar cross-section into one stack, and the stacks through the thinning one by one."""
    sizes = pieces.sizes[numbers]
    voxels, extents = take_pieces(words, pieces.firsts[numbers], sizes)
    ends = np.cumsum(sizes)
    across = np.ceil(np.log2(extents[:, 1:].max(axis=1))).astype(np.int64)
    boxes = (extents[:, 0] + 1) * 4**across
    order = np.argsort(across, kind="stable")
    order = order[extents[order].prod(axis=1) <= LARGEST_BOX]
    stacks = np.cumsum(boxes[order]) // _STACK + across[order] * len(numbers)
    lost = [np.empty(0, np.intp)]
    for stack in np.unique(stacks):
        chosen = order[stacks == stack]
        inside = [voxels[ends[piece] - sizes[piece] : ends[piece]] for piece in chosen]
        lost.append(numbers[chosen[_vanish(inside, extents[chosen])]])
    return np.concatenate(lost)


def _vanish(pieces: list[NDArray[np.int32]], extents: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the thinning keeps no voxel of each piece; what it keeps of a piece depends on no other piece."""
    lengths = np.array([len(voxels) for voxels in pieces])
    starts = np.cumsum(extents[:, 0] + 1) - extents[:, 0]
    x, y, z = np.concatenate(pieces).T
    at = (x + np.repeat(starts, lengths), y, z)
    mask = np.zeros((starts[-1] + extents[-1, 0] + 1, *extents[:, 1:].max(axis=0)), bool)
    mask[at] = True
    kept = skeletonize(mask, method="lee")[at] != 0
    return np.add.reduceat(kept, np.cumsum(lengths) - lengths) == 0
