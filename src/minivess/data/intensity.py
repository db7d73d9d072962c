"""Statistics of voxels that stream by: exact mean, deviation and percentiles in a few megabytes, however large the volume.

Integers of one or two bytes are counted value by value. Four-byte numbers are taken as their bits, put in the order of
the numbers: a first pass counts the upper half of the bits, a second one the lower half of those few whose upper half
holds a wanted percentile. So no percentile is estimated, and no copy of the volume is sorted.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Blocks = Callable[[], Iterable[np.ndarray]]

_HALF = 2**16


@dataclass(frozen=True)
class Moments:
    """Of a number of finite voxels; all zero where there is none."""

    number: int = 0
    mean: float = 0.0
    std: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0

    def scaled(self, slope: float, intercept: float) -> Moments:
        """The same for ``slope * voxels + intercept``."""
        minimum, maximum = sorted((slope * self.minimum + intercept, slope * self.maximum + intercept))
        return Moments(self.number, slope * self.mean + intercept, abs(slope) * self.std, minimum, maximum)


@dataclass(frozen=True)
class Intensities:
    """What a volume holds.

    Attributes:
        moments: Of its finite voxels.
        percentiles: In the order asked for, interpolated as ``numpy.percentile`` does by default; zero without finite voxels.
        nan: Voxels that are not a number.
        infinite: Voxels that are infinite.
        checksum: CRC-32 of the voxels; equal volumes have equal ones.
    """

    moments: Moments
    percentiles: tuple[float, ...]
    nan: int
    infinite: int
    checksum: int

    def scaled(self, slope: float, intercept: float) -> Intensities:
        """The same for ``slope * voxels + intercept``, where the percentiles lie symmetrically, such as 0.5 and 99.5."""
        percentiles = tuple(sorted(slope * value + intercept for value in self.percentiles))
        return replace(self, moments=self.moments.scaled(slope, intercept), percentiles=percentiles)


def measure_intensities(blocks: Blocks, dtype: np.dtype, percentiles: Sequence[float]) -> Intensities:
    """Statistics of a volume of integers or floats of at most four bytes each.

    Args:
        blocks: Gives the volume from its beginning, in flat pieces; called again where percentiles need a second pass.
        dtype: The type of the pieces.
        percentiles: Ascending, in percent.
    """
    counter = _SmallIntegers(dtype) if dtype.itemsize < 4 else _FourBytes(dtype)
    total = nan = checksum = 0
    for block in blocks():
        checksum = zlib.crc32(block.data, checksum)
        finite = _finite(block)
        if finite.size < block.size:
            nan += int(np.isnan(block).sum())
        if finite.size:
            counter.take(finite)
        total += block.size
    moments = counter.moments()
    infinite = total - moments.number - nan
    if not moments.number:
        return Intensities(moments, (0.0,) * len(percentiles), nan, infinite, checksum)
    ranks = [(moments.number - 1) * percent / 100 for percent in percentiles]
    values = counter.values_at({end for rank in ranks for end in (math.floor(rank), math.ceil(rank))}, blocks)
    ends = [(values[math.floor(rank)], values[math.ceil(rank)]) for rank in ranks]
    between = tuple(low + (high - low) * (rank % 1) for (low, high), rank in zip(ends, ranks, strict=True))
    return Intensities(moments, between, nan, infinite, checksum)


class _SmallIntegers:
    """Integers of one or two bytes: the number of voxels of each value says it all."""

    def __init__(self, dtype: np.dtype) -> None:
        self._values = np.arange(np.iinfo(dtype).min, np.iinfo(dtype).max + 1)
        self._counts = np.zeros(self._values.size, np.int64)
        self._unsigned = np.dtype(f"u{dtype.itemsize}")
        self._sign = self._unsigned.type(-self._values[0])

    def take(self, block: np.ndarray) -> None:
        keys = block.view(self._unsigned)
        if self._sign:
            keys = keys ^ self._sign
        if self._unsigned.itemsize == 2:
            self._counts += np.bincount(keys, minlength=_HALF)
            return
        # Counting neighbours in pairs takes half the time of counting bytes.
        pairs = np.bincount(keys[: keys.size & ~1].view(np.uint16), minlength=_HALF).reshape(256, 256)
        self._counts += pairs.sum(axis=0) + pairs.sum(axis=1)
        if keys.size & 1:
            self._counts[keys[-1]] += 1

    def moments(self) -> Moments:
        number = int(self._counts.sum())
        if not number:
            return Moments()
        mean = float(self._counts @ self._values) / number
        std = math.sqrt(float(self._counts @ (self._values - mean) ** 2) / number)
        found = self._values[self._counts > 0]
        return Moments(number, mean, std, float(found[0]), float(found[-1]))

    def values_at(self, ranks: set[int], blocks: Blocks) -> dict[int, float]:
        reached = self._counts.cumsum()
        return {rank: float(self._values[np.searchsorted(reached, rank, side="right")]) for rank in ranks}


class _FourBytes:
    """Four-byte integers and floats: moments block by block, ranks by halves of their bits."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._upper = np.zeros(_HALF, np.int64)
        self._moments, self._square = Moments(), 0.0

    def take(self, block: np.ndarray) -> None:
        self._upper += np.bincount(_ordered(block) >> 16, minlength=_HALF)
        before, number, mean = self._moments, block.size, float(block.mean(dtype=np.float64))
        total, apart = before.number + number, mean - before.mean
        deviations = np.subtract(block, mean, dtype=np.float64)
        # Chan, Golub and LeVeque 1979: moments of two parts become those of the whole without losing digits.
        self._square += float(deviations @ deviations)
        self._square += apart**2 * before.number * number / total
        minimum, maximum = float(block.min()), float(block.max())
        if before.number:
            minimum, maximum = min(minimum, before.minimum), max(maximum, before.maximum)
        std = math.sqrt(self._square / total)
        self._moments = Moments(total, before.mean + apart * number / total, std, minimum, maximum)

    def moments(self) -> Moments:
        return self._moments

    def values_at(self, ranks: set[int], blocks: Blocks) -> dict[int, float]:
        reached = self._upper.cumsum()
        upper = {rank: int(np.searchsorted(reached, rank, side="right")) for rank in ranks}
        lower = {half: np.zeros(_HALF, np.int64) for half in upper.values()}
        for block in blocks():
            keys = _ordered(_finite(block))
            halves = keys >> 16
            for half, counts in lower.items():
                counts += np.bincount(keys[halves == half] & (_HALF - 1), minlength=_HALF)
        found = {}
        for rank, half in upper.items():
            within = rank - int(reached[half] - self._upper[half])
            low = int(np.searchsorted(lower[half].cumsum(), within, side="right"))
            found[rank] = self._value(half * _HALF + low)
        return found

    def _value(self, key: int) -> float:
        bits = np.array([key], np.uint32)
        if self._dtype.kind == "f":
            bits = bits ^ (_SIGN if key >> 31 else _ALL)
        elif self._dtype.kind == "i":
            bits = bits ^ _SIGN
        return float(bits.view(self._dtype)[0])


_SIGN, _ALL = np.uint32(2**31), np.uint32(2**32 - 1)


def _ordered(block: np.ndarray) -> np.ndarray:
    """Unsigned numbers in the same order: a float's bits are in order once negative ones are turned over."""
    bits = block.view(np.uint32)
    if block.dtype.kind == "u":
        return bits
    return bits ^ (np.where(bits >> 31, _ALL, _SIGN) if block.dtype.kind == "f" else _SIGN)


def _finite(block: np.ndarray) -> np.ndarray:
    if block.dtype.kind != "f":
        return block
    finite = np.isfinite(block)
    return block if finite.all() else block[finite]
