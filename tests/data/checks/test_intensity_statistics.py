"""Statistics of streamed voxels, compared with numpy on the whole volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from minivess.data.checks.intensity_statistics import Intensities, measure_intensities

CLIP = (0.5, 99.5)
TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "uint64", "int64", "float64"]


def _measure(array: np.ndarray, block: int = 7, percentiles: tuple[float, ...] = CLIP) -> Intensities:
    blocks: Callable[[], Iterator[np.ndarray]] = lambda: (array[at : at + block] for at in range(0, array.size, block))  # noqa: E731
    return measure_intensities(blocks, array.dtype, percentiles)


class TestPercentiles:
    @pytest.mark.parametrize("dtype", TYPES)
    @settings(deadline=None, max_examples=50)
    @given(data=st.data())
    def test_equal_those_of_numpy(self, dtype: str, data: st.DataObject) -> None:
        finite = {"allow_nan": False, "allow_infinity": False} if dtype.startswith("float") else None
        array = data.draw(arrays.arrays(dtype, st.integers(1, 60), elements=finite))
        expected = np.percentile(array.astype(np.float64), CLIP)
        np.testing.assert_allclose(_measure(array).percentiles, expected, rtol=1e-12, atol=1e-300)

    def test_negative_and_positive_floats(self) -> None:
        assert _measure(np.array([3, -1, 2, -4, 0], np.float32), percentiles=(0, 25, 50, 100)).percentiles == (
            -4,
            -1,
            0,
            3,
        )


class TestMoments:
    @pytest.mark.parametrize("dtype", TYPES)
    def test_equal_those_of_numpy(self, dtype: str) -> None:
        array = np.random.default_rng(0).normal(60, 20, 1000).astype(dtype)
        moments = _measure(array).moments
        assert (moments.mean, moments.std) == pytest.approx((array.mean(dtype=float), array.std(dtype=float)))
        assert (moments.number, moments.minimum, moments.maximum) == (1000, array.min(), array.max())

    def test_std_is_precise_with_a_large_offset(self) -> None:
        assert _measure(np.array([2e9 + 1, 2e9 + 3] * 50, np.uint32)).moments.std == pytest.approx(1.0)


class TestClipped:
    @pytest.mark.parametrize("dtype", TYPES)
    def test_equals_numpy_on_the_clipped_voxels(self, dtype: str) -> None:
        array = np.random.default_rng(0).normal(60, 20, 1000).astype(dtype)
        array[7] = np.finfo(dtype).max if dtype.startswith("float") else np.iinfo(dtype).max
        clipped = np.clip(array.astype(float), *np.percentile(array.astype(float), CLIP))
        found = _measure(array).clipped
        assert (found.number, found.minimum, found.maximum) == (1000, clipped.min(), clipped.max())
        assert (found.mean, found.std) == pytest.approx((clipped.mean(), clipped.std()))

    def test_non_finite_voxels_are_ignored(self) -> None:
        found = _measure(np.array([1, np.nan, 3, np.inf, -np.inf, np.nan], np.float32), 2, (0, 100))
        assert found.clipped == found.moments


class TestNonFinite:
    def test_are_counted_and_ignored(self) -> None:
        found = _measure(np.array([1, np.nan, 3, np.inf, -np.inf, np.nan], np.float32))
        assert (found.nan, found.infinite, found.moments.number, found.moments.mean) == (2, 2, 2, 2.0)
        assert found.moments.maximum == 3.0

    def test_a_volume_without_finite_voxels_gives_zeros(self) -> None:
        found = _measure(np.full(9, np.nan, np.float32))
        assert (found.nan, found.moments.number, found.percentiles) == (9, 0, (0.0, 0.0))


class TestScaled:
    @pytest.mark.parametrize("slope", [0.5, -2.0])
    def test_equals_the_statistics_of_scaled_voxels(self, slope: float) -> None:
        array = np.arange(100, dtype=np.int16)
        scaled, direct = _measure(array).scaled(slope, 3), _measure((slope * array + 3).astype(np.float32))
        assert scaled.percentiles == pytest.approx(direct.percentiles)
        assert scaled.moments == pytest.approx(direct.moments)
        assert astuple(scaled.clipped) == pytest.approx(astuple(direct.clipped))


class TestChecksum:
    @pytest.mark.parametrize(
        ("copy", "scaling"),
        [
            (np.arange(100, dtype=np.int16), (1.0, 0.0)),
            (np.arange(100, dtype=np.float64), (1.0, 0.0)),
            (np.arange(10, 110, dtype=np.uint16), (1.0, -10.0)),
            (np.arange(0, -100, -1, dtype=np.float32), (-1.0, 0.0)),
        ],
        ids=["int16", "float64", "intercept", "negative slope"],
    )
    def test_is_equal_for_equal_voxels_of_any_type_and_scaling(
        self, copy: np.ndarray, scaling: tuple[float, float]
    ) -> None:
        original = _measure(np.arange(100, dtype=np.uint8)).checksum
        assert measure_intensities(lambda: [copy], copy.dtype, CLIP, scaling).checksum == original

    def test_depends_on_the_voxels_and_not_on_the_blocks(self) -> None:
        array = np.arange(100, dtype=np.uint16)
        assert _measure(array, 7).checksum == _measure(array, 50).checksum != _measure(array[::-1].copy()).checksum
