"""Files damaged at random: every one is read or ends in one error with a cure, and no library warns."""

from __future__ import annotations

import contextlib
import gzip
import random
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.formats.nifti import read_volume
from minivess.data.formats.nifti_file import open_volume, write_alike
from minivess.data.profiler import scan_volume
from minivess.errors import MinivessError

_NUMBERS = [0, 1, -1, 7, 255, 30000, 2**31 - 1, -(2**31), 2**63 - 1]
_FLOATS = [0.0, -1.0, 1.0005, 1e38, 1e-45, 1e300, float("inf"), float("nan")]


def _whole(kind: type, endianness: str, dtype: str) -> bytes:
    voxels = np.random.default_rng(0).integers(0, 100, (5, 4, 3)).astype(dtype)
    header = kind.header_class(endianness=endianness)
    header.set_data_dtype(voxels.dtype)
    return bytes(kind(voxels, np.diag([1, 1, 5, 1]), header).to_bytes())


def _with_wrong_fields(content: bytes, kind: type, endianness: str, rng: random.Random) -> bytes:
    header = kind.header_class(content[: kind.header_class.sizeof_hdr], endianness, check=False)
    fields = header.structarr
    for name in rng.sample([name for name in fields.dtype.names if fields[name].dtype.kind in "iuf"], 2):
        dtype = fields[name].dtype
        if dtype.kind == "f":
            with np.errstate(over="ignore"):
                value = np.float64(rng.choice(_FLOATS)).astype(dtype)
        else:
            value = np.clip(rng.choice(_NUMBERS), np.iinfo(dtype).min, np.iinfo(dtype).max)
        if fields[name].ndim:
            fields[name][rng.randrange(fields[name].size)] = value
        else:
            fields[name] = value
    return bytes(fields.tobytes() + content[kind.header_class.sizeof_hdr :])


def _damaged(content: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content[: rng.choice([len(content), len(content), rng.randrange(len(content))])])
    for _ in range(min(rng.choice([0, 1, 8]), len(damaged))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


class TestDamagedFiles:
    @pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
    @pytest.mark.parametrize("endianness", ["<", ">"])
    @pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
    def test_are_read_or_refused_with_an_error_of_minivess(
        self, tmp_path: Path, kind: type, endianness: str, dtype: str
    ) -> None:
        rng = random.Random(f"{kind}{endianness}{dtype}")
        whole = _whole(kind, endianness, dtype)
        for _ in range(20):
            content = _damaged(_with_wrong_fields(whole, kind, endianness, rng), rng)
            path = tmp_path / rng.choice(["v.nii", "v.nii.gz"])
            path.write_bytes(_damaged(gzip.compress(content, 1), rng) if path.suffix == ".gz" else content)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                _use(path, tmp_path)


def _use(path: Path, folder: Path) -> None:
    for read in (read_volume, open_volume):
        with contextlib.suppress(MinivessError):
            read(path)
    with contextlib.suppress(MinivessError):
        stats = scan_volume(path, path, voxels=True)
        if all(finding.level != "critical" for finding in scan_volume(path, voxels=True).findings):
            assert np.isfinite(stats.normalise(open_volume(path, exact=stats.needs_float64))).all()
            write_alike(folder / "mask.nii", np.zeros(stats.shape, np.uint8), path)
            assert read_volume(folder / "mask.nii").shape == stats.shape
