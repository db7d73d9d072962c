"""Tests of opening volumes for prediction and of writing masks on their grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.formats.nifti import read_header, read_volume, write_volume
from minivess.data.formats.nifti_file import open_volume, write_alike
from minivess.data.formats.nifti_header import VolumeError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Plain big-endian file in real millimetres, with a rotated affine, an extension and a display range."""
    turned = np.array([[0, -0.00099, 0, 3], [0.00099, 0, 0, 4], [0, 0, 0.005, 5], [0, 0, 0, 1]])
    header = nib.Nifti1Header(endianness=">")
    header.set_xyzt_units("mm")
    header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"secret"))
    header["cal_max"] = 4000
    voxels = np.random.default_rng(0).integers(0, 4000, (6, 5, 4)).astype(">u2")
    nib.save(nib.Nifti1Image(voxels, turned, header), tmp_path / "source.nii")
    return tmp_path / "source.nii"


class TestOpenVolume:
    def test_a_plain_file_is_mapped(self, source: Path) -> None:
        volume = open_volume(source)
        assert isinstance(volume, np.memmap)
        np.testing.assert_array_equal(volume, read_volume(source))

    def test_a_compressed_file_is_read_in_its_own_type(self, tmp_path: Path) -> None:
        voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
        write_volume(tmp_path / "a.nii.gz", voxels, spacing_um=(1, 1, 5))
        volume = open_volume(tmp_path / "a.nii.gz")
        assert volume.dtype == np.int16
        np.testing.assert_array_equal(volume, voxels)

    def test_slope_and_intercept_are_applied(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
        image.header.set_slope_inter(2, 1)
        nib.save(image, tmp_path / "a.nii")
        np.testing.assert_array_equal(open_volume(tmp_path / "a.nii"), read_volume(tmp_path / "a.nii"))

    def test_a_truncated_plain_file_is_refused(self, source: Path) -> None:
        source.write_bytes(source.read_bytes()[:-1])
        with pytest.raises(VolumeError) as caught:
            open_volume(source)
        assert caught.value.check == "damaged"


class TestWriteAlike:
    def test_a_repaired_quaternion_is_written(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "source.nii", np.zeros((2, 3, 4), np.int16), spacing_um=(1, 1, 5))
        content = bytearray((tmp_path / "source.nii").read_bytes())
        content[252:260] = np.array([1, 0, 0, 0], "<i2").tobytes()[:4] + np.array([1.0005], "<f4").tobytes()
        (tmp_path / "source.nii").write_bytes(content)
        write_alike(tmp_path / "mask.nii", np.ones((2, 3, 4), np.uint8), tmp_path / "source.nii")
        assert read_header(tmp_path / "mask.nii").orientation_fault == ""
        np.testing.assert_allclose(nib.load(tmp_path / "mask.nii").affine, np.diag([1, -1, -5, 1]), atol=1e-5)

    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_the_grid_equals_that_of_the_source(self, source: Path, tmp_path: Path, suffix: str) -> None:
        mask = (np.arange(120).reshape(6, 5, 4) % 3 == 0).astype(np.uint8)
        target = tmp_path / f"mask{suffix}"
        write_alike(target, mask, source)
        ours, theirs = read_header(target), read_header(source)
        assert (ours.affine, ours.spacing_um, ours.unit) == (theirs.affine, theirs.spacing_um, theirs.unit)
        assert ours.spacing_um == (0.99, 0.99, 5.0)
        assert (ours.dtype, ours.is_scaled) == ("uint8", False)
        np.testing.assert_array_equal(read_volume(target), mask)

    def test_display_range_and_extensions_are_not_copied(self, source: Path, tmp_path: Path) -> None:
        write_alike(tmp_path / "mask.nii", np.zeros((6, 5, 4), np.uint8), source)
        header = nib.load(tmp_path / "mask.nii").header
        assert header["cal_max"] == 0
        assert not header.extensions

    def test_an_unknown_code_keeps_the_orientation(self, source: Path, tmp_path: Path) -> None:
        content = bytearray(source.read_bytes())
        content[254:256] = b"\x00\xff"  # sform_code 255, big-endian
        source.write_bytes(content)
        write_alike(tmp_path / "mask.nii", np.ones((6, 5, 4), np.uint8), source)
        assert read_header(tmp_path / "mask.nii").orientation == "sform"
        np.testing.assert_allclose(read_header(tmp_path / "mask.nii").affine, read_header(source).affine)

    def test_missing_line_ends_of_nifti_2_are_written(self, tmp_path: Path) -> None:
        source = tmp_path / "source.nii"
        nib.save(nib.Nifti2Image(np.zeros((2, 3, 4), np.int16), np.eye(4)), source)
        source.write_bytes(source.read_bytes()[:8] + bytes(4) + source.read_bytes()[12:])
        write_alike(tmp_path / "mask.nii", np.ones((2, 3, 4), np.uint8), source)
        assert nib.load(tmp_path / "mask.nii").header["eol_check"].tolist() == [13, 10, 26, 10]

    @pytest.mark.parametrize(("kind", "place"), [(nib.Nifti1Image, 347), (nib.Nifti2Image, 7)])
    def test_a_wrong_last_byte_of_the_magic_is_not_copied(self, tmp_path: Path, kind: type, place: int) -> None:
        source = tmp_path / "source.nii"
        nib.save(kind(np.zeros((2, 3, 4), np.int16), np.eye(4)), source)
        content = bytearray(source.read_bytes())
        content[place] = 127
        source.write_bytes(content)
        write_alike(tmp_path / "mask.nii", np.ones((2, 3, 4), np.uint8), source)
        assert nib.load(tmp_path / "mask.nii").get_fdata().min() == 1

    def test_the_mask_of_a_nifti_2_file_is_nifti_2(self, tmp_path: Path) -> None:
        nib.save(nib.Nifti2Image(np.zeros((2, 3, 4), np.int16), np.diag([1, 1, 5, 1])), tmp_path / "source.nii")
        write_alike(tmp_path / "mask.nii", np.ones((2, 3, 4), np.float32), tmp_path / "source.nii")
        assert isinstance(nib.load(tmp_path / "mask.nii"), nib.Nifti2Image)
        assert read_volume(tmp_path / "mask.nii").min() == 1
