from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from minivess.data.phantoms.microscope_image import BLUR_UM, attenuation, blur, draw_tubes, take_image
from minivess.data.phantoms.vessel_tree import Tubes


def tube(start_um, end_um, radius_um):
    return Tubes(np.array([start_um], float), np.array([end_um], float), np.array([radius_um]), np.array([1.0]))


class TestDrawTubes:
    def test_a_straight_tube_on_an_anisotropic_grid(self):
        label, _ = draw_tubes(tube((-9, 3, 4), (20, 3, 4), 2.5), (7, 7, 5), (1.0, 1.0, 2.0))
        # y² + z² <= 6.25: five voxels in the slice of the axis, three in each slice 2 µm off it.
        assert label.sum(axis=(0, 1)).tolist() == [0, 7 * 3, 7 * 5, 7 * 3, 0]
        assert label[0, :, 1].tolist() == [0, 0, 1, 1, 1, 0, 0]
        assert label[6, :, 2].tolist() == [0, 1, 1, 1, 1, 1, 0]

    def test_a_tube_of_length_zero_is_a_ball(self):
        label, _ = draw_tubes(tube((3, 3, 3), (3, 3, 3), 1.5), (7, 7, 7), (1.0, 1.0, 1.0))
        assert label.sum() == 1 + 6 + 12  # itself, faces, edges; a corner is 1.73 away

    def test_a_thin_tube_between_slices_stays_in_one_piece(self):
        thin = tube((1.3, 2.1, 2.5), (27.7, 22.6, 47.5), 0.2)
        label, _ = draw_tubes(thin, (30, 30, 11), (1.0, 1.0, 5.0))
        _, pieces = ndimage.label(label, np.ones((3, 3, 3)))
        assert pieces == 1
        assert label.any(axis=(0, 1))[1:10].all()

    def test_fluorescence_equals_the_label_for_brightness_1(self):
        label, fluorescence = draw_tubes(tube((0, 0, 0), (9, 9, 9), 2.0), (9, 9, 9), (1.0, 1.0, 1.0))
        assert np.array_equal(fluorescence, label.astype(np.float32))

    def test_a_tube_outside_the_grid_leaves_it_empty(self):
        label, _ = draw_tubes(tube((-9, -9, -9), (-9, 40, -9), 3.0), (8, 8, 8), (1.0, 1.0, 1.0))
        assert not label.any()


class TestBlur:
    def test_is_longer_in_depth_than_in_plane(self):
        point = np.zeros((41, 41, 41), dtype=np.float32)
        point[20, 20, 20] = 1.0
        blur(point, (1.0, 1.0, 1.0))
        at = np.arange(41) - 20
        variance = [float((point.sum(axis=axes) * at**2).sum()) for axes in ((1, 2), (0, 2), (0, 1))]
        assert variance == pytest.approx(np.square(BLUR_UM), rel=0.05)
        assert variance[2] > 10 * variance[0]


class TestAttenuation:
    def test_falls_by_a_factor_of_e_in_110_um(self):
        assert attenuation(23, 5.0)[[0, 11, 22]] == pytest.approx([1.0, math.exp(-0.5), math.exp(-1)])

    def test_one_slice_is_not_dimmed(self):
        assert attenuation(1, 5.0).tolist() == [1.0]


class TestTakeImage:
    def test_deep_slices_are_dimmer(self):
        image = take_image(np.ones((32, 32, 20), dtype=np.float32), (1.0, 1.0, 5.0), np.random.default_rng(0))
        first, last = image[:, :, 0].mean(), image[:, :, -1].mean()
        assert last / first == pytest.approx(math.exp(-95 / 110), rel=0.15)

    def test_shot_noise_grows_with_the_signal(self):
        half = np.zeros((64, 64, 5), dtype=np.float32)
        half[32:] = 1.0
        image = take_image(half, (1.0, 1.0, 5.0), np.random.default_rng(0)).astype(float)
        assert np.diff(image[40:], axis=1).std() > 1.5 * np.diff(image[:24], axis=1).std()
