"""Tests of reading and writing NIfTI volumes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.formats.nifti_header import VolumeError


class TestVolume:
    def test_round_trip_keeps_type_and_values(self, tmp_path: Path) -> None:
        array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
        write_volume(tmp_path / "v.nii.gz", array, spacing_um=(1, 1, 1))
        np.testing.assert_array_equal(read_volume(tmp_path / "v.nii.gz"), array)
        assert read_volume(tmp_path / "v.nii.gz").dtype == np.uint16

    def test_a_truncated_file_is_reported_by_its_path(self, tmp_path: Path) -> None:
        path = tmp_path / "v.nii.gz"
        write_volume(path, np.random.default_rng(0).integers(0, 255, (32, 32, 8), np.uint8), spacing_um=(1, 1, 1))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(VolumeError) as caught:
            read_volume(path)
        assert caught.value.check == "damaged"
        assert str(path) in caught.value.got

    def test_scaled_voxels_equal_those_of_nibabel(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
        image.header.set_slope_inter(0.5, 3)
        nib.save(image, tmp_path / "v.nii.gz")
        np.testing.assert_allclose(read_volume(tmp_path / "v.nii.gz"), nib.load(tmp_path / "v.nii.gz").get_fdata())

    def test_an_uncompressed_file_named_gz_is_read(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii", np.ones((2, 3, 4), np.uint8), spacing_um=(1, 1, 1))
        (tmp_path / "v.nii").rename(tmp_path / "v.nii.gz")
        assert read_volume(tmp_path / "v.nii.gz").sum() == 24
