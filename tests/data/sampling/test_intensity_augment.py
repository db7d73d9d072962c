"""Random augmentation of a patch."""

from __future__ import annotations

import numpy as np

from minivess.data.sampling.intensity_augment import _contrast, _gamma, _lower_resolution, change_intensity, draw_flips


def _patch(*shape: int) -> np.ndarray:
    return np.asfortranarray(np.random.default_rng(0).normal(size=shape).astype(np.float32))


class TestFlips:
    def test_all_eight_combinations_occur(self) -> None:
        rng = np.random.default_rng(0)
        assert len({str(draw_flips(rng)) for _ in range(100)}) == 8


class TestIntensity:
    def test_keeps_shape_type_and_memory_order_and_stays_finite(self) -> None:
        rng, patch = np.random.default_rng(0), _patch(16, 12, 4)
        for _ in range(100):
            changed = change_intensity(patch.copy(order="F"), rng)
            assert (changed.shape, changed.dtype) == (patch.shape, np.float32)
            assert changed.flags.f_contiguous
            assert np.isfinite(changed).all()

    def test_memory_order_does_not_matter(self) -> None:
        patch = _patch(16, 12, 4)
        for seed in range(50):
            one = change_intensity(patch.copy(order="F"), np.random.default_rng(seed))
            other = change_intensity(patch.copy(order="C"), np.random.default_rng(seed))
            np.testing.assert_allclose(one, other, atol=1e-4)

    def test_a_constant_patch_stays_finite(self) -> None:
        rng = np.random.default_rng(0)
        assert all(np.isfinite(change_intensity(np.ones((4, 4, 4), np.float32), rng)).all() for _ in range(50))

    def test_contrast_spreads_about_the_mean_within_the_extremes(self) -> None:
        patch = np.array([-2.0, -1.0, 1.0, 2.0], np.float32)
        _contrast(patch, 1.25)
        np.testing.assert_allclose(patch, [-2, -1.25, 1.25, 2])

    def test_gamma_keeps_mean_and_deviation(self) -> None:
        patch = _patch(8, 8, 4)
        before = patch.copy()
        _gamma(patch, 1.5)
        np.testing.assert_allclose([patch.mean(), patch.std()], [before.mean(), before.std()], atol=1e-5)
        assert not np.allclose(patch, before)


class TestLowerResolution:
    def test_to_half_the_voxels_and_back(self) -> None:
        ramp = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((8, 4, 1), np.float32)
        # The values 1, 3, 5, 7 of 0 to 7 are kept, at positions 0.5, 2.5, 4.5, 6.5.
        shown = _lower_resolution(ramp, 0.5)[:, 0, 0]
        np.testing.assert_allclose(shown, [1, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7])

    def test_to_all_the_voxels_changes_nothing(self) -> None:
        patch = _patch(7, 5, 3)
        np.testing.assert_array_equal(_lower_resolution(patch, 1.0), patch)
