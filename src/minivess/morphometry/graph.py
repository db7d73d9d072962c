"""The vessel graph of a mask: nodes at branch points and ends, and the vessel segments between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from minivess.metrics.centreline import centreline
from minivess.morphometry.curves import Points, path_length, smooth
from minivess.morphometry.paths import Path, follow

_COARSE = 2.0
"""An axis whose voxels are more than this many times as large as the smallest one has slices."""

Kind = Literal["branch", "end", "cut"]


@dataclass(frozen=True, eq=False)
class Node:
    """A point where segments meet or end.

    Attributes:
        position_um: Position (3,) in micrometre from the centre of the first voxel.
        radius_um: Radius of the vessel there.
        kind: "branch"; "end"; "cut" where a vessel leaves the volume, which is no end.
    """

    position_um: NDArray[np.float64]
    radius_um: float
    kind: Kind


@dataclass(frozen=True, eq=False)
class Segment:
    """A vessel between two nodes.

    Attributes:
        nodes: Numbers of the nodes at its start and its end.
        points_um: Points along its smoothed centreline (N, 3) in micrometre.
        radius_um: Radius of the vessel at each point (N,).
    """

    nodes: tuple[int, int]
    points_um: Points
    radius_um: NDArray[np.float64]

    @property
    def length_um(self) -> float:
        return path_length(self.points_um)

    @property
    def chord_um(self) -> float:
        """Distance between its ends."""
        return float(np.linalg.norm(self.points_um[-1] - self.points_um[0]))


@dataclass(frozen=True, eq=False)
class VesselGraph:
    """All vessels of a mask.

    Attributes:
        nodes: The nodes.
        segments: The segments, each between two of the nodes.
        shape: Size of the volume in voxels.
        spacing_um: Voxel size along X, Y and Z in micrometre.
    """

    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    shape: tuple[int, int, int]
    spacing_um: tuple[float, float, float]

    @property
    def loops(self) -> int:
        """Number of independent loops: segments minus nodes plus connected parts."""
        return len(self.segments) - len(self.nodes) + _connected_parts(len(self.nodes), self.segments)


def vessel_graph(mask: NDArray[np.bool_], spacing_um: Sequence[float]) -> VesselGraph:
    """Make the vessel graph of a mask.

    The centreline is complete: every piece of the mask has at least one voxel of it. Branch points that lie in one vessel
    (nearer to each other than its radius) are one node, and a side branch that does not leave its vessel is no vessel.

    Args:
        mask: (X, Y, Z) bool.
        spacing_um: Voxel size along X, Y and Z in micrometre.
    """
    x, y, z = (float(size) for size in spacing_um)
    line = centreline(mask, (x, y, z))
    if not len(line):
        return VesselGraph((), (), _triple(mask.shape), (x, y, z))
    radius_um, background = _ball_radii(mask, line, (x, y, z)), cKDTree(_shell(mask) * np.array((x, y, z)))
    skeleton = follow(line, mask.shape)
    centres_um = line * np.array((x, y, z))
    nodes = [Node(centres_um[rows].mean(axis=0), float(radius_um[rows].max()), "branch") for rows in skeleton.clusters]
    segments = [_segment(path, nodes, centres_um, radius_um, background, (x, y, z)) for path in skeleton.paths]
    alone = set(range(len(nodes))) - {number for segment in segments for number in segment.nodes}
    nodes, segments = _merged(nodes, _without_spurs(nodes, segments), alone)
    return VesselGraph(
        tuple(_kinds(nodes, segments, mask.shape, (x, y, z))), tuple(segments), _triple(mask.shape), (x, y, z)
    )


def _triple(shape: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = shape
    return x, y, z


def _ball_radii(mask: NDArray[np.bool_], line: NDArray[np.integer], spacing_um: Sequence[float]) -> NDArray[np.float64]:
    """Return the radius of the largest ball in the mask around each voxel of the centreline.

    The centreline is at most half a voxel beside the axis, so the largest distance to the background among a voxel and its
    26 neighbours is taken. Outside of the volume there is no background.
    """
    distance = edt.edt(np.asfortranarray(mask), anisotropy=tuple(spacing_um), black_border=False, parallel=1)
    largest = np.zeros(len(line))
    top = np.array(mask.shape) - 1
    for offset in product((-1, 0, 1), repeat=3):
        near = np.clip(line + np.array(offset), 0, top)
        np.maximum(largest, distance[tuple(near.T)], out=largest)
    return largest


def _segment(
    path: Path,
    nodes: Sequence[Node],
    centres_um: NDArray[np.float64],
    radius_um: NDArray[np.float64],
    background: cKDTree,
    spacing_um: tuple[float, float, float],
) -> Segment:
    """Smooth a path. Its radius is the distance of the smoothed line from the background, or of a voxel near it if larger."""
    points_um = centres_um[path.voxels].copy()
    start, end = (nodes[number].position_um for number in path.nodes)
    closed = path.nodes[0] == path.nodes[1] and path.voxels[0] == path.voxels[-1]
    points_um[0], points_um[-1] = (points_um[0], points_um[0]) if closed else (start, end)
    smoothed = smooth(points_um, spacing_um, closed=closed)
    places = np.linspace(0, len(path.voxels) - 1, len(smoothed))
    balls_um = np.interp(places, np.arange(len(path.voxels)), radius_um[path.voxels])
    return Segment(path.nodes, smoothed, np.maximum(balls_um, _distances(background, smoothed, spacing_um)))


def _distances(background: cKDTree, points_um: Points, spacing_um: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return distances to the nearest voxel of the background; 0 if the whole volume is vessel.

    A point between two slices would be too far from the background of both, so it is first moved to the nearer slice.
    """
    if not background.n:
        return np.zeros(len(points_um))
    size = np.array(spacing_um)
    coarse = size > _COARSE * size.min()
    return background.query(np.where(coarse, np.rint(points_um / size) * size, points_um))[0]


def _shell(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the indices (N, 3) of the background voxels that share a corner, an edge or a face with the mask."""
    wider = mask
    for axis in range(3):
        grown = wider.copy()
        ahead, behind = [slice(None)] * 3, [slice(None)] * 3
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        grown[tuple(ahead)] |= wider[tuple(behind)]
        grown[tuple(behind)] |= wider[tuple(ahead)]
        wider = grown
    return np.argwhere(wider & ~mask)


def _without_spurs(nodes: Sequence[Node], segments: Sequence[Segment]) -> list[Segment]:
    """Remove side branches that end inside the vessel from which they leave, and join what they had divided."""
    kept = list(segments)
    while True:
        degree = _degrees(len(nodes), kept)
        spurs = [segment for segment in kept if _is_spur(segment, nodes, degree)]
        if not spurs:
            return _joined(len(nodes), kept)
        kept = [segment for segment in kept if not any(segment is spur for spur in spurs)]


def _is_spur(segment: Segment, nodes: Sequence[Node], degree: NDArray[np.intp]) -> bool:
    first, second = segment.nodes
    if (degree[first] == 1) == (degree[second] == 1):
        return False
    junction = nodes[first if degree[first] > 1 else second]
    return segment.length_um < junction.radius_um


def _joined(count: int, segments: Sequence[Segment]) -> list[Segment]:
    """Join pairs of segments at nodes where only these two meet."""
    kept = list(segments)
    degree = _degrees(count, kept)
    for node in np.flatnonzero(degree == 2):
        here = [segment for segment in kept if node in segment.nodes]
        if len(here) == 2:
            first, second = (_towards(here[0], int(node), last=True), _towards(here[1], int(node), last=False))
            whole = Segment(
                (first.nodes[0], second.nodes[1]),
                np.concatenate([first.points_um, second.points_um[1:]]),
                np.concatenate([first.radius_um, second.radius_um[1:]]),
            )
            kept = [segment for segment in kept if not any(segment is one for one in here)] + [whole]
    return kept


def _towards(segment: Segment, node: int, *, last: bool) -> Segment:
    """Return the segment in the direction in which the node is its last (or first) one."""
    if segment.nodes[1 if last else 0] == node:
        return segment
    return Segment(segment.nodes[::-1], segment.points_um[::-1], segment.radius_um[::-1])


def _merged(nodes: Sequence[Node], segments: Sequence[Segment], alone: set[int]) -> tuple[list[Node], list[Segment]]:
    """Merge branch points that are nearer to each other than the radius of their vessel.

    Nodes that have lost their segments are left out; those of ``alone``, which never had one, are pieces of the mask.
    """
    degree = _degrees(len(nodes), segments)
    root = list(range(len(nodes)))

    def top(node: int) -> int:
        while root[node] != node:
            node = root[node]
        return node

    kept = []
    for segment in sorted(segments, key=lambda segment: segment.length_um):
        first, second = (top(node) for node in segment.nodes)
        inside = segment.length_um < max(nodes[node].radius_um for node in segment.nodes)
        if inside and first != second and min(degree[list(segment.nodes)]) > 2:
            root[second] = first
        else:
            kept.append(segment)
    used = sorted({top(node) for segment in kept for node in segment.nodes} | alone)
    members: dict[int, list[int]] = {number: [] for number in used}
    for node in range(len(nodes)):
        if top(node) in members and (degree[node] or node in members):
            members[top(node)].append(node)
    number_of = {node: number for number, node in enumerate(used)}
    radii = [max(nodes[node].radius_um for node in members[number]) for number in used]
    renamed = [replace(s, nodes=(number_of[top(s.nodes[0])], number_of[top(s.nodes[1])])) for s in kept]
    merged = [replace(nodes[number], radius_um=radius) for number, radius in zip(used, radii, strict=True)]
    return _meeting(merged, renamed)


def _meeting(nodes: Sequence[Node], segments: Sequence[Segment]) -> tuple[list[Node], list[Segment]]:
    """Move each node to the mean of the ends that meet there, and these ends to the node."""
    ends: list[list[NDArray[np.float64]]] = [[] for _ in nodes]
    for segment in segments:
        ends[segment.nodes[0]].append(segment.points_um[0])
        ends[segment.nodes[1]].append(segment.points_um[-1])
    moved = [
        replace(node, position_um=np.mean(own, axis=0)) if own else node for node, own in zip(nodes, ends, strict=True)
    ]
    met = []
    for segment in segments:
        points_um = segment.points_um.copy()
        points_um[0], points_um[-1] = (moved[number].position_um for number in segment.nodes)
        met.append(replace(segment, points_um=points_um))
    return moved, met


def _kinds(
    nodes: Sequence[Node], segments: Sequence[Segment], shape: tuple[int, ...], spacing_um: Sequence[float]
) -> list[Node]:
    degree, size = _degrees(len(nodes), segments), np.array(spacing_um)
    top_um = (np.array(shape) - 1) * size
    found = []
    for number, node in enumerate(nodes):
        margin_um = np.minimum(node.position_um, top_um - node.position_um) - size
        cut = bool((margin_um < node.radius_um).any())
        kind: Kind = "branch" if degree[number] > 1 else "cut" if cut else "end"
        found.append(replace(node, kind=kind))
    return found


def _degrees(count: int, segments: Sequence[Segment]) -> NDArray[np.intp]:
    return np.bincount([node for segment in segments for node in segment.nodes], minlength=count)


def _connected_parts(count: int, segments: Sequence[Segment]) -> int:
    """Return into how many connected parts the segments join ``count`` nodes."""
    if not count:
        return 0
    first, second = np.array([segment.nodes for segment in segments], int).reshape(-1, 2).T
    links = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    return int(connected_components(links, directed=False)[0])
