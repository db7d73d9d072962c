"""Report of a run on labels of which only one slice of four is known."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from minivess.experiments.run_folder import RunFolder
from minivess.reporting.html import write_report
from minivess.reporting.overlays import FALSE, FOUND, MISSED, UNKNOWN, make_overlays, project_masks
from minivess.reporting.run_data import read_run_data


@pytest.fixture
def run(new_run: Callable[..., RunFolder]) -> RunFolder:
    """A run whose masks have vessel in all unknown voxels: `score` in the conftest reads 255 as vessel."""
    return new_run(unknown=(0, 2, 3), data={"ignore_value": 255})


class TestProjection:
    def test_unknown_voxels_are_grey_and_never_an_error(self) -> None:
        """Rays of two voxels: the first is known, the second is not and has a predicted vessel in rays 0 to 3."""
        mask, label, unknown = (np.zeros((6, 1, 2), bool) for _ in range(3))
        unknown[:, :, 1] = mask[:4, :, 1] = True
        mask[[0, 1], :, 0] = label[[0, 2], :, 0] = True
        label[5, :, 1] = True  # what the label has in an unknown voxel has no meaning
        colours = project_masks(np.full((6, 1), 100, np.uint8), mask, label & ~unknown, unknown)[:, 0]
        assert [tuple(colour) for colour in colours[:4]] == [FOUND, FALSE, MISSED, UNKNOWN]
        assert colours[4:].tolist() == [[40, 40, 40]] * 2

    def test_rays_without_a_known_voxel_have_a_veil(self) -> None:
        nothing, unknown = np.zeros((2, 1, 2), bool), np.zeros((2, 1, 2), bool)
        unknown[1] = True
        known, veiled = project_masks(np.full((2, 1), 100, np.uint8), nothing, nothing, unknown)[:, 0]
        assert (known.tolist(), veiled.tolist()) == ([40, 40, 40], [72, 72, 72])


class TestReport:
    def test_the_pictures_have_no_error_where_nothing_is_known(self, run: RunFolder) -> None:
        facts = read_run_data(run)
        overlay = make_overlays(facts)[0]["dice_ce"][0]
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(overlay.result.split(",", 1)[1]))))
        colours = {tuple(colour) for colour in pixels.reshape(-1, 3).tolist()}
        assert {FOUND, UNKNOWN} <= colours
        assert FALSE not in colours

    def test_it_says_how_much_is_labelled(self, run: RunFolder) -> None:
        text = write_report(run).read_text()
        assert "25.0&nbsp;% of all voxels are labelled" in text
        assert "1 of 4" in text
        assert "25.0% were labelled" in text  # the methods paragraph and the model card
        assert "predicted where nothing is labelled" in text

    def test_without_the_key_it_says_nothing_of_it(self, finished: RunFolder) -> None:
        text = write_report(finished).read_text()
        assert "are labelled" not in text
        assert "predicted where nothing is labelled" not in text
