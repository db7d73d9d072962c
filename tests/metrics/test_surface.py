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
    def test_a_cube_without_its_heart(self):
        mask = np.zeros((7, 7, 7), bool)
        mask[2:5, 2:5, 2:5] = True
        edge = border(mask)
        assert len(edge) == 27 - 1
        assert [3, 3, 3] not in edge.tolist()

    def test_the_face_of_the_volume_is_a_border(self):
        assert len(border(np.ones((3, 3, 3), bool))) == 26

    def test_a_slab_one_voxel_deep_is_all_border(self):
        assert len(border(np.ones((4, 5, 1), bool))) == 20


class TestSurfaceDistances:
    def test_pythagoras_with_anisotropic_spacing(self):
        apart = surface_distances(np.array([[0, 0, 0]]), np.array([[3, 0, 2]]), spacing=(1.0, 1.0, 2.0))
        assert apart.from_prediction == pytest.approx([5.0])  # 3 and 2 x 2 micrometre
        assert apart.from_reference == pytest.approx([5.0])

    def test_the_nearest_in_micrometre_is_not_the_nearest_in_voxels(self):
        point, others = np.array([[0, 0, 0]]), np.array([[3, 0, 0], [0, 0, 1]])
        assert surface_distances(point, others, (1, 1, 5)).from_prediction == pytest.approx([3.0])
        assert surface_distances(point, others, (1, 1, 1)).from_prediction == pytest.approx([1.0])


class TestSummaries:
    distances = SurfaceDistances(np.array([0.0, 4.0]), np.array([0.0, 0.0, 3.0]))

    def test_masd_weighs_both_ways_alike(self):
        assert measured_masd(self.distances) == pytest.approx((2 + 1) / 2)

    def test_share_within_the_tolerance(self):
        assert normalised_surface_distance(self.distances, 3.0) == pytest.approx(4 / 5)

    def test_three_voxels_of_a_fifth_are_within_three_fifths(self):
        row = surface_distances(np.array([[0, 0, 0]]), np.array([[3, 0, 0]]), (0.2, 0.2, 1))
        assert row.from_prediction[0] > 0.6  # 0.6000000000000001
        assert normalised_surface_distance(row, 0.6) == 1

    def test_hausdorff_takes_the_worse_way(self):
        assert hausdorff_95(self.distances) == pytest.approx(0.95 * 4)
