"""Follow the voxels of a centreline: which voxels are branch points, and the path between each pair of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

_OFFSETS = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
"""Half of the 26 neighbours, so that each pair is found once."""


@dataclass(frozen=True, eq=False)
class Path:
    """Voxels of a centreline between two nodes.

    Attributes:
        voxels: Rows of the voxels, in order; the first and the last belong to the nodes.
        nodes: Numbers of the nodes at the start and at the end; equal for a closed path.
    """

    voxels: NDArray[np.intp]
    nodes: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Nodes and paths of a centreline.

    Attributes:
        clusters: For each node the rows of its voxels: neighbouring branch voxels are one node; an end is one voxel.
        paths: The paths between nodes.
    """

    clusters: list[NDArray[np.intp]]
    paths: list[Path]


def follow(line: NDArray[np.integer], shape: tuple[int, ...]) -> Skeleton:
    """Split a centreline into nodes and paths.

    A voxel with three or more neighbours is a branch voxel. A closed path without a branch gets a node at its first voxel.
    A single voxel is a node without a path.

    Args:
        line: Indices of its voxels, (N, 3).
        shape: Size of the volume.
    """
    pairs = _neighbours(line, shape)
    degree = np.bincount(pairs.ravel(), minlength=len(line))
    branch = degree > 2
    clusters = _groups(np.flatnonzero(branch), pairs[branch[pairs].all(axis=1)], len(line))
    node_of = np.full(len(line), -1)
    for number, rows in enumerate(clusters):
        node_of[rows] = number
    linked: list[list[int]] = [[] for _ in range(len(line))]
    for first, second in pairs.tolist():
        if not (branch[first] and branch[second]):
            linked[first].append(second)
            linked[second].append(first)
    for end in np.flatnonzero(degree < 2).tolist():
        node_of[end] = len(clusters)
        clusters.append(np.array([end]))
    paths = [path for rows in clusters for at in rows.tolist() for path in _leaving(at, linked, node_of)]
    paths = [path for path in paths if path.voxels[0] < path.voxels[-1] or _is_first_way(path)]
    seen = np.zeros(len(line), bool)
    for rows in (*clusters, *(path.voxels for path in paths)):
        seen[rows] = True
    for start in range(len(line)):
        if not seen[start]:
            node_of[start] = len(clusters)
            clusters.append(np.array([start]))
            (ring, *_) = _leaving(start, linked, node_of)
            paths.append(ring)
            seen[ring.voxels] = True
    return Skeleton(clusters, paths)


def _neighbours(line: NDArray[np.integer], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the pairs of rows whose voxels share a corner, an edge or a face, (P, 2)."""
    wide = tuple(size + 2 for size in shape)
    flat = np.ravel_multi_index(tuple(line.T + 1), wide)
    order = np.argsort(flat)
    ordered = flat[order]
    found = []
    for step in _OFFSETS:
        wanted = flat + (step[0] * wide[1] + step[1]) * wide[2] + step[2]
        at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        hit = np.flatnonzero(ordered[at] == wanted)
        found.append(np.column_stack([hit, order[at[hit]]]))
    return np.concatenate(found)


def _groups(rows: NDArray[np.intp], pairs: NDArray[np.intp], count: int) -> list[NDArray[np.intp]]:
    """Return the connected groups of rows."""
    if not len(rows):
        return []
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    numbers = connected_components(links, directed=False)[1][rows]
    order = np.argsort(numbers, kind="stable")
    return np.split(rows[order], np.flatnonzero(np.diff(numbers[order])) + 1)


def _leaving(start: int, linked: list[list[int]], node_of: NDArray[np.intp]) -> list[Path]:
    """Return the paths that leave a voxel of a node, each up to the next node."""
    paths = []
    for first in linked[start]:
        voxels = [start, first]
        while node_of[voxels[-1]] < 0:
            onward = [next_ for next_ in linked[voxels[-1]] if next_ != voxels[-2]]
            voxels.append(onward[0])
        paths.append(Path(np.array(voxels), (int(node_of[start]), int(node_of[voxels[-1]]))))
    return paths


def _is_first_way(path: Path) -> bool:
    """Of a path from a voxel to itself, which is found in both directions, keep the one with the smaller second voxel."""
    return bool(path.voxels[0] == path.voxels[-1] and path.voxels[1] <= path.voxels[-2])
