"""Rotation, scaling and bending in plane."""

from __future__ import annotations

import numpy as np

from minivess.data.sampling.in_plane_transform import (
    InPlane,
    control_points,
    draw_in_plane,
    sample_linear,
    sample_nearest,
)

BLOCK = np.asfortranarray(np.arange(9, dtype=np.float32)[:, None, None] * np.ones((9, 9, 2), np.float32))


def _bend(along_x: float, along_y: float, size: int) -> np.ndarray:
    count = control_points(size)
    return np.stack([np.full((count, count), along_x), np.full((count, count), along_y)])


class TestInPlane:
    def test_source_of_a_rotated_square_is_its_bounding_box(self) -> None:
        # 100 sqrt 2 rounded up, plus 1, then made even because 100 is even
        assert InPlane(angle_rad=np.pi / 4).source_size((100, 100)) == (144, 144)

    def test_scaling_by_2_shows_every_second_voxel(self) -> None:
        shown = sample_linear(BLOCK, InPlane(scale=2.0).places((3, 3)))
        np.testing.assert_allclose(shown[:, 0, 0], [2, 4, 6], atol=1e-5)

    def test_equal_displacements_shift_the_patch(self) -> None:
        places = InPlane(bend=_bend(1.5, -2.0, 5)).places((5, 5))
        np.testing.assert_allclose(places[0][:, 0], np.arange(5) - 2 + 1.5, atol=1e-12)
        np.testing.assert_allclose(places[1][0], np.arange(5) - 2 - 2.0, atol=1e-12)

    def test_a_bent_patch_is_inside_its_source(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(100):
            change = draw_in_plane(rng, (40, 57))
            reach = np.abs(change.places((40, 57))).max(axis=(1, 2))
            assert (reach <= (np.array(change.source_size((40, 57))) - 1) / 2 + 1e-9).all()

    def test_bending_never_folds(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(20):
            bend = 8.0 * rng.choice([-1.0, 1.0], (2, control_points(96), control_points(96)))
            (xx, xy), (yx, yy) = (np.gradient(part) for part in InPlane(bend=bend).places((96, 96)))
            assert (xx * yy - xy * yx).min() > 0


class TestDraw:
    def test_rates(self) -> None:
        rng = np.random.default_rng(0)
        drawn = [draw_in_plane(rng, (8, 8)) for _ in range(2000)]
        assert abs(np.mean([not change.is_identity for change in drawn]) - 0.424) < 0.04  # 1 - 0.8 x 0.8 x 0.9
        assert abs(np.mean([change.bend is not None for change in drawn]) - 0.1) < 0.02
        assert abs(np.mean([change.angle_rad != 0 for change in drawn]) - 0.2) < 0.03
        assert abs(np.mean([change.scale > 1 for change in drawn]) - 0.1) < 0.02
        assert abs(np.mean([change.scale < 1 for change in drawn]) - 0.1) < 0.02

    def test_ranges(self) -> None:
        rng = np.random.default_rng(0)
        drawn = [draw_in_plane(rng, (64, 64)) for _ in range(3000)]
        angles, scales = [change.angle_rad for change in drawn], [change.scale for change in drawn]
        assert -np.pi <= min(angles) < -3 < 3 < max(angles) <= np.pi
        assert 0.7 <= min(scales) < 0.72 < 1.38 < max(scales) <= 1.4
        assert 7 < max(np.abs(change.bend).max() for change in drawn if change.bend is not None) <= 8


class TestSample:
    def test_nearest_keeps_type_and_values(self) -> None:
        shown = sample_nearest(BLOCK.astype(np.uint8), InPlane(scale=1.4).places((5, 5)))
        assert shown.dtype == np.uint8
        np.testing.assert_array_equal(shown[:, 0, 1], [1, 3, 4, 5, 7])  # 4 + 1.4 x (-2, -1, 0, 1, 2)

    def test_linear_and_nearest_agree_on_whole_voxels(self) -> None:
        block = np.asfortranarray(np.random.default_rng(0).random((9, 9, 2), np.float32))
        places = InPlane(angle_rad=np.pi / 2).places((5, 7))
        np.testing.assert_allclose(sample_linear(block, places), sample_nearest(block, places), atol=1e-5)

    def test_any_memory_order_gives_the_same(self) -> None:
        places = InPlane(angle_rad=0.3, scale=0.8).places((5, 5))
        for sample in (sample_linear, sample_nearest):
            np.testing.assert_array_equal(sample(np.ascontiguousarray(BLOCK), places), sample(BLOCK, places))
