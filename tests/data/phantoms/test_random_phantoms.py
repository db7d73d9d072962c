"""Parts of a random phantom: shapes on a grid, dye, optics, clutter, detector."""

from __future__ import annotations

import numpy as np
import pytest

from minivess.data.dataset_profile import DatasetProfile, VolumeStats
from minivess.data.phantoms.clutter import draw_clutter
from minivess.data.phantoms.detector import displace_slices, record
from minivess.data.phantoms.dye import fill_with_dye
from minivess.data.phantoms.optics import attenuate, blur, draw_blur, veil
from minivess.data.phantoms.rasteriser import OUTSIDE_UM, Shapes, rasterise
from minivess.data.phantoms.recipes import RECIPES, Recipe, draw_grid, find_recipe, grid_range
from minivess.data.phantoms.surface_vessels import draw_surface_vessels
from minivess.data.phantoms.vessel_tree import Tubes
from minivess.errors import ConfigError

CLEAN = RECIPES["clean"]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def recipe(**changes: object) -> Recipe:
    return CLEAN.model_copy(update=changes)


class TestShapes:
    def test_depth_below_the_wall_of_a_tube_and_its_soft_edge(self) -> None:
        tube = Shapes(np.array([[-9.0, 4, 4]]), np.array([[20.0, 4, 4]]), np.full((1, 3), 2.0), np.array([0.5]))
        depth_um, light = rasterise(tube, (5, 9, 9), (1.0, 1.0, 1.0))
        assert depth_um[2, 4, 4:8].tolist() == [2.0, 1.0, 0.0, -1.0]
        assert light[2, 4, 4:8].tolist() == [0.5, 0.5, 0.25, 0.0]  # a voxel at the wall is half filled
        assert depth_um[2, 0, 0] == OUTSIDE_UM

    def test_a_vessel_thinner_than_a_slice_is_as_deep_as_one_and_dimmer(self) -> None:
        thin = Tubes(np.zeros((1, 3)), np.ones((1, 3)), np.array([1.0]), np.array([1.0]))
        shapes = Shapes.of_tubes(thin, (1.0, 1.0, 5.0))
        assert shapes.axes_um[0].tolist() == pytest.approx([1.0, 1.0, 5 * 3**0.5 / 2])
        assert shapes.brightness[0] == pytest.approx((2 / (5 * 3**0.5)) ** 0.5)

    def test_the_blur_widens_the_image_of_a_thin_shape_more_than_that_of_a_thick_one(self) -> None:
        ball = Shapes.ellipsoids(np.zeros((2, 3)), np.array([[1.0] * 3, [30.0] * 3]), np.ones(2))
        seen = ball.seen_through((1.0, 1.0, 2.0)).axes_um
        assert seen[0].tolist() == pytest.approx([2.44**0.5, 2.44**0.5, 6.76**0.5])
        assert seen[1, 2] - 30 < 0.1

    def test_large_vessels_cross_the_field_with_radii_of_the_recipe(self) -> None:
        field_um = np.array([200.0, 200.0, 60.0])
        drawn = recipe(surface_vessels=(2, 2), surface_radius_um=(10.0, 20.0), penetrating=0.0)
        parts = draw_surface_vessels(field_um, drawn, rng())
        assert len(parts) >= 2
        assert 10 * 0.5 < parts[0].axes_um[:, 0].mean() < 20 * 1.2
        assert np.ptp(parts[0].start_um[:, :2], axis=0).max() > 200

    def test_sheets_are_flat(self) -> None:
        (sheet,) = draw_surface_vessels(np.array([300.0, 300, 60]), recipe(surface_vessels=(0, 0), sheets=1.0), rng())
        assert (sheet.axes_um[:, 2] < sheet.axes_um[:, :2].mean(axis=1)).mean() > 0.7


class TestDye:
    def _filled(self, **changes: object) -> np.ndarray:
        """The light of a slab of blood, 20 slices deep, below one empty slice."""
        depth_um = np.full((4, 4, 21), 5.0, np.float32)
        depth_um[:, :, 0] = OUTSIDE_UM
        depth_um[0] = np.where(depth_um[0] > 0, 0.0, OUTSIDE_UM)
        light = (depth_um >= 0).astype(np.float32)
        drawn = recipe(blood_absorption_um=(1e9, 1e9)).model_copy(update=changes)
        fill_with_dye(light, depth_um, (1.0, 1.0, 1.0), drawn, rng())
        return light

    def test_nothing_changes_without_any_effect(self) -> None:
        assert self._filled()[1, 1, 1:].tolist() == pytest.approx([1.0] * 20, abs=1e-5)

    def test_blood_dims_what_lies_below_it(self) -> None:
        light = self._filled(blood_absorption_um=(10.0, 10.0))
        assert light[1, 1, 11] / light[1, 1, 1] == pytest.approx(np.exp(-1), rel=1e-3)

    def test_a_rim_is_brighter_and_a_soft_wall_darker_than_the_middle(self) -> None:
        rim, soft = self._filled(rim=1.0), self._filled(soft_wall=1.0)
        assert rim[0, 1, 5] > rim[1, 1, 5]
        assert soft[0, 1, 5] < soft[1, 1, 5]

    def test_red_cells_leave_streaks_along_the_scan_line(self) -> None:
        light = self._filled(cell_shadows=1.0)[1:, :, 1:]
        assert light.std(axis=0).mean() < light.std(axis=1).mean()


class TestOptics:
    def test_the_blur_is_at_least_as_large_along_z(self) -> None:
        drawn = [draw_blur(recipe(), np.random.default_rng(seed)) for seed in range(30)]
        assert all(z >= x == y for x, y, z in drawn)
        point = np.zeros((21, 21, 21), np.float32)
        point[10, 10, 10] = 1
        blur(point, (1.0, 1.0, 1.0), (1.0, 1.0, 3.0))
        assert point.sum() == pytest.approx(1, abs=0.01)
        assert point[10, 10, 13] / point[10, 10, 10] == pytest.approx(np.exp(-0.5), rel=0.05)
        assert point[13, 10, 10] / point[10, 10, 10] == pytest.approx(np.exp(-4.5), abs=0.01)

    def test_light_falls_with_depth(self) -> None:
        light = np.ones((2, 2, 11), np.float32)
        attenuate(light, 5.0, recipe(attenuation_um=(50.0, 50.0)), rng())
        assert light[0, 0, 10] == pytest.approx(np.exp(-1))

    def test_haze_follows_the_vessels_and_leak_adds_clouds(self) -> None:
        light = np.zeros((96, 96, 4), np.float32)
        light[:30] = 1
        base = {"haze": (0.3, 0.3), "background": (0.01, 0.01), "texture": (0.1, 0.1)}
        dry = veil(light, (1.0, 1.0, 5.0), recipe(**base), rng())
        wet = veil(light, (1.0, 1.0, 5.0), recipe(**base, leak=1.0), rng())
        assert dry.shape == light.shape
        assert dry[:10].mean() > 5 * dry[-10:].mean()
        assert wet.max() > dry.max()


class TestClutter:
    def test_particles_are_small_and_need_no_vessel(self) -> None:
        assert draw_clutter((64, 64, 8), (1.0, 1.0, 5.0), recipe(), rng()) is None
        found = draw_clutter((64, 64, 8), (1.0, 1.0, 5.0), recipe(debris=1.0), rng())
        assert found is not None
        assert 0 < (found > 0).mean() < 0.2


class TestDetector:
    def test_shot_noise_has_the_deviation_of_poisson_numbers(self) -> None:
        drawn = recipe(
            photons=(50.0, 50.0), read_noise=(1e-6, 1e-6), smoothed_noise=0.0, saturation=0.0, dark_offset=0.0
        )
        from minivess.data.phantoms.detector import _count_photons

        counts = _count_photons(np.ones((64, 64, 8), np.float32), 50.0, drawn, rng()) * 50
        assert counts.mean() == pytest.approx(50, rel=0.01)
        assert counts.var() == pytest.approx(50, rel=0.03)

    def test_values_are_from_0_to_1_in_steps_of_the_detector(self) -> None:
        image = record(np.random.default_rng(0).random((32, 32, 4), np.float32), recipe(saturation=1.0), rng())
        assert 0 <= image.min() < image.max() == 1
        assert (image == 1).mean() > 0.001

    def test_contrast_can_be_inverted(self) -> None:
        light = np.zeros((32, 32, 2), np.float32)
        light[:16] = 1
        seen = {chance: record(light.copy(), recipe(inverted=chance, dark_offset=0.0), rng()) for chance in (0.0, 1.0)}
        assert seen[0.0][:16].mean() > seen[0.0][16:].mean()
        assert seen[1.0][:16].mean() < seen[1.0][16:].mean()

    def test_image_and_label_move_together(self) -> None:
        image = np.random.default_rng(0).random((32, 32, 9), np.float32)
        label = image.copy()
        displace_slices([image, label], recipe(motion=1.0), rng())
        assert np.array_equal(image, label)
        assert not np.array_equal(image, np.random.default_rng(0).random((32, 32, 9), np.float32))


class TestRecipes:
    def test_an_unknown_name_suggests_the_nearest(self) -> None:
        with pytest.raises(ConfigError, match="broad"):
            find_recipe("braod")

    def test_around_a_data_set_sizes_stay_within_a_quarter(self) -> None:
        volume = VolumeStats(
            name="a", image="", label=None, shape=(64, 64, 20), spacing_um=(0.5, 0.5, 4.0), dtype="uint8", stored_bytes=0,
            cached_bytes=0,
        )  # fmt: skip
        around = find_recipe("broad", DatasetProfile(folder="", volumes=(volume,)))
        grids = [draw_grid(around, np.random.default_rng(seed)) for seed in range(50)]
        assert all(0.4 <= grid.spacing_um[0] <= 0.625 and 3.2 <= grid.spacing_um[2] <= 5 for grid in grids)
        assert all(16 <= grid.slices <= 25 for grid in grids)
        assert grid_range(around) == ((0.5, 0.5, 4.0), (0.5, 0.5, 4.0))

    def test_a_data_set_without_readable_volumes_is_refused(self) -> None:
        with pytest.raises(ConfigError):
            find_recipe("broad", DatasetProfile(folder="x", volumes=()))

    def test_the_broad_recipe_covers_the_spacings_it_names(self) -> None:
        grids = [draw_grid(RECIPES["broad"], np.random.default_rng(seed)) for seed in range(300)]
        sizes = [grid.spacing_um[0] for grid in grids]
        assert 0.3 <= min(sizes) < 0.4
        assert 2.4 < max(sizes) <= 3.0
        assert all(grid.spacing_um[2] >= grid.spacing_um[0] for grid in grids)
