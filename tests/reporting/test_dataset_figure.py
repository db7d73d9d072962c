"""Figure of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from minivess.data.profiler import DatasetProfile
from minivess.errors import RunError
from minivess.reporting.dataset_figure import save_shape_picture, shape_picture


class TestShapePicture:
    def test_every_volume_is_a_point_with_a_hover_text_in_both_panels(self, profile: DatasetProfile) -> None:
        text = str(shape_picture(profile))
        assert text.count("<title>") == 2 * len(profile.volumes)
        assert "phantom01: 96 × 96 × 5 voxels of" in text
        assert text.count(">phantom01<") >= 1  # the shallowest is named

    def test_the_suffix_decides_the_format(self, profile: DatasetProfile, tmp_path: Path) -> None:
        save_shape_picture(profile, tmp_path / "shapes.png")
        with Image.open(tmp_path / "shapes.png") as picture:
            assert picture.format == "PNG"
        with pytest.raises(RunError, match=r"\.png, \.svg, \.pdf"):
            save_shape_picture(profile, tmp_path / "shapes.txt")
