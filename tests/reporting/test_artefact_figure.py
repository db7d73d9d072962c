"""Figure of label artefacts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minivess.data.formats.nifti import write_volume
from minivess.data.profiler import DatasetProfile, scan_dataset
from minivess.reporting.artefact_figure import artefact_panels, artefact_picture
from minivess.reporting.dataset_figure import save_shape_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Labels a and b have a bar of 5 x 5 x 30 voxels; b also has two cavities and a pinhole along X."""
    for name in "ab":
        label = np.zeros((12, 12, 40), np.uint8)
        label[3:8, 3:8, 5:35] = 1
        if name == "b":
            label[5, 5, 10] = label[4, 5, 20] = 0
            label[:, 6, 30] = 0
        image = np.random.default_rng(ord(name)).integers(0, 200, label.shape, np.uint8)
        write_volume(tmp_path / f"raw/{name}.nii.gz", image, spacing_um=(1, 1, 2))
        write_volume(tmp_path / f"seg/{name}_y.nii.gz", label, spacing_um=(1, 1, 2))
    return tmp_path


@pytest.fixture
def profile(folder: Path) -> DatasetProfile:
    return scan_dataset(folder, voxels=True)


class TestArtefactPanels:
    def test_each_kind_shows_the_label_around_it(self, profile: DatasetProfile) -> None:
        panels, notes = artefact_panels(profile)
        assert ([panel.title for panel in panels], notes) == (["pinhole", "cavity"], [])
        for panel in panels:
            assert panel.caption.startswith("b, ")
            assert panel.at is not None
            assert not panel.mask[panel.at]
            assert panel.mask.any()
        assert panels[0].axes == "yz"  # the pinhole runs along X, so it is a hole in this plane
        assert panels[0].aspect == 2

    def test_a_label_that_is_gone_is_a_note(self, folder: Path, profile: DatasetProfile) -> None:
        (folder / "seg/b_y.nii.gz").unlink()
        panels, notes = artefact_panels(profile)
        assert panels == []
        assert len(notes) == 2

    def test_headers_alone_have_no_panels(self, folder: Path) -> None:
        assert artefact_panels(scan_dataset(folder)) == ([], [])


class TestPictures:
    def test_the_svg_names_every_panel(self, profile: DatasetProfile) -> None:
        text = str(artefact_picture(artefact_panels(profile)[0]))
        assert text.startswith("<svg")
        assert {word in text for word in (">pinhole<", ">cavity<")} == {True}

    def test_the_saved_picture_is_taller_with_artefacts(self, folder: Path, profile: DatasetProfile) -> None:
        save_shape_picture(scan_dataset(folder), folder / "without.png")
        save_shape_picture(profile, folder / "with.png")
        with Image.open(folder / "without.png") as without, Image.open(folder / "with.png") as with_artefacts:
            assert with_artefacts.height > without.height
