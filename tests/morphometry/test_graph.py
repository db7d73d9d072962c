"""Vessel graphs of shapes whose lengths, radii, branch points and loops are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from minivess.morphometry.curves import path_length, smooth
from minivess.morphometry.graph import Node, Segment, VesselGraph, _without_spurs, vessel_graph
from minivess.morphometry.measures import diameters, measure_segment, measure_volume, weighted_median
from minivess.morphometry.paths import follow

ISOTROPIC, SLICES, FINE = (1.0, 1.0, 1.0), (0.99, 0.99, 5.0), (0.62, 0.62, 2.0)
EXTENT_UM = (80.0, 80.0, 50.0)
CENTRE_UM = np.array([40.0, 40.0, 25.0])


def beside(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Return the point that lies this far from the centre, in micrometre."""
    return CENTRE_UM + np.array([x, y, z])


def tubes(
    ends: Sequence[tuple[Sequence[float], Sequence[float]]],
    spacing_um: tuple[float, float, float],
    radius_um: float = 3.0,
) -> NDArray[np.bool_]:
    """Draw tubes with round ends between points in micrometre."""
    shape = [int(extent / size) + 1 for extent, size in zip(EXTENT_UM, spacing_um, strict=True)]
    axes = (np.arange(n) * size for n, size in zip(shape, spacing_um, strict=True))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    mask = np.zeros(shape, bool)
    for first, second in ends:
        start, along = np.array(first), np.array(second) - np.array(first)
        share = np.clip(((grid - start) @ along) / (along @ along), 0, 1)
        mask |= ((grid - start - share[..., None] * along) ** 2).sum(axis=-1) <= radius_um**2
    return mask


def ring(
    spacing_um: tuple[float, float, float], radius_um: float = 25.0
) -> list[tuple[Sequence[float], Sequence[float]]]:
    at = np.linspace(0, 2 * np.pi, 60)
    points = CENTRE_UM + radius_um * np.stack([np.cos(at), np.sin(at), 0 * at], axis=-1)
    return [(points[k].tolist(), points[k + 1].tolist()) for k in range(59)]


def kinds(graph: VesselGraph) -> list[str]:
    return sorted(node.kind for node in graph.nodes)


@pytest.mark.parametrize("spacing", [ISOTROPIC, SLICES, FINE])
class TestShapes:
    def test_a_slanted_tube_has_its_length_and_diameter(self, spacing: tuple[float, float, float]) -> None:
        start, end = beside(-30, -14, -6), beside(30, 14, 6)
        graph = vessel_graph(tubes([(start, end)], spacing), spacing)
        (segment,) = graph.segments
        assert kinds(graph) == ["end", "end"]
        assert segment.length_um / segment.chord_um < 1.01  # no staircase
        axis_um = np.linalg.norm(end - start)
        assert axis_um - max(spacing) < segment.length_um < axis_um + 6  # up to the round ends
        assert measure_segment(segment, graph).diameter_um == pytest.approx(6.0, abs=0.6)

    def test_a_fork_has_one_branch_point_and_three_ends(self, spacing: tuple[float, float, float]) -> None:
        arms = [CENTRE_UM + step for step in ((30, 0, 0), (-20, 22, 3), (-20, -22, -4))]
        graph = vessel_graph(tubes([(CENTRE_UM, arm) for arm in arms], spacing), spacing)
        assert (kinds(graph), graph.loops) == (["branch", "end", "end", "end"], 0)
        (branch,) = (node for node in graph.nodes if node.kind == "branch")
        assert np.linalg.norm(branch.position_um - CENTRE_UM) < 2.0

    def test_a_ring_is_one_loop_with_the_length_of_its_circle(self, spacing: tuple[float, float, float]) -> None:
        graph = vessel_graph(tubes(ring(spacing), spacing), spacing)
        assert (len(graph.segments), graph.loops) == (1, 1)
        assert graph.segments[0].length_um == pytest.approx(2 * np.pi * 25, rel=0.01)

    def test_a_spoke_makes_a_branch_point_of_the_ring(self, spacing: tuple[float, float, float]) -> None:
        spoke = (CENTRE_UM, beside(25, 0, 0))
        graph = vessel_graph(tubes([*ring(spacing), spoke], spacing), spacing)
        assert (kinds(graph), graph.loops, len(graph.segments)) == (["branch", "end"], 1, 2)

    def test_a_bump_on_a_vessel_is_no_vessel(self, spacing: tuple[float, float, float]) -> None:
        vessel = (beside(-30, 0, 0), beside(30, 0, 0))
        mask = tubes([vessel], spacing, radius_um=5.0) | tubes([(CENTRE_UM, beside(0, 4.5, 0))], spacing, 2.0)
        graph = vessel_graph(mask, spacing)
        assert (len(graph.segments), kinds(graph)) == (1, ["end", "end"])


class TestBorders:
    def test_a_vessel_that_leaves_the_volume_is_cut_and_has_no_end(self) -> None:
        graph = vessel_graph(tubes([((-9.0, 40.0, 25.0), (50.0, 40.0, 25.0))], ISOTROPIC), ISOTROPIC)
        assert kinds(graph) == ["cut", "end"]

    @pytest.mark.parametrize("fill", [False, True])
    def test_an_empty_or_full_volume_has_numbers(self, fill: bool) -> None:
        mask = np.full((12, 10, 4), fill)
        found = measure_volume(vessel_graph(mask, SLICES), mask)
        assert found.volume_fraction == float(fill)
        assert found.loops == found.branch_points == 0

    def test_a_single_voxel_is_a_piece_without_length(self) -> None:
        mask = np.zeros((20, 20, 9), bool)
        mask[10, 10, 4] = True
        graph = vessel_graph(mask, ISOTROPIC)
        assert (len(graph.nodes), len(graph.segments), graph.loops) == (1, 0, 0)


class TestVolume:
    def test_densities_are_by_hand(self) -> None:
        mask = tubes([(beside(-30, 0, 0), beside(30, 0, 0))], ISOTROPIC)
        found = measure_volume(vessel_graph(mask, ISOTROPIC), mask)
        size_mm3 = 81 * 81 * 51 / 1e9
        assert found.volume_mm3 == pytest.approx(size_mm3)
        assert found.length_density_mm_per_mm3 == pytest.approx(0.060 / size_mm3, rel=0.05)
        assert (found.segments, found.ends, found.cut_ends) == (1, 2, 0)
        assert found.volume_fraction == pytest.approx(np.pi * 9 * (60 + 4) / mask.size, rel=0.05)

    def test_the_distance_of_tissue_is_that_to_the_nearest_vessel(self) -> None:
        mask = np.zeros((41, 5, 5), bool)
        mask[0] = True
        found = measure_volume(vessel_graph(mask, ISOTROPIC), mask)
        assert found.median_tissue_distance_um == 20.5
        assert found.p95_tissue_distance_um == pytest.approx(38.0, abs=0.1)

    def test_diameters_are_weighted_by_length(self) -> None:
        assert weighted_median(np.array([2.0, 10.0]), np.array([3.0, 1.0])) == 2.0
        wide = (beside(-30, 0, 0), beside(30, 0, 0))
        mask = tubes([wide], ISOTROPIC, 6.0) | tubes([(CENTRE_UM, beside(0, 30, 0))], ISOTROPIC, 2.0)
        graph = vessel_graph(mask, ISOTROPIC)
        thin = min((measure_segment(segment, graph) for segment in graph.segments), key=lambda one: one.diameter_um)
        assert thin.diameter_um == pytest.approx(4.0, abs=0.6)  # without its part in the wide vessel
        values, lengths = diameters(graph)
        assert lengths.sum() == pytest.approx(sum(segment.length_um for segment in graph.segments))
        assert values.max() == pytest.approx(12.0, abs=0.6)


class TestCurves:
    def test_a_staircase_becomes_straight_and_keeps_its_ends(self) -> None:
        steps = np.array([[k, k // 4, 0] for k in range(41)], float)
        found = smooth(steps, ISOTROPIC)
        assert found[0].tolist() == steps[0].tolist()
        assert found[-1].tolist() == steps[-1].tolist()
        assert path_length(found) == pytest.approx(np.hypot(40, 10), rel=0.01)
        assert path_length(steps) > 1.05 * np.hypot(40, 10)

    def test_a_bend_is_not_shortened(self) -> None:
        """A plain Gaussian filter makes this arc 3 % shorter."""
        at = np.linspace(0, 2 * np.pi, 51)
        arc = 8 * np.stack([np.cos(at), np.sin(at), 0 * at], axis=-1)
        assert path_length(smooth(arc, ISOTROPIC, closed=True)) == pytest.approx(16 * np.pi, rel=0.01)


class TestFollow:
    def test_neighbouring_branch_voxels_are_one_node(self) -> None:
        cross = np.array([[k, 5, 0] for k in range(11)] + [[5, k, 0] for k in range(11) if k != 5])
        found = follow(cross, (11, 11, 1))
        assert len(found.paths) == 4
        assert sorted(map(len, found.clusters)) == [1, 1, 1, 1, 5]

    def test_two_paths_between_two_nodes_are_both_found(self) -> None:
        mask = tubes(ring(ISOTROPIC), ISOTROPIC) | tubes([(beside(-25, 0, 0), beside(25, 0, 0))], ISOTROPIC)
        graph = vessel_graph(mask, ISOTROPIC)
        assert (len(graph.segments), graph.loops, kinds(graph)) == (3, 2, ["branch", "branch"])


class TestSpurs:
    def test_a_side_branch_inside_its_vessel_is_removed_and_the_vessel_is_whole(self) -> None:
        """Two parts of a vessel of radius 5 µm meet at the origin; branches of 3 and of 9 µm leave them there."""
        places = ((0, 0, 0), (-30, 0, 0), (30, 0, 0), (0, 3, 0), (0, 9, 0))
        nodes = [Node(np.array(place, float), 5.0, "branch") for place in places]

        def segment(end: int) -> Segment:
            points = np.linspace(places[0], places[end], 7)
            return Segment((0, end), points, np.full(7, 5.0))

        kept = _without_spurs(nodes, [segment(1), segment(2), segment(3)])
        assert [(one.nodes, one.length_um) for one in kept] == [((1, 2), 60.0)]
        assert len(_without_spurs(nodes, [segment(1), segment(2), segment(4)])) == 3
