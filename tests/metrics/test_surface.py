from __future__ import annotations

import numpy as np
import pytest

from minivess.metrics.surface import (
    SurfaceDistances,
    border,
    hausdorff_95,
    measured_masd,
    normalised_surface_distance,
    surface_distances,
)


class TestBorder:
    def test_border_of_a_cube_is_the_cube_without_its_centre(self):
        mask = np.zeros((7, 7, 7), bool)
        mask[2:5, 2:5, 2:5] = True
        edge = border(mask)
        assert len(edge) == 27 - 1
        assert [3, 3, 3] not in edge.tolist()

    def test_voxels_at_the_edge_of_the_volume_are_border(self):
        assert len(border(np.ones((3, 3, 3), bool))) == 26

    def test_all_voxels_of_a_slab_one_voxel_deep_are_border(self):
        assert len(border(np.ones((4, 5, 1), bool))) == 20


class TestSurfaceDistances:
    def test_euclidean_distance_with_anisotropic_spacing(self):
        apart = surface_distances(np.array([[0, 0, 0]]), np.array([[3, 0, 2]]), spacing=(1.0, 1.0, 2.0))
        assert apart.from_prediction == pytest.approx([5.0])  # 3 and 2 x 2 micrometre
        assert apart.from_reference == pytest.approx([5.0])

    def test_the_nearest_in_micrometre_is_not_the_nearest_in_voxels(self):
        point, others = np.array([[0, 0, 0]]), np.array([[3, 0, 0], [0, 0, 1]])
        assert surface_distances(point, others, (1, 1, 5)).from_prediction == pytest.approx([3.0])
        assert surface_distances(point, others, (1, 1, 1)).from_prediction == pytest.approx([1.0])


class TestSummaries:
    distances = SurfaceDistances(np.array([0.0, 4.0]), np.array([0.0, 0.0, 3.0]))

    def test_masd_weighs_both_directions_equally(self):
        assert measured_masd(self.distances) == pytest.approx((2 + 1) / 2)

    def test_share_within_the_tolerance(self):
        assert normalised_surface_distance(self.distances, 3.0) == pytest.approx(4 / 5)

    def test_three_voxels_of_0_2_are_within_a_tolerance_of_0_6(self):
        row = surface_distances(np.array([[0, 0, 0]]), np.array([[3, 0, 0]]), (0.2, 0.2, 1))
        assert row.from_prediction[0] > 0.6  # 0.6000000000000001
        assert normalised_surface_distance(row, 0.6) == 1

    @pytest.mark.parametrize("few", [-1.0, 1.0])
    def test_both_methods_for_distances_give_the_same_share(self, monkeypatch, few):
        monkeypatch.setattr("minivess.metrics.nearest._FEW", few)
        rows = np.array([[0, 0, 0]]), np.array([[3, 0, 0]])
        assert normalised_surface_distance(surface_distances(*rows, (0.2, 0.2, 1)), 0.6) == 1

    def test_hausdorff_is_the_larger_of_both_directions(self):
        assert hausdorff_95(self.distances) == pytest.approx(0.95 * 4)
