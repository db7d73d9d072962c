"""A network of blood vessels in physical space: trees by Murray's law, with their tips joined into loops.

The tissue is a jittered lattice of junctions. Shortest paths from a few inlets at the top give one tree for each inlet.
The radius in a tree grows from the capillary tips to the inlet by Murray's law (Murray 1926, PNAS 12:207). Free tips
are joined to their neighbours, so the network has loops and few dead ends, like a capillary bed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

JUNCTION_SPACING_UM = 35.0
"""Mean distance between junctions along each axis."""

CAPILLARY_RADIUS_UM = (2.0, 3.0)
"""Smallest and largest radius of a capillary."""

JUNCTIONS_AN_INLET = 350
"""Number of junctions for each inlet."""

PIAL_DEPTH_UM = 70.0
"""Depth of the surface layer that contains the inlets; shortest paths prefer this layer."""

SHORTEST_PIECE_UM = 4.0
"""Lower limit of the length of a tube that a vessel is cut into."""


@dataclass(frozen=True, eq=False)
class Network:
    """Junctions and the vessels between them.

    Attributes:
        junction_um: Positions of the junctions, ``(J, 3)``.
        vessels: Indices of the junctions at the two ends of every vessel, upstream first, ``(V, 2)``.
        radius_um: Radius of every vessel, ``(V,)``.
        brightness: Fluorescence of every vessel, near 1, ``(V,)``.
    """

    junction_um: np.ndarray
    vessels: np.ndarray
    radius_um: np.ndarray
    brightness: np.ndarray


@dataclass(frozen=True, eq=False)
class Tubes:
    """Straight pieces of vessels with round ends.

    Attributes:
        start_um: Start points, ``(N, 3)``.
        end_um: End points, ``(N, 3)``.
        radius_um: Radius of every piece, ``(N,)``.
        brightness: Fluorescence of every piece, near 1, ``(N,)``.
    """

    start_um: np.ndarray
    end_um: np.ndarray
    radius_um: np.ndarray
    brightness: np.ndarray


def grow_network(tissue_um: np.ndarray, rng: np.random.Generator) -> Network:
    """Fill a block of tissue with one network of vessels.

    Radii increase from ``CAPILLARY_RADIUS_UM`` to about 15 µm at the inlets near depth 0. In a block 2.5 mm wide they
    reach twice that, because the inlets at the rim also feed the middle. The length of vessel per volume is about 1.1
    m/mm³, the order of magnitude found in mouse cortex.

    Args:
        tissue_um: Size of the block along X, Y and depth.
        rng: Source of all random numbers.
    """
    junction_um = _jittered_lattice(tissue_um, rng)
    pairs, length_um = _neighbours(junction_um)
    upstream, order = _shortest_path_trees(junction_um, pairs, length_um, rng)
    fed = np.array([j for j in order if upstream[j] >= 0], dtype=np.intp)  # parents before children
    tree = np.column_stack([upstream[fed], fed])
    loops = _join_tips(len(junction_um), tree, pairs, length_um)

    tip_radius_um = rng.uniform(*CAPILLARY_RADIUS_UM, size=len(junction_um))
    radius_um = np.concatenate([_murray(tree, tip_radius_um), tip_radius_um[loops[:, 0]]])
    vessels = np.concatenate([tree, loops])
    brightness = _brightness(vessels, radius_um, rng)
    return Network(_straighten(junction_um, vessels, radius_um), vessels, radius_um, brightness)


def trace_tubes(
    network: Network, rng: np.random.Generator, piece_um: float = SHORTEST_PIECE_UM, wiggle: float = 1.0
) -> Tubes:
    """Bend every vessel smoothly from junction to junction, thin ones more strongly, and cut it into straight tubes.

    Args:
        network: The network to trace.
        rng: Source of the bends and of the changes of brightness along a vessel.
        piece_um: Approximate length of one tube; longer tubes are faster.
        wiggle: Factor of the random bends between two junctions.
    """
    pieces = max(2, math.ceil(JUNCTION_SPACING_UM / max(piece_um, SHORTEST_PIECE_UM)))
    at = np.linspace(0.0, 1.0, pieces + 1)[None, :, None]
    begin, end = (network.junction_um[network.vessels[:, side], None, :] for side in (0, 1))
    leave, arrive = (tangent[:, None, :] for tangent in _tangents(network))
    hermite = (1 + 2 * at) * (1 - at) ** 2 * begin + at**2 * (3 - 2 * at) * end
    hermite += at * (1 - at) ** 2 * leave - at**2 * (1 - at) * arrive
    path_um = hermite + wiggle * _wiggle(at, network.radius_um, rng)
    beads = np.exp(rng.normal(size=(len(network.vessels), pieces)) * 0.4 / network.radius_um[:, None])
    return Tubes(
        start_um=path_um[:, :-1].reshape(-1, 3),
        end_um=path_um[:, 1:].reshape(-1, 3),
        radius_um=np.repeat(network.radius_um, pieces),
        brightness=(network.brightness[:, None] * beads).ravel(),
    )


def _jittered_lattice(tissue_um: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    counts = [max(2, round(side / JUNCTION_SPACING_UM)) for side in tissue_um]
    cells = np.stack(np.meshgrid(*(np.arange(n) for n in counts), indexing="ij"), axis=-1).reshape(-1, 3)
    return (cells + rng.uniform(0.05, 0.95, size=cells.shape)) * tissue_um / counts


def _neighbours(junction_um: np.ndarray, count: int = 9) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of neighbouring junctions, ``(P, 2)``, each pair once, and their distances, ``(P,)``."""
    _, near = cKDTree(junction_um).query(junction_um, k=min(count, len(junction_um)))
    here = np.repeat(np.arange(len(junction_um)), near.shape[1])
    pairs = np.sort(np.column_stack([here, near.ravel()]), axis=1)
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    return pairs, np.linalg.norm(junction_um[pairs[:, 0]] - junction_um[pairs[:, 1]], axis=1)


def _shortest_path_trees(
    junction_um: np.ndarray, pairs: np.ndarray, length_um: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Upstream junction of every junction (negative for an inlet), and all junctions by distance from the inlets."""
    count = len(junction_um)
    cost = length_um * rng.lognormal(0.0, 1.0, size=len(pairs))
    pial = junction_um[:, 2] < PIAL_DEPTH_UM
    cost[pial[pairs].all(axis=1)] *= 0.4
    side_um = np.minimum(junction_um, junction_um.max(axis=0) - junction_um)[:, :2].min(axis=1)
    rim = np.flatnonzero(pial & (side_um < JUNCTION_SPACING_UM))
    inlets = rng.choice(rim, size=min(len(rim), max(1, round(count / JUNCTIONS_AN_INLET))), replace=False)
    graph = coo_array((cost, (pairs[:, 0], pairs[:, 1])), shape=(count, count)).tocsr()
    far, upstream, _ = dijkstra(graph, directed=False, indices=inlets, return_predecessors=True, min_only=True)
    return upstream, np.argsort(far, kind="stable")


def _join_tips(count: int, tree: np.ndarray, pairs: np.ndarray, length_um: np.ndarray) -> np.ndarray:
    """Loops, ``(L, 2)``: the shortest unused pairs that join a tip to a junction with fewer than three vessels."""
    degree = np.bincount(tree.ravel(), minlength=count)
    used = {(min(a, b), max(a, b)) for a, b in tree.tolist()}
    loops = []
    for a, b in pairs[np.argsort(length_um, kind="stable")].tolist():
        if min(degree[a], degree[b]) <= 1 and max(degree[a], degree[b]) <= 2 and (a, b) not in used:
            loops.append((a, b))
            degree[[a, b]] += 1
    return np.array(loops, dtype=np.intp).reshape(-1, 2)


def _murray(tree: np.ndarray, tip_radius_um: np.ndarray) -> np.ndarray:
    """Radius of every tree vessel: a parent's radius cubed is the sum of its children's; a tip has the given radius."""
    cubes = np.zeros(len(tip_radius_um))
    radius_um = np.empty(len(tree))
    for row in range(len(tree) - 1, -1, -1):
        parent, child = tree[row]
        cube = cubes[child] or tip_radius_um[child] ** 3
        radius_um[row] = cube ** (1 / 3)
        cubes[parent] += cube
    return radius_um


def _brightness(vessels: np.ndarray, radius_um: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness of every vessel; it changes from a vessel to the next: little in trunks, much in capillaries."""
    level = rng.normal(0.0, 0.4, size=vessels.max() + 1)
    shock = rng.normal(0.0, 0.5, size=len(vessels)) * np.minimum(1.0, 3.0 / radius_um)
    for row, (parent, child) in enumerate(vessels):
        shock[row] += 0.8 * level[parent]
        level[child] = shock[row]
    return np.exp(shock)


def _straighten(junction_um: np.ndarray, vessels: np.ndarray, radius_um: np.ndarray) -> np.ndarray:
    """Pull junctions towards their neighbours, more for thick vessels: trunks straighten, capillaries hardly move."""
    pull = radius_um**3
    rest = 1.5 * max(CAPILLARY_RADIUS_UM) ** 3
    ends, others = vessels.ravel(), vessels[:, ::-1].ravel()
    strength = np.repeat(pull, 2)
    total = rest + np.bincount(ends, strength, minlength=len(junction_um))
    moved_um = junction_um
    for _ in range(15):
        pulled = [np.bincount(ends, strength * moved_um[others, k], minlength=len(junction_um)) for k in range(3)]
        moved_um = (rest * junction_um + np.stack(pulled, axis=1)) / total[:, None]
    return moved_um


def _tangents(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Directions in which each vessel leaves its first junction and reaches its last, scaled to the vessel's length."""
    chord = network.junction_um[network.vessels[:, 1]] - network.junction_um[network.vessels[:, 0]]
    through = np.zeros_like(network.junction_um)
    np.add.at(through, network.vessels.ravel(), np.repeat(chord * network.radius_um[:, None] ** 3, 2, axis=0))
    through /= np.maximum(np.linalg.norm(through, axis=1, keepdims=True), 1e-9)
    length = np.linalg.norm(chord, axis=1, keepdims=True)
    leave, arrive = (through[network.vessels[:, side]] * length for side in (0, 1))
    return 0.5 * (leave + chord), 0.5 * (arrive + chord)


def _wiggle(at: np.ndarray, radius_um: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random bends that vanish at both ends: about 5 µm for a capillary, less for an arteriole."""
    wander = np.zeros((len(radius_um), at.shape[1], 3))
    for wave in (1, 2):
        size_um = 6.0 / wave * np.minimum(1.0, 3.0 / radius_um) ** 2
        wander += (
            rng.normal(size=(len(radius_um), 1, 3))
            * size_um[:, None, None]
            * np.sin(wave * np.pi * at)
            * np.sin(np.pi * at)
        )
    return wander
