"""Random changes of a patch."""

from __future__ import annotations

import numpy as np

from minivess.data.augment import InPlane, change_intensity, draw_flips, draw_in_plane, resample_in_plane


class TestInPlane:
    def test_source_of_a_turned_square_is_its_bounding_box(self) -> None:
        assert InPlane(angle_rad=np.pi / 4).source_size((100, 100)) == (
            144,
            144,
        )  # 100 sqrt 2 rounded up, and one; even as 100 is

    def test_scaling_by_2_shows_every_second_voxel(self) -> None:
        block = np.arange(9, dtype=np.float32)[:, None, None] * np.ones((9, 9, 1), np.float32)
        shown = resample_in_plane(block, InPlane(scale=2.0), (3, 3), nearest=False)
        np.testing.assert_allclose(shown[:, 0, 0], [2, 4, 6], atol=1e-5)

    def test_about_a_third_of_all_patches_is_changed(self) -> None:
        rng = np.random.default_rng(0)
        changed = sum(not draw_in_plane(rng).is_identity for _ in range(2000)) / 2000
        assert abs(changed - 0.36) < 0.04  # 1 - 0.8 x 0.8


class TestFlips:
    def test_all_eight_mirrors_come(self) -> None:
        rng = np.random.default_rng(0)
        assert len({str(draw_flips(rng)) for _ in range(100)}) == 8


class TestIntensity:
    def test_keeps_shape_and_type_and_stays_finite(self) -> None:
        rng = np.random.default_rng(0)
        patch = rng.normal(size=(16, 16, 4)).astype(np.float32)
        for _ in range(100):
            changed = change_intensity(patch, rng)
            assert changed.shape == patch.shape
            assert changed.dtype == np.float32
            assert np.isfinite(changed).all()

    def test_a_constant_patch_survives_gamma(self) -> None:
        rng = np.random.default_rng(0)
        flat = np.ones((4, 4, 4), np.float32)
        assert all(np.isfinite(change_intensity(flat, rng)).all() for _ in range(50))
