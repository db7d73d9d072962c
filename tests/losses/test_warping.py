from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, label
from skimage.measure import euler_number

from minivess.errors import ConfigError
from minivess.losses.warping import critical_points, warp

quick = settings(deadline=None, max_examples=60)


def betti_numbers(mask):
    """Betti numbers with 6-connected foreground and 26-connected background; outside the array is background."""
    padded = np.pad(mask, 1)
    pieces = label(padded)[1]
    cavities = label(~padded, np.ones((3, 3, 3)))[1] - 1
    return pieces, pieces + cavities - euler_number(padded, connectivity=1), cavities


def noise(seed, shape, density):
    return np.random.default_rng(seed).random(shape) < density


def vessels(seed, shape):
    """Smooth random tubes; some of them touch the border."""
    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), (2, 2, 1)) > 0.08


def rod(first, last, y=4):
    mask = np.zeros((20, 9, 9), dtype=bool)
    mask[first:last, y - 1 : y + 2, 3:6] = True
    return mask


masks = st.builds(
    noise,
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 9), st.integers(1, 8), st.integers(1, 5)),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]),
)


class TestTopologyIsKept:
    @quick
    @given(mask=masks, seed=st.integers(0, 10**6), density=st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
    def test_warping_noise_keeps_the_topology(self, mask, seed, density):
        warped = warp(mask, noise(seed, mask.shape, density))
        assert betti_numbers(warped) == betti_numbers(mask)

    @settings(deadline=None, max_examples=20)
    @given(seeds=st.lists(st.integers(0, 10**6), min_size=2, max_size=2, unique=True))
    def test_warping_vessels_keeps_the_topology(self, seeds):
        mask, towards = (vessels(seed, (24, 20, 8)) for seed in seeds)
        warped = warp(mask, towards)
        assert betti_numbers(warped) == betti_numbers(mask)
        assert (warped != towards).sum() < (mask != towards).sum()

    @quick
    @given(mask=masks, seed=st.integers(0, 10**6))
    def test_warping_again_changes_nothing(self, mask, seed):
        towards = noise(seed, mask.shape, 0.5)
        warped = warp(mask, towards)
        assert np.array_equal(warp(warped, towards), warped)
        assert np.array_equal(warped != mask, (warped != mask) & (mask != towards))


class TestWarp:
    def test_reaches_a_mask_of_the_same_topology(self):
        thick, thin = rod(2, 18), np.zeros((20, 9, 9), dtype=bool)
        thin[5:15, 4, 4] = True
        assert np.array_equal(warp(thick, thin), thin)
        assert np.array_equal(warp(thin, thick), thick)

    def test_does_not_change_its_arguments(self):
        mask, towards = rod(2, 10), rod(2, 18)
        warp(mask, towards)
        assert np.array_equal(mask, rod(2, 10))
        assert np.array_equal(towards, rod(2, 18))

    def test_memory_order_does_not_matter(self):
        mask, towards = vessels(0, (12, 10, 6)), vessels(1, (12, 10, 6))
        assert np.array_equal(warp(np.asfortranarray(mask), towards[::-1][::-1]), warp(mask, towards))

    def test_empty_mask_stays_empty_and_full_mask_keeps_one_voxel(self):
        empty, whole = np.zeros((5, 5, 4), dtype=bool), np.ones((5, 5, 4), dtype=bool)
        assert not warp(empty, whole).any()
        assert warp(whole, empty).sum() == 1

    def test_bridge_is_thinned_to_its_middle(self):
        warped = warp(rod(2, 18), rod(2, 7) | rod(13, 18))
        assert np.argwhere(warped[7:13])[:, 1:].tolist() == [[4, 4]] * 6

    @pytest.mark.parametrize("other", [np.zeros((3, 3, 4), bool), np.zeros((3, 3, 3), np.uint8)])
    def test_refuses_other_shapes_and_types(self, other):
        with pytest.raises(ConfigError) as caught:
            warp(np.zeros((3, 3, 3), bool), other)
        assert f"{other.dtype} {other.shape}" in caught.value.got


class TestCriticalPoints:
    def test_perfect_prediction_and_surface_errors_are_not_critical(self):
        vessel = rod(2, 18)
        for prediction in (vessel, binary_dilation(vessel), binary_erosion(vessel), rod(4, 19), rod(2, 18, y=5)):
            assert not critical_points(prediction, vessel).any()

    def test_gap_is_critical_in_prediction_and_in_label(self):
        whole, broken = rod(2, 18), rod(2, 18) & ~rod(8, 12)
        for critical in (critical_points(broken, whole), critical_points(whole, broken)):
            assert critical[8:12, 4, 4].all()  # the axis, which the whole rod cannot lose
            assert critical[8:12].sum() == critical.sum() == 4 + 9 - 1  # and the wall that separates the ends

    def test_missed_and_invented_vessels_are_critical(self):
        empty = np.zeros((20, 9, 9), dtype=bool)
        assert np.array_equal(critical_points(empty, rod(2, 18)), rod(2, 18))
        assert np.array_equal(critical_points(rod(2, 18), empty), rod(2, 18))

    def test_two_touching_vessels_are_critical(self):
        label = rod(2, 18, y=2) | rod(2, 18, y=6)
        merged = label.copy()
        merged[9:12, 4, 3:6] = True
        critical = critical_points(merged, label)
        assert critical.any()
        assert not (critical & (merged == label)).any()

    def test_filled_loop_is_critical(self):
        ring, filled = (np.zeros((9, 9, 3), dtype=bool) for _ in range(2))
        ring[2:7, 2:7, 1] = filled[2:7, 2:7, 1] = True
        ring[3:6, 3:6, 1] = False
        assert critical_points(filled, ring)[4, 4, 1]
