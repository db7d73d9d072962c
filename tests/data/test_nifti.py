"""NIfTI in and out."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.nifti import read_header, read_volume, write_volume
from minivess.errors import DataError


def _save(path: Path, array: np.ndarray, spacing: tuple[float, ...], unit: str) -> Path:
    image = nib.Nifti1Image(array, np.diag([*spacing, 1.0]))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


class TestHeader:
    def test_reads_shape_spacing_and_type(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii.gz", np.zeros((4, 5, 6), np.uint16), spacing_um=(0.994, 0.994, 5))
        header = read_header(tmp_path / "v.nii.gz")
        assert (header.shape, header.spacing_um, header.dtype, header.unit) == (
            (4, 5, 6),
            (0.994, 0.994, 5.0),
            "uint16",
            "micron",
        )

    @pytest.mark.parametrize("unit", ["unknown", "mm", "micron"])
    def test_microscope_numbers_are_micrometre_whatever_the_unit_says(self, tmp_path: Path, unit: str) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 4, 4), np.uint8), (0.99, 0.99, 5), unit)
        assert read_header(path).spacing_um == (0.99, 0.99, 5.0)

    def test_true_millimetres_are_converted(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 4, 4), np.uint8), (0.00099, 0.00099, 0.005), "mm")
        assert read_header(path).spacing_um == (0.99, 0.99, 5.0)

    def test_a_trailing_channel_of_one_is_no_axis(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 5, 6, 1), np.uint8), (1, 1, 1), "micron")
        assert read_header(path).shape == (4, 5, 6)
        assert read_volume(path).shape == (4, 5, 6)

    def test_two_volumes_in_a_file_are_refused(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 5, 6, 2), np.uint8), (1, 1, 1), "micron")
        with pytest.raises(DataError, match="one 3D volume"):
            read_header(path)

    def test_a_text_file_is_no_volume(self, tmp_path: Path) -> None:
        (tmp_path / "v.nii.gz").write_text("hello")
        with pytest.raises(DataError, match="damaged or cut short"):
            read_header(tmp_path / "v.nii.gz")


class TestVolume:
    def test_round_trip_keeps_type_and_values(self, tmp_path: Path) -> None:
        array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
        write_volume(tmp_path / "v.nii.gz", array, spacing_um=(1, 1, 1))
        np.testing.assert_array_equal(read_volume(tmp_path / "v.nii.gz"), array)
        assert read_volume(tmp_path / "v.nii.gz").dtype == np.uint16

    def test_a_truncated_file_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "v.nii.gz"
        write_volume(path, np.random.default_rng(0).integers(0, 255, (32, 32, 8), np.uint8), spacing_um=(1, 1, 1))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=r"v\.nii\.gz is damaged or cut short"):
            read_volume(path)
