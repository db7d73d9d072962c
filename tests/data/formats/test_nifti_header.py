"""Tests of reading NIfTI headers."""

from __future__ import annotations

import contextlib
import os
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
        assert (header.dtype, header.read_dtype()) == (np.dtype(stored).newbyteorder("=").name, kept)
        assert read_volume(tmp_path / "v.nii").dtype == kept

    @pytest.mark.parametrize(
        ("stored", "scaling", "kept"),
        [
            ("uint8", (1, 0), "uint8"),
            ("int32", (1, 0), "int32"),
            ("uint8", (0.5, 3), "float64"),
            ("<f8", (1, 0), "float64"),
        ],
    )
    def test_exact_voxels_are_never_rounded_to_float32(
        self, tmp_path: Path, stored: str, scaling: tuple[float, float], kept: str
    ) -> None:
        image = nib.Nifti1Image(np.full((2, 3, 4), 9, stored), np.eye(4))
        image.header.set_slope_inter(*scaling)
        nib.save(image, tmp_path / "v.nii")
        assert (
            read_volume(tmp_path / "v.nii", exact=True).dtype
            == read_header(tmp_path / "v.nii").read_dtype(True)
            == kept
        )

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


def _with_header(path: Path, image: nib.Nifti1Image, **fields: object) -> Path:
    """Write a plain file whose header has values that nibabel would refuse."""
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    header = type(image.header)(bytes(content[: image.header.sizeof_hdr]), check=False)
    for field, value in fields.items():
        header[field] = value
    content[: image.header.sizeof_hdr] = header.structarr.tobytes()
    path.write_bytes(content)
    return path


class TestOrientation:
    def test_a_quaternion_that_is_slightly_too_long_is_repaired(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1, 1, 5, 1]))
        facts = {"sform_code": 0, "qform_code": 1, "quatern_b": 1.0005, "quatern_c": 0, "quatern_d": 0}
        header = read_header(_with_header(tmp_path / "v.nii", image, **facts))
        np.testing.assert_allclose(
            np.array(header.affine)[:3, :3], np.diag([1, -1, -5]), atol=1e-5
        )  # 180 degrees about X
        assert (header.orientation, "1.0005" in header.orientation_fault) == ("qform", True)

    @pytest.mark.parametrize("value", [7.0, np.nan])
    def test_a_quaternion_that_is_no_rotation_is_ignored(self, tmp_path: Path, value: float) -> None:
        image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1, 1, 5, 1]))
        header = read_header(_with_header(tmp_path / "v.nii", image, sform_code=0, qform_code=1, quatern_b=value))
        assert (header.orientation, bool(header.orientation_fault)) == ("none", True)

    def test_a_header_without_an_orientation_is_not_mirrored(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1, 1, 5, 1]))
        header = read_header(_with_header(tmp_path / "v.nii", image, sform_code=0, qform_code=0))
        assert (header.orientation, header.orientation_fault) == ("none", "")
        np.testing.assert_array_equal(header.affine, np.diag([1, 1, 5, 1]))

    def test_a_qfac_of_zero_means_one(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([1, 1, 5, 1]))
        facts = {"sform_code": 0, "qform_code": 1, "pixdim": [0, 1, 1, 5, 1, 1, 1, 1]}
        header = read_header(_with_header(tmp_path / "v.nii", image, **facts))
        assert (header.affine[2][2], header.orientation_fault) == (5.0, "")


class TestDamagedHeaders:
    def test_line_ends_of_nifti_2_that_a_transfer_has_changed(self, tmp_path: Path) -> None:
        image = nib.Nifti2Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
        assert read_header(_with_header(tmp_path / "v.nii", image, eol_check=(0, 0, 0, 0))).shape == (4, 5, 6)
        with pytest.raises(VolumeError) as caught:
            read_header(_with_header(tmp_path / "v.nii", image, eol_check=(10, 26, 10, 0)))
        assert caught.value.check == "damaged"

    def test_a_file_name_that_is_not_utf_8_is_one_message(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"v\xff.nii")
        _save(path, np.zeros((4, 5, 6), np.uint8), (1, 1, 1), "micron")
        with pytest.raises(VolumeError) as caught:
            read_header(path)
        assert caught.value.check == "name_letters"
        assert str(caught.value).encode()

    def test_a_wrong_byte_anywhere_raises_a_data_error_or_nothing(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii", np.ones((4, 4, 4), np.int16), spacing_um=(1, 1, 1))
        good, rng = (tmp_path / "v.nii").read_bytes(), np.random.default_rng(0)
        for place in range(352):
            damaged = bytearray(good)
            damaged[place] = rng.integers(256)
            (tmp_path / "v.nii").write_bytes(damaged)
            with contextlib.suppress(DataError):
                assert len(read_header(tmp_path / "v.nii").shape) == 3
