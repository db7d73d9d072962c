"""Damaged NIfTI files, read as image, as label and for prediction."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fuzz.damage import cut, flip_or_overwrite
from fuzz.workers import Kind, memory_ran_out
from minivess.data.dataset_profile import DatasetProfile, VolumeStats
from minivess.data.formats.nifti import read_header, read_volume
from minivess.data.formats.nifti_file import open_volume, write_alike
from minivess.data.profiler import scan_volume
from minivess.errors import DataError, MinivessError
from minivess.findings import raise_critical
from minivess.json_files import read_state, write_state

_SHAPE = (9, 8, 5)
_WHOLE = (0, 1, -1, 7, 8, 255, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
_REAL = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, 1e300, 2.0**31, 348.0, float("inf"), float("-inf"), float("nan"))
_BOMB_BYTES = 2**26


class Nifti(Kind):
    """NIfTI-1 and NIfTI-2 in both byte orders, plain and compressed."""

    def __init__(self, folder: Path, base: Path) -> None:
        super().__init__(folder, base)
        rng = np.random.default_rng(0)
        self._valid = [
            _file(kind, dtype, order, largest, rng)
            for kind in (nib.Nifti1Image, nib.Nifti2Image)
            for largest in (2, 100)
            for dtype in ("u1", "i2", "u2", "i4", "f4", "f8", "i8", "u8")
            for order in "<>"
        ]
        self._image, self._label = folder / "image.nii", folder / "label.nii"
        values = np.arange(360).reshape(_SHAPE)
        for path, array in ((self._image, values), (self._label, values % 7 == 0)):
            nib.save(nib.Nifti1Image(array.astype(np.uint8), np.diag([1.0, 1, 5, 1])), path)

    def attempt(self, rng: random.Random) -> str:
        data = _damaged(rng.choice(self._valid), rng)
        ending = ".nii"
        if rng.random() < 0.5:
            data, ending = _compressed(data, rng), ".nii.gz"
        path = self.input / f"volume{ending}"
        path.write_bytes(data)
        refusals: list[MinivessError] = []
        for read in (self._as_image, self._as_label, _in_memory):
            try:
                read(path)
            except MinivessError as error:
                refusals.append(error)
        for refusal in refusals:
            if memory_ran_out(refusal):
                raise refusal
        if len(refusals) > 1:  # usable neither as image nor as label, or not readable
            raise refusals[0]
        return "accepted"

    def _as_image(self, path: Path) -> None:
        """Scan an image; if it has no fault, normalise it, and write and read a mask on its grid, as a prediction does."""
        stats = scan_volume(path, voxels=True)
        _require_round_trip(stats, self.folder / "profile.json")
        raise_critical(stats.findings, DataError)
        volume = open_volume(path, exact=stats.needs_float64)
        assert np.isfinite(stats.normalise(volume)).all(), "normalised voxels are not finite"
        mask = path.with_name("mask.nii.gz")
        write_alike(mask, np.zeros(volume.shape, np.uint8), path)
        written, header = read_header(mask), read_header(path)
        assert (written.shape, written.spacing_um) == (header.shape, header.spacing_um), "the mask has another grid"

    def _as_label(self, path: Path) -> None:
        stats = scan_volume(self._image, path, voxels=True)
        _require_round_trip(stats, self.folder / "profile.json")
        raise_critical(stats.findings, DataError)


def _in_memory(path: Path) -> None:
    read_volume(path)
    open_volume(path)


def _require_round_trip(stats: VolumeStats, path: Path) -> None:
    """Require that a profile with this volume is read back as it was written."""
    profile = DatasetProfile(folder="", volumes=(stats,))
    write_state(path, profile)
    assert read_state(path, DatasetProfile, "") == profile, "a profile that is read back as another"


def _file(kind: Any, dtype: str, order: str, largest: int, rng: np.random.Generator) -> bytes:
    header = kind.header_class(endianness=order)
    array = rng.integers(0, largest, _SHAPE).astype(order + dtype)
    header.set_data_dtype(array.dtype)
    image = kind(array, np.diag([1.0, 1, 5, 1]), header, dtype=array.dtype)
    if rng.random() < 0.3:
        image.header.set_slope_inter(2.0, 3.0)
    if rng.random() < 0.3:
        image.header.set_sform(None, 0)
        image.header.set_qform(np.diag([1.0, 1, 5, 1]), 1)
    return bytes(image.to_bytes())


def _damaged(data: bytes, rng: random.Random) -> bytes:
    choice = rng.random()
    if choice < 0.45:
        return _extreme_fields(data, rng)
    if choice < 0.70:
        return flip_or_overwrite(data, rng, 540)
    if choice < 0.80:
        return cut(data, rng)
    if choice < 0.90:
        return data + bytes(rng.choice([1, 100, 2**21]))
    return data


def _extreme_fields(data: bytes, rng: random.Random) -> bytes:
    """Set one to four fields of the header to an extreme value."""
    second = 540 in {int.from_bytes(data[:4], order) for order in ("little", "big")}
    kind = nib.Nifti2Header if second else nib.Nifti1Header
    header = kind(data[: kind.sizeof_hdr], check=False)
    fields = header.structarr
    for name in rng.choices(header.template_dtype.names, k=rng.choice([1, 1, 2, 4])):
        dtype = fields[name].dtype
        place: Any = (name,) if not fields[name].ndim else (name, rng.randrange(fields[name].size))
        target = fields if len(place) == 1 else fields[name]
        if dtype.kind in "iu":
            range_ = np.iinfo(dtype)
            target[place[-1]] = min(max(rng.choice(_WHOLE), int(range_.min)), int(range_.max))
        elif dtype.kind == "f":
            with np.errstate(all="ignore"):
                target[place[-1]] = np.float64(rng.choice(_REAL)).astype(dtype)
        else:
            fields[name] = rng.randbytes(3)
    return bytes(fields.tobytes()) + data[kind.sizeof_hdr :]


def _compressed(data: bytes, rng: random.Random) -> bytes:
    """Compress a file, and damage the result half of the time."""
    choice = rng.random()
    if choice < 0.02:  # far more content than voxels
        return gzip.compress(data + bytes(_BOMB_BYTES), 1)
    if choice < 0.04:  # a header that asks for as much memory as the file could contain at the highest compression
        data = bytearray(data)  # type: ignore[assignment]
        shape = np.array([3, 2**15 - 1, 2**15 - 1, rng.choice([1, 2, 4]), 1, 1, 1, 1], "<i2").tobytes()
        return gzip.compress(bytes(data[:40]) + shape + bytes(data[56:]) + rng.randbytes(2**22), 1)
    if choice < 0.10:
        return gzip.compress(data[:400], 1) + gzip.compress(data[400:], 1)
    packed = gzip.compress(data, 1)
    if choice < 0.25:
        return flip_or_overwrite(packed, rng, len(packed))
    if choice < 0.35:
        return cut(packed, rng)
    return packed + rng.randbytes(rng.randrange(1, 40)) if choice < 0.45 else packed
