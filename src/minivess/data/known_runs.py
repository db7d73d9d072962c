"""Known voxels of a label as runs of flat indices: a few numbers for labelled slices, one run per row for a box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def find_runs(known: NDArray[np.bool_], first: int) -> NDArray[np.intp]:
    """Find the runs of known voxels of a flat block whose first voxel has the flat index ``first``.

    Returns:
        First flat index, and last flat index + 1, of each run, (N, 2).
    """
    return np.flatnonzero(np.diff(known, prepend=False, append=False)).reshape(-1, 2) + first


def join_runs(parts: Sequence[NDArray[np.intp]]) -> NDArray[np.int64]:
    """Join the runs of successive blocks; a run that goes on in the next block becomes one.

    Args:
        parts: Results of `find_runs`.

    Returns:
        First flat index of each run, and the number of known voxels before it, (N, 2).
    """
    first, end = np.concatenate(parts).T
    is_new = np.append(True, first[1:] != end[:-1])[: len(first)]
    before = np.append(0, np.cumsum(end - first))[: len(first)]
    return np.stack([first, before], axis=1)[is_new].astype(np.int64)


def known_voxel(runs: NDArray[np.int64], number: int) -> int:
    """Return the flat index of a known voxel by its number, from 0.

    Args:
        runs: Result of `join_runs`.
        number: Less than the number of known voxels.
    """
    first, before = runs[int(np.searchsorted(runs[:, 1], number, side="right")) - 1]
    return int(first) + number - int(before)
