"""Random augmentation of a patch."""

from __future__ import annotations

import numpy as np
import pytest

from minivess.data.sampling import intensity_augment
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


class TestRates:
    """Rates and ranges of nnU-Net, counted over 3000 patches."""

    def test_blur_contrast_resolution_and_gamma(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, list[float]] = {}

        def recorded(name: str) -> None:
            real = getattr(intensity_augment, name)
            monkeypatch.setattr(
                intensity_augment,
                name,
                lambda image, value, **more: seen.setdefault(name, []).append(value) or real(image, value, **more),
            )

        for name in ("gaussian_filter1d", "_contrast", "_lower_resolution", "_gamma"):
            recorded(name)
        rng = np.random.default_rng(0)
        for _ in range(3000):
            change_intensity(_patch(3, 3, 2), rng)
        for name, rate, low, high in (
            ("gaussian_filter1d", 2 * 0.2, 0.5, 1.0),  # along X and along Y
            ("_contrast", 0.15, 0.75, 1.25),
            ("_lower_resolution", 0.125, 0.5, 1.0),
            ("_gamma", 0.3, 0.7, 1.5),
        ):
            assert len(seen[name]) / 3000 == pytest.approx(rate, abs=0.05)
            assert low <= min(seen[name]) < low + 0.05 < high - 0.05 < max(seen[name]) <= high

    def test_noise_and_brightness(self) -> None:
        """Nothing but noise changes an image of zeros; nothing but noise and brightness changes one of ones."""
        rng = np.random.default_rng(0)
        zeros, ones = (
            [change_intensity(np.full((8, 8, 4), value, np.float32, order="F"), rng) for _ in range(3000)]
            for value in (0, 1)
        )
        deviations = [image.std() for image in zeros if image.any()]
        assert len(deviations) / 3000 == pytest.approx(0.1, abs=0.02)
        assert 0.28 < max(deviations) < 0.45  # the variance of the noise is at most 0.1
        factors = [float(image.mean()) for image in ones if np.ptp(image) < 1e-6 and abs(image.mean() - 1) > 1e-6]
        assert len(factors) / 3000 == pytest.approx(0.9 * 0.15, abs=0.02)
        assert 0.75 <= min(factors) < 0.8 < 1.2 < max(factors) <= 1.25

    def test_slices_are_not_mixed(self) -> None:
        """Slices that are equal stay equal without noise, whatever happens within a slice."""
        block = np.zeros((8, 8, 4), np.float32, order="F")
        block[:4, :, ::2] = 1
        rng = np.random.default_rng(1)
        changed = [change_intensity(block.copy(order="F"), rng) for _ in range(200)]
        assert np.mean([np.allclose(image[..., 0], image[..., 2], atol=1e-5) for image in changed]) > 0.8

    def test_each_axis_is_mirrored_in_half_of_the_patches(self) -> None:
        rng = np.random.default_rng(0)
        flips = np.array([[axis.step == -1 for axis in draw_flips(rng)] for _ in range(2000)])
        np.testing.assert_allclose(flips.mean(axis=0), 0.5, atol=0.04)


class TestLowerResolution:
    def test_to_half_the_voxels_and_back(self) -> None:
        ramp = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((8, 4, 1), np.float32)
        # The values 1, 3, 5, 7 of 0 to 7 are kept, at positions 0.5, 2.5, 4.5, 6.5.
        shown = _lower_resolution(ramp, 0.5)[:, 0, 0]
        np.testing.assert_allclose(shown, [1, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7])

    def test_to_all_the_voxels_changes_nothing(self) -> None:
        patch = _patch(7, 5, 3)
        np.testing.assert_array_equal(_lower_resolution(patch, 1.0), patch)
