"""Compare vessel graphs with the truth: tubes with a closed formula, and phantom networks whose graph is known.

    python benchmarks/morphometry_truth.py            (two minutes on one core; prints Markdown)

A phantom is drawn as `minivess data phantom` draws it, but its vessels are farther apart, those that touch by chance are
left out, and the whole network is in the volume. Its truth: length of the axes, median diameter weighted by length,
junctions of three or more vessels, and independent loops.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from minivess.data.phantoms.microscope_image import draw_tubes
from minivess.data.phantoms.vessel_tree import Network, Tubes, grow_network
from minivess.morphometry.graph import VesselGraph, vessel_graph
from minivess.morphometry.measures import measure_volume

SPACINGS_UM = ((1.0, 1.0, 1.0), (0.99, 0.99, 5.0), (0.62, 0.62, 2.0))
TISSUE_UM = (110.0, 110.0, 80.0)
MARGIN_UM = 15.0
"""Room between the network and the border of the volume."""
LEAST_ANGLE = 75.0
"""Smallest angle in degrees between two vessels at a junction."""
SPREAD = 2.0
"""Vessels are drawn this many times farther apart than in `minivess data phantom`, so that few of them touch by chance."""


@dataclass(frozen=True)
class Truth:
    """The known graph of a phantom.

    Attributes:
        length_um: Length of all axes .
        diameter_um: Median diameter, weighted by length.
        branch_points_um: Junctions of at least three vessels inside the volume (N, 3).
        radius_um: Radius of the widest vessel at each of them (N,).
        loops: Independent loops of the network inside the volume.
    """

    length_um: float
    diameter_um: float
    branch_points_um: NDArray[np.float64]
    radius_um: NDArray[np.float64]
    loops: int


def make(seed: int, spacing_um: tuple[float, float, float]) -> tuple[NDArray[np.bool_], Truth]:
    """Draw a phantom network and return its mask and its truth."""
    rng = np.random.default_rng(seed)
    network = grow_network(np.array(TISSUE_UM), rng)
    network = replace(network, junction_um=SPREAD * network.junction_um)
    network = _wide_angles(network)
    tubes = _bent(network, rng)
    apart = _apart(network, tubes, max(spacing_um))
    pieces = len(tubes.radius_um) // len(network.vessels)
    network = replace(network, vessels=network.vessels[apart], radius_um=network.radius_um[apart])
    rows = np.repeat(apart, pieces)
    tubes = Tubes(tubes.start_um[rows], tubes.end_um[rows], tubes.radius_um[rows], tubes.brightness[rows])
    low = np.minimum(tubes.start_um, tubes.end_um).min(axis=0) - MARGIN_UM
    tubes = replace(tubes, start_um=tubes.start_um - low, end_um=tubes.end_um - low)
    network = replace(network, junction_um=network.junction_um - low)
    high = np.maximum(tubes.start_um, tubes.end_um).max(axis=0) + MARGIN_UM
    x, y, z = (int(side / size) for side, size in zip(high, spacing_um, strict=True))
    label, _ = draw_tubes(tubes, (x, y, z), spacing_um)
    return label != 0, _truth(network, tubes)


def _wide_angles(network: Network) -> Network:
    """Leave out vessels that leave a junction at less than LEAST_ANGLE from an earlier one: their masks are one vessel there."""
    kept: list[int] = []
    leaving: dict[int, list[NDArray[np.float64]]] = {}
    for row, (first, second) in enumerate(network.vessels.tolist()):
        chord = network.junction_um[second] - network.junction_um[first]
        chord = chord / np.linalg.norm(chord)
        ways = ((first, chord), (second, -chord))
        if all(way @ other < np.cos(np.radians(LEAST_ANGLE)) for node, way in ways for other in leaving.get(node, [])):
            kept.append(row)
            for node, way in ways:
                leaving.setdefault(node, []).append(way)
    return replace(network, vessels=network.vessels[kept], radius_um=network.radius_um[kept])


def _bent(network: Network, rng: np.random.Generator) -> Tubes:
    """Draw each vessel as a chord with a smooth bend of up to a tenth of its length, cut into 20 straight tubes."""
    at = np.linspace(0, 1, 21)
    start, end = (network.junction_um[network.vessels[:, side]] for side in (0, 1))
    chord = end - start
    across = rng.normal(size=chord.shape)
    across -= chord * ((across * chord).sum(axis=1) / (chord**2).sum(axis=1))[:, None]
    across *= 0.1 * (np.linalg.norm(chord, axis=1) / np.linalg.norm(across, axis=1))[:, None]
    path = start[:, None] + at[:, None] * chord[:, None] + (np.sin(np.pi * at) ** 2)[:, None] * across[:, None]
    return Tubes(
        path[:, :-1].reshape(-1, 3),
        path[:, 1:].reshape(-1, 3),
        np.repeat(network.radius_um, 20),
        np.ones(20 * len(chord)),
    )


def _apart(network: Network, tubes: Tubes, voxel_um: float) -> NDArray[np.bool_]:
    """Return which vessels to draw: none that touches an earlier one except near a common junction."""
    count = len(network.vessels)
    share = np.linspace(0, 1, 8, endpoint=False)[:, None]
    points = (tubes.start_um[:, None] + share * (tubes.end_um - tubes.start_um)[:, None]).reshape(-1, 3)
    owner = np.repeat(np.arange(count), len(points) // count)
    kept = np.ones(count, bool)
    pairs = cKDTree(points).query_pairs(2 * network.radius_um.max() + 2 * voxel_um, output_type="ndarray")
    pairs = pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]
    room = network.radius_um[owner[pairs]].sum(axis=1) + 2 * voxel_um
    gap = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    pairs, room = pairs[gap < room], room[gap < room]
    for (first, second), near in zip(
        np.sort(owner[pairs], axis=1).tolist(), zip(pairs[:, 0], room, strict=True), strict=True
    ):
        common = network.junction_um[list(set(network.vessels[first]) & set(network.vessels[second]))]
        apart = not len(common) or np.linalg.norm(common - points[near[0]], axis=1).min() > 2 * near[1]
        if apart and kept[first]:
            kept[second] = False
    return kept


def _truth(network: Network, tubes: Tubes) -> Truth:
    lengths = np.linalg.norm(tubes.end_um - tubes.start_um, axis=1)
    order = np.argsort(tubes.radius_um)
    middle = np.searchsorted(np.cumsum(lengths[order]), lengths.sum() / 2)
    widest = np.zeros(len(network.junction_um))
    np.maximum.at(widest, network.vessels.ravel(), np.repeat(network.radius_um, 2))
    degree = np.bincount(network.vessels.ravel(), minlength=len(widest))
    used = int(np.count_nonzero(degree))
    links = coo_array((np.ones(len(network.vessels)), tuple(network.vessels.T)), shape=(len(widest),) * 2)
    parts = connected_components(links, directed=False)[0] - (len(widest) - used)
    return Truth(
        length_um=float(lengths.sum()),
        diameter_um=float(2 * tubes.radius_um[order][middle]),
        branch_points_um=network.junction_um[degree > 2],
        radius_um=widest[degree > 2],
        loops=len(network.vessels) - used + parts,
    )


def branch_point_f1(graph: VesselGraph, truth: Truth) -> float:
    """F1 of branch points, each matched once with a true one within two radii of its vessel."""
    found = np.array([node.position_um for node in graph.nodes if node.kind == "branch"]).reshape(-1, 3)
    if not len(found) or not len(truth.branch_points_um):
        return float(len(found) == len(truth.branch_points_um))
    gap = cdist(found, truth.branch_points_um)
    near = gap <= 2 * np.maximum(truth.radius_um, max(graph.spacing_um))
    rows, columns = linear_sum_assignment(np.where(near, gap, 1e6))
    matched = int(near[rows, columns].sum())
    return 2 * matched / (len(found) + len(truth.branch_points_um))


def phantom_rows(seeds: Sequence[int]) -> Iterator[str]:
    for spacing in SPACINGS_UM:
        errors = []
        for seed in seeds:
            mask, truth = make(seed, spacing)
            graph = vessel_graph(mask, spacing)
            found = measure_volume(graph, mask)
            errors.append(
                (
                    100 * (found.length_um / truth.length_um - 1),
                    found.median_diameter_um - truth.diameter_um,
                    branch_point_f1(graph, truth),
                    graph.loops - truth.loops,
                    truth.loops,
                )
            )
        table = np.array(errors)
        size = " x ".join(f"{value:g}" for value in spacing)
        yield (
            f"| {size} | {table[:, 0].mean():+.1f} [{table[:, 0].min():+.1f}, {table[:, 0].max():+.1f}] | "
            f"{table[:, 1].mean():+.2f} [{table[:, 1].min():+.2f}, {table[:, 1].max():+.2f}] | "
            f"{table[:, 2].mean():.2f} [{table[:, 2].min():.2f}] | {table[:, 3].mean():+.1f} of {table[:, 4].mean():.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phantoms", type=int, default=24)
    options = parser.parse_args()
    print("| voxel (µm) | length, % | median diameter, µm | branch points, F1 | loops |\n|---|---|---|---|---|")
    for row in phantom_rows(range(options.phantoms)):
        print(row, flush=True)


if __name__ == "__main__":
    main()
