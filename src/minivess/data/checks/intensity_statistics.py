"""Statistics of voxels that stream by: exact mean, deviation and percentiles in a few megabytes, however large the volume.

Integers of one or two bytes are counted value by value. Four-byte numbers are taken as their bits, put in the order of
the numbers: a first pass counts the upper half of the bits, a second one the lower half of those few whose upper half
holds a wanted percentile. So no percentile is estimated, and no copy of the volume is sorted. What clipping to the percentiles
leaves is counted as well: for four-byte numbers in a third pass, since the percentiles must be known.
"""

from __future__ import annotations

import math
import sys
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
        clipped: Of its finite voxels, clipped to the first and the last of the percentiles.
        percentiles: In the order asked for, interpolated as ``numpy.percentile`` does by default; zero without finite voxels.
        nan: Voxels that are not a number.
        infinite: Voxels that are infinite.
        checksum: CRC-32 of the voxels; equal volumes have equal ones.
    """

    moments: Moments
    clipped: Moments
    percentiles: tuple[float, ...]
    nan: int
    infinite: int
    checksum: int

    def scaled(self, slope: float, intercept: float) -> Intensities:
        """The same for ``slope * voxels + intercept``, where the percentiles lie symmetrically, such as 0.5 and 99.5."""
        return replace(
            self,
            moments=self.moments.scaled(slope, intercept),
            clipped=self.clipped.scaled(slope, intercept),
            percentiles=tuple(sorted(slope * value + intercept for value in self.percentiles)),
        )


def measure_intensities(blocks: Blocks, dtype: np.dtype, percentiles: Sequence[float]) -> Intensities:
    """Statistics of a volume of integers or floats of at most four bytes each.

    Args:
        blocks: Gives the volume from its beginning, in flat pieces; called again where percentiles need a second pass, and clipping
            a third.
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
        return Intensities(moments, moments, (0.0,) * len(percentiles), nan, infinite, checksum)
    ranks = [(moments.number - 1) * percent / 100 for percent in percentiles]
    values = counter.values_at({end for rank in ranks for end in (math.floor(rank), math.ceil(rank))}, blocks)
    ends = [(values[math.floor(rank)], values[math.ceil(rank)]) for rank in ranks]
    between = tuple(low + (high - low) * (rank % 1) for (low, high), rank in zip(ends, ranks, strict=True))
    clipped = counter.clipped(between[0], between[-1], blocks)
    return Intensities(moments, clipped, between, nan, infinite, checksum)


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
        return self._moments(self._values)

    def clipped(self, low: float, high: float, blocks: Blocks) -> Moments:
        return self._moments(self._values.clip(low, high))

    def _moments(self, values: np.ndarray) -> Moments:
        """As if each value were the one of ``values``, which ascend, in its place."""
        number = int(self._counts.sum())
        if not number:
            return Moments()
        mean = float(self._counts @ values) / number
        std = math.sqrt(float(self._counts @ (values - mean) ** 2) / number)
        found = values[self._counts > 0]
        return Moments(number, mean, std, float(found[0]), float(found[-1]))

    def values_at(self, ranks: set[int], blocks: Blocks) -> dict[int, float]:
        reached = self._counts.cumsum()
        return {rank: float(self._values[np.searchsorted(reached, rank, side="right")]) for rank in ranks}


class _FourBytes:
    """Four-byte integers and floats: moments block by block, ranks by halves of their bits."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._order = _order_of_upper_halves(dtype)
        self._counts = np.zeros(_HALF, np.int64)
        self._running = _RunningMoments()

    def take(self, block: np.ndarray) -> None:
        self._counts += np.bincount(_halves(block)[0], minlength=_HALF)
        self._running.take(block.astype(np.float64))

    def moments(self) -> Moments:
        return self._running.moments

    def clipped(self, low: float, high: float, blocks: Blocks) -> Moments:
        running = _RunningMoments()
        for block in map(_finite, blocks()):
            if block.size:
                running.take(block.astype(np.float64).clip(low, high))
        return running.moments

    def values_at(self, ranks: set[int], blocks: Blocks) -> dict[int, float]:
        reached = self._counts[self._order].cumsum()
        places = {rank: int(np.searchsorted(reached, rank, side="right")) for rank in ranks}
        within = {rank: rank - (int(reached[place - 1]) if place else 0) for rank, place in places.items()}
        lower = {int(self._order[place]): np.zeros(_HALF, np.int64) for place in places.values()}
        for block in blocks():
            uppers, lowers = _halves(_finite(block))
            for upper, counts in lower.items():
                counts += np.bincount(lowers[uppers == upper], minlength=_HALF)
        return {
            rank: self._value(int(self._order[place]), within[rank], lower[int(self._order[place])])
            for rank, place in places.items()
        }

    def _value(self, upper: int, rank: int, counts: np.ndarray) -> float:
        """The number of that rank among those with the same upper half."""
        falling = self._dtype.kind == "f" and upper >= _HALF // 2  # a negative float falls as its bits rise
        found = int(np.searchsorted((counts[::-1] if falling else counts).cumsum(), rank, side="right"))
        bits = upper * _HALF + (_HALF - 1 - found if falling else found)
        return float(np.array([bits], np.uint32).view(self._dtype)[0])


class _RunningMoments:
    """Of numbers that come in pieces."""

    def __init__(self) -> None:
        self.moments, self._square = Moments(), 0.0

    def take(self, values: np.ndarray) -> None:
        """Takes float64, at least one, and overwrites them."""
        before, number, mean = self.moments, values.size, float(values.mean())
        total, apart = before.number + number, mean - before.mean
        minimum, maximum = float(values.min()), float(values.max())
        if before.number:
            minimum, maximum = min(minimum, before.minimum), max(maximum, before.maximum)
        values -= mean
        # Chan, Golub and LeVeque 1979: moments of two parts become those of the whole without losing digits.
        self._square += float(values @ values)
        self._square += apart**2 * before.number * number / total
        std = math.sqrt(self._square / total)
        self.moments = Moments(total, before.mean + apart * number / total, std, minimum, maximum)


def _halves(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower 16 bits of four-byte numbers."""
    halves = block.view(np.uint16).reshape(-1, 2)
    upper = 1 if sys.byteorder == "little" else 0
    return halves[:, upper], halves[:, 1 - upper]


def _order_of_upper_halves(dtype: np.dtype) -> np.ndarray:
    """All upper halves, in the order of the numbers they belong to: negative ones have the highest bit set."""
    positive, negative = np.arange(_HALF // 2), np.arange(_HALF // 2, _HALF)
    if dtype.kind == "u":
        return np.concatenate([positive, negative])
    return np.concatenate([negative[::-1] if dtype.kind == "f" else negative, positive])


def _finite(block: np.ndarray) -> np.ndarray:
    if block.dtype.kind != "f":
        return block
    finite = np.isfinite(block)
    return block if finite.all() else block[finite]
