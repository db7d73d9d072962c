"""Tests of reading and writing NIfTI volumes."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.formats.nifti import read_blocks, read_header, read_volume, write_volume
from minivess.data.formats.nifti_file import open_volume
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

    def test_integers_of_eight_bytes_are_written(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii", np.full((2, 3, 4), 2**40, np.int64), spacing_um=(1, 1, 1))
        assert read_volume(tmp_path / "v.nii", exact=True).max() == 2**40

    def test_bytes_after_the_compressed_data_are_ignored(self, tmp_path: Path) -> None:
        path = tmp_path / "v.nii.gz"
        write_volume(path, np.full((2, 3, 4), 7, np.uint8), spacing_um=(1, 1, 1))
        path.write_bytes(path.read_bytes() + b"appended by a file server")
        assert read_volume(path).sum() == 7 * 24

    def test_the_header_bounds_what_is_read(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii", np.full((2, 3, 4), 7, np.uint8), spacing_um=(1, 1, 1))
        bomb = gzip.compress((tmp_path / "v.nii").read_bytes() + bytes(2**26), 1)
        (tmp_path / "v.nii.gz").write_bytes(bomb[:-1000])  # the damage after the voxels is not reached
        found: list[str] = []
        blocks = read_blocks(
            tmp_path / "v.nii.gz", read_header(tmp_path / "v.nii"), found_surplus=lambda: found.append("surplus")
        )
        assert sum(block.sum() for block in blocks) == 7 * 24
        assert found == ["surplus"]

    @pytest.mark.parametrize("read", [read_volume, open_volume])
    @pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
    def test_a_huge_shape_of_a_small_file_is_refused_before_memory_is_used(
        self, tmp_path: Path, name: str, read: Callable[[Path], np.ndarray]
    ) -> None:
        image = nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4))
        nib.save(image, tmp_path / "small.nii")
        content = bytearray((tmp_path / "small.nii").read_bytes())
        content[40:48] = np.array([3, 30000, 30000, 30000], "<i2").tobytes()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        with pytest.raises(VolumeError) as caught:
            read(tmp_path / name)
        assert (caught.value.check, "25145.7 GiB" in caught.value.got) == ("damaged", True)

    def test_a_file_takes_memory_for_what_it_contains_not_for_what_its_header_says(self, tmp_path: Path) -> None:
        nib.save(nib.Nifti1Image(np.zeros((2, 3, 4), np.uint8), np.eye(4)), tmp_path / "small.nii")
        content = bytearray((tmp_path / "small.nii").read_bytes())
        content[40:48] = np.array(
            [3, 1024, 1024, 256], "<i2"
        ).tobytes()  # 256 MiB; the file could contain 1032 times its size
        content += np.random.default_rng(0).bytes(2**19)
        (tmp_path / "v.nii.gz").write_bytes(gzip.compress(content, 1))
        tracemalloc.start()
        with pytest.raises(VolumeError):
            read_volume(tmp_path / "v.nii.gz")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**24

    def test_a_large_volume_is_read_whole(self, tmp_path: Path) -> None:
        values = np.arange(200 * 210 * 220, dtype=np.uint32).reshape((200, 210, 220), order="F")
        write_volume(tmp_path / "v.nii", values, spacing_um=(1, 1, 1))
        assert np.array_equal(read_volume(tmp_path / "v.nii"), values)

    def test_an_uncompressed_file_named_gz_is_read(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "v.nii", np.ones((2, 3, 4), np.uint8), spacing_um=(1, 1, 1))
        (tmp_path / "v.nii").rename(tmp_path / "v.nii.gz")
        assert read_volume(tmp_path / "v.nii.gz").sum() == 24
