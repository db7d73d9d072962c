"""A label as bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minivess.data.checks.label_bits import LabelBits, read_packed, unpack
from minivess.data.formats.nifti import write_volume
from minivess.errors import DataError
from minivess.topology.packed import pack

SHAPE = (67, 5, 3)


def _label(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) < 0.4


class TestLabelBits:
    @pytest.mark.parametrize("size", [7, 64, 10_000])
    def test_blocks_of_any_size_give_the_label_back(self, size: int) -> None:
        label, bits = _label(), LabelBits()
        flat = label.ravel(order="F").astype(np.int16)
        for first in range(0, flat.size, size):
            bits.take(flat[first : first + size])
        packed = bits.packed(SHAPE)
        assert np.array_equal(packed, pack(label.transpose(2, 1, 0)))
        assert (unpack(packed, (0, 0, 0), SHAPE) == label).all()
        assert (unpack(packed, (30, 1, 1), (35, 4, 3)) == label[30:35, 1:4, 1:3]).all()

    def test_one_voxel_is_one_bit(self) -> None:
        bits = LabelBits()
        bits.take(np.array([0, 0, 1, 0, 0, 0], np.uint8))  # voxel (2, 0, 0) of 3 x 2 x 1
        packed = bits.packed((3, 2, 1))
        assert packed[1, 1, 0] == 1 << 2
        assert np.count_nonzero(packed) == 1


class TestReadPacked:
    def test_reads_a_file(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "a.nii.gz", 255 * _label().astype(np.uint8), spacing_um=(1, 1, 1))
        assert (unpack(read_packed(tmp_path / "a.nii.gz", SHAPE), (0, 0, 0), SHAPE) == _label()).all()

    def test_another_shape_is_an_error(self, tmp_path: Path) -> None:
        write_volume(tmp_path / "a.nii.gz", _label().astype(np.uint8), spacing_um=(1, 1, 1))
        with pytest.raises(DataError):
            read_packed(tmp_path / "a.nii.gz", (67, 5, 4))
