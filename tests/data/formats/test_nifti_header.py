"""Tests of reading NIfTI headers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.formats.nifti_header import VolumeError, read_header
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
    def test_spacings_of_microscopes_are_in_micrometres_under_any_unit(self, tmp_path: Path, unit: str) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 4, 4), np.uint8), (0.99, 0.99, 5), unit)
        assert read_header(path).spacing_um == (0.99, 0.99, 5.0)

    def test_true_millimetres_are_converted(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 4, 4), np.uint8), (0.00099, 0.00099, 0.005), "mm")
        assert read_header(path).spacing_um == (0.99, 0.99, 5.0)

    def test_a_trailing_axis_of_size_one_is_dropped(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 5, 6, 1), np.uint8), (1, 1, 1), "micron")
        assert read_header(path).shape == (4, 5, 6)
        assert read_volume(path).shape == (4, 5, 6)

    def test_two_volumes_in_a_file_are_refused(self, tmp_path: Path) -> None:
        path = _save(tmp_path / "v.nii", np.zeros((4, 5, 6, 2), np.uint8), (1, 1, 1), "micron")
        with pytest.raises(VolumeError) as caught:
            read_header(path)
        assert caught.value.check == "dimensions"
        assert "(4, 5, 6, 2)" in caught.value.got

    def test_a_text_file_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "v.nii.gz"
        path.write_text("hello")
        with pytest.raises(VolumeError) as caught:
            read_header(path)
        assert caught.value.check == "damaged"
        assert str(path) in caught.value.got

    @pytest.mark.parametrize(
        ("stored", "scaling", "kept"),
        [
            ("uint8", (1, 0), "uint8"),
            ("uint8", (0.5, 3), "float32"),
            ("float64", (1, 0), "float32"),
            (">i2", (1, 0), "int16"),
        ],
    )
    def test_read_dtype_is_the_type_of_the_voxels(
        self, tmp_path: Path, stored: str, scaling: tuple[float, float], kept: str
    ) -> None:
        image = nib.Nifti1Image(np.arange(24, dtype=stored).reshape(2, 3, 4), np.eye(4))
        image.header.set_slope_inter(*scaling)
        nib.save(image, tmp_path / "v.nii")
        header = read_header(tmp_path / "v.nii")
        assert (header.dtype, header.read_dtype) == (np.dtype(stored).newbyteorder("=").name, kept)
        assert read_volume(tmp_path / "v.nii").dtype == kept

    def test_nifti_2_is_read(self, tmp_path: Path) -> None:
        array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
        nib.save(nib.Nifti2Image(array, np.diag([0.5, 0.5, 5, 1])), tmp_path / "v.nii.gz")
        assert read_header(tmp_path / "v.nii.gz").spacing_um == (0.5, 0.5, 5.0)
        np.testing.assert_array_equal(read_volume(tmp_path / "v.nii.gz"), array)

    @pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
    def test_a_short_file_does_not_seem_whole(self, tmp_path: Path, name: str) -> None:
        path = _save(tmp_path / name, np.random.default_rng(0).random((9, 9, 9)), (1, 1, 1), "micron")
        assert read_header(path).seems_whole
        path.write_bytes(path.read_bytes()[:-500])
        assert not read_header(path).seems_whole


class TestDamagedHeaders:
    def test_a_wrong_byte_anywhere_raises_a_data_error_or_nothing(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii", np.ones((4, 4, 4), np.int16), spacing_um=(1, 1, 1))
        good, rng = (tmp_path / "v.nii").read_bytes(), np.random.default_rng(0)
        for place in range(352):
            damaged = bytearray(good)
            damaged[place] = rng.integers(256)
            (tmp_path / "v.nii").write_bytes(damaged)
            with contextlib.suppress(DataError):
                assert len(read_header(tmp_path / "v.nii").shape) == 3
