from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from minivess.data.formats.nifti import write_volume
from minivess.experiments.run_folder import RunFolder
from minivess.reporting import overlays
from minivess.reporting.overlays import FALSE, FOUND, MISSED, make_overlays, project_image, project_masks, scale_bar_um
from minivess.reporting.run_data import read_run_data


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1])))


class TestProjections:
    def test_the_projection_is_the_maximum_along_z_scaled_to_8_bits(self):
        volume = np.zeros((2, 2, 3), np.uint16)
        volume[0, 0, 2] = 1000
        volume[1, 1] = [200, 500, 100]
        assert project_image(volume)[0].tolist() == [255, 0]
        assert 120 < project_image(volume)[1, 1] < 135

    def test_a_constant_image_and_nan_give_zeros(self):
        assert project_image(np.full((2, 2, 2), 7.0)).max() == 0
        assert project_image(np.full((2, 2, 2), np.nan)).max() == 0

    def test_an_added_or_multiplied_constant_does_not_change_the_picture(self) -> None:
        volume = np.random.default_rng(0).integers(0, 200, (8, 8, 4))
        for changed in (volume.astype(np.int32) + 2**26, volume + 1e9, volume * 1e-12):
            np.testing.assert_allclose(project_image(changed), project_image(volume), atol=1)

    def test_each_ray_has_the_mean_colour_of_its_voxels(self):
        mask, label = np.zeros((2, 4, 2), bool)
        mask[[0, 1, 3]] = label[[0, 2, 3]] = True
        mask, label = mask[:, None, :], label[:, None, :]
        label[3, 0, 1] = False
        colours = project_masks(np.full((4, 1), 100, np.uint8), mask, label)[:, 0]
        assert [tuple(colour) for colour in colours[:3]] == [FOUND, FALSE, MISSED]
        assert colours[3].tolist() == [(a + b) // 2 for a, b in zip(FOUND, FALSE, strict=True)]

    def test_rays_without_vessel_show_the_darkened_image(self):
        nothing = np.zeros((1, 1, 2), bool)
        assert project_masks(np.array([[100]], np.uint8), nothing, nothing).tolist() == [[[40, 40, 40]]]

    @pytest.mark.parametrize(("side_um", "bar_um"), [(512, 100), (96, 20), (40, 10), (8, 2), (0.5, 0.1)])
    def test_the_scale_bar_is_a_round_number_and_at_most_a_quarter(self, side_um: float, bar_um: float):
        assert scale_bar_um(side_um) == pytest.approx(bar_um)


class TestOverlays:
    def test_every_loss_has_its_worst_median_and_best_case(self, finished: RunFolder):
        facts = read_run_data(finished)
        shown, notes = make_overlays(facts)
        assert (list(shown), notes) == (["dice_ce", "cbdice"], [])
        ordered = sorted(row.metrics.dsc for row in facts.rows if row.method == "cbdice")
        assert [o.rank for o in shown["cbdice"]] == ["worst", "median", "best"]
        assert [o.row.metrics.dsc for o in shown["cbdice"]] == [ordered[0], ordered[2], ordered[-1]]

    def test_x_is_to_the_right_and_the_scale_bar_has_the_right_length(self, finished: RunFolder):
        overlay = make_overlays(read_run_data(finished))[0]["dice_ce"][0]
        assert opened(overlay.image).size == opened(overlay.result).size == (24, 20)
        assert (overlay.bar_um, overlay.bar_percent) == (5.0, pytest.approx(100 * 5 / 24))

    def test_pixels_are_square_for_any_spacing(self, finished: RunFolder):
        facts = read_run_data(finished)
        volumes = tuple(v.model_copy(update={"spacing_um": (1.0, 2.0, 5.0)}) for v in facts.profile.volumes)
        shown, _ = make_overlays(replace(facts, profile=facts.profile.model_copy(update={"volumes": volumes})))
        assert opened(shown["dice_ce"][0].image).size == (24, 40)

    def test_a_missing_prediction_gives_a_note(self, copied: Callable[[], RunFolder]):
        folder = copied()
        for fold in (0, 1):
            shutil.rmtree(folder.cell("dice_ce", fold).predictions)
        shown, notes = make_overlays(read_run_data(folder))
        assert list(shown) == ["cbdice"]
        assert len(notes) == 3
        assert all(note.startswith("dice_ce on a") and ".nii.gz" in note for note in notes)

    def test_a_prediction_of_another_shape_gives_a_note(self, copied: Callable[[], RunFolder]):
        folder = copied()
        for fold in (0, 1):
            for file in folder.cell("cbdice", fold).predictions.iterdir():
                write_volume(file, np.zeros((24, 20, 3), np.uint8), spacing_um=(1, 1, 5))
        shown, notes = make_overlays(read_run_data(folder))
        assert list(shown) == ["dice_ce"]
        assert notes[0].endswith("(24, 20, 3) and (24, 20, 4).")

    def test_pictures_shrink_until_their_total_size_is_within_the_budget(
        self, finished: RunFolder, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(overlays, "_WIDTHS", (24, 12))
        monkeypatch.setattr(overlays, "_BUDGET_BYTES", 100)
        overlay = make_overlays(read_run_data(finished))[0]["dice_ce"][0]
        assert opened(overlay.image).size == (12, 10)
