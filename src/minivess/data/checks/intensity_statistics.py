"""Statistics of streamed voxels: exact mean, standard deviation and percentiles of any volume in a few megabytes.

Integers of one or two bytes are counted value by value. For numbers of four or eight bytes, a first pass over the volume
counts the upper 16 bits of each number. A second pass counts the next 16 bits, but only of the few numbers whose upper
bits contain a requested percentile, and so on to the last 16 bits. The bits are counted in the order of the numbers that
they belong to, so percentiles are exact and no copy of the volume is sorted. The statistics after clipping to the
percentiles are computed as well. This takes one more pass, because the percentiles must be known first.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

Blocks = Callable[[], Iterable[np.ndarray]]

_DIGIT = 2**16


@dataclass(frozen=True)
class Moments:
    """Statistics of the finite voxels; all fields are zero if there are none.

    Attributes:
        number: Number of finite voxels.
        mean: Mean intensity.
        std: Population standard deviation.
        minimum: Lowest intensity.
        maximum: Highest intensity.
    """

    number: int = 0
    mean: float = 0.0
    std: float = 0.0
    minimum: float = 0.0
    maximum: float = 0.0

    def scaled(self, slope: float, intercept: float) -> Moments:
        """The moments of ``slope * voxels + intercept``."""
        minimum, maximum = sorted((slope * self.minimum + intercept, slope * self.maximum + intercept))
        return Moments(self.number, slope * self.mean + intercept, abs(slope) * self.std, minimum, maximum)


@dataclass(frozen=True)
class Intensities:
    """Statistics of the voxels of one volume.

    Attributes:
        moments: Moments of the finite voxels.
        clipped: Moments of the finite voxels after clipping to the first and the last percentile.
        percentiles: In the requested order, interpolated as ``numpy.percentile`` does by default; zero without finite
            voxels.
        nan: Number of NaN voxels.
        infinite: Number of infinite voxels.
        checksum: CRC-32 of the voxels as float32; volumes with equal voxels have equal checksums, whatever type, slope
            and intercept they are stored with.
    """

    moments: Moments
    clipped: Moments
    percentiles: tuple[float, ...]
    nan: int
    infinite: int
    checksum: int

    def scaled(self, slope: float, intercept: float) -> Intensities:
        """The statistics of ``slope * voxels + intercept``.

        The percentiles must be symmetric, such as 0.5 and 99.5, because a negative slope reverses their order.
        """
        return replace(
            self,
            moments=self.moments.scaled(slope, intercept),
            clipped=self.clipped.scaled(slope, intercept),
            percentiles=tuple(sorted(slope * value + intercept for value in self.percentiles)),
        )


def measure_intensities(
    blocks: Blocks, dtype: np.dtype, percentiles: Sequence[float], scaling: tuple[float, float] = (1.0, 0.0)
) -> Intensities:
    """Compute the statistics of a volume of integers or floats of at most eight bytes each.

    Args:
        blocks: Returns the stored numbers from their beginning as flat blocks. Each pass calls it once, at most five
            times in all.
        dtype: Data type of the blocks.
        percentiles: Requested percentiles in ascending order, in percent; see ``Intensities.scaled``.
        scaling: Slope and intercept that give the voxels from the stored numbers.
    """
    return _measure_stored(blocks, dtype, percentiles, scaling).scaled(*scaling)


def _measure_stored(
    blocks: Blocks, dtype: np.dtype, percentiles: Sequence[float], scaling: tuple[float, float]
) -> Intensities:
    counter = _SmallIntegers(dtype) if dtype.itemsize < 4 else _WideNumbers(dtype)
    total = nan = checksum = 0
    for block in blocks():
        checksum = zlib.crc32(_as_float32(block, scaling).data, checksum)
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
    """Integers of one or two bytes: counts the voxels of each value, from which all statistics follow."""

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
            self._counts += np.bincount(keys, minlength=_DIGIT)
            return
        # Counting pairs of neighbouring bytes takes half the time of counting single bytes.
        pairs = np.bincount(keys[: keys.size & ~1].view(np.uint16), minlength=_DIGIT).reshape(256, 256)
        self._counts += pairs.sum(axis=0) + pairs.sum(axis=1)
        if keys.size & 1:
            self._counts[keys[-1]] += 1

    def moments(self) -> Moments:
        return self._moments(self._values)

    def clipped(self, low: float, high: float, blocks: Blocks) -> Moments:
        return self._moments(self._values.clip(low, high))

    def _moments(self, values: np.ndarray) -> Moments:
        """The moments after each possible value is replaced by the entry of ``values`` (ascending) at its position."""
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


class _WideNumbers:
    """Integers and floats of four or eight bytes: moments block by block, percentiles by 16 bits at a time (digits)."""

    def __init__(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._order = _order_of_upper_digits(dtype)
        self._counts = np.zeros(_DIGIT, np.int64)
        self._running = _RunningMoments()

    def take(self, block: np.ndarray) -> None:
        self._counts += np.bincount(_digits(block)[0], minlength=_DIGIT)
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
        found = {rank: _place(self._counts, rank, self._order) for rank in ranks}
        known: dict[int, tuple[int, ...]] = {rank: (digit,) for rank, (digit, _) in found.items()}
        for _ in range(self._dtype.itemsize // 2 - 1):
            counts = self._count_next(set(known.values()), blocks)
            for rank, digits in known.items():
                falling = (
                    self._dtype.kind == "f" and digits[0] >= _DIGIT // 2
                )  # negative floats: higher bits, lower number
                order = np.arange(_DIGIT)[:: -1 if falling else 1]
                digit, within = _place(counts[digits], found[rank][1], order)
                found[rank], known[rank] = (digit, within), (*digits, digit)
        return {rank: self._value(digits) for rank, digits in known.items()}

    def _count_next(self, beginnings: set[tuple[int, ...]], blocks: Blocks) -> dict[tuple[int, ...], np.ndarray]:
        """Count the next digit of the numbers that begin with these digits."""
        counts = {beginning: np.zeros(_DIGIT, np.int64) for beginning in beginnings}
        for block in blocks():
            digits = _digits(_finite(block))
            for beginning, counted in counts.items():
                same = digits[0] == beginning[0]
                for own, digit in zip(digits[1:], beginning[1:], strict=False):
                    same &= own == digit
                counted += np.bincount(digits[len(beginning)][same], minlength=_DIGIT)
        return counts

    def _value(self, digits: tuple[int, ...]) -> float:
        bits = 0
        for digit in digits:
            bits = bits * _DIGIT + digit
        return float(np.array([bits], f"u{self._dtype.itemsize}").view(self._dtype)[0])


class _RunningMoments:
    """Moments of numbers that arrive in blocks."""

    def __init__(self) -> None:
        self.moments, self._square = Moments(), 0.0

    def take(self, values: np.ndarray) -> None:
        """Add a block of float64 numbers, at least one; the block is overwritten."""
        with np.errstate(over="ignore"):
            before, number, mean = self.moments, values.size, float(values.mean())
        total, apart = before.number + number, mean - before.mean
        minimum, maximum = float(values.min()), float(values.max())
        if before.number:
            minimum, maximum = min(minimum, before.minimum), max(maximum, before.maximum)
        # Chan, Golub and LeVeque 1979: combines the moments of two parts without loss of precision.
        # Numbers near the largest float64 overflow; the checks report them.
        with np.errstate(over="ignore", invalid="ignore"):
            values -= mean
            self._square += float(values @ values)
        self._square += apart * apart * before.number * number / total
        std = math.sqrt(self._square / total)
        self.moments = Moments(total, before.mean + apart * number / total, std, minimum, maximum)


def _place(counts: np.ndarray, rank: int, order: np.ndarray) -> tuple[int, int]:
    """The digit of the number with that rank, and its rank among the numbers with this digit.

    Args:
        counts: Number of numbers with each digit.
        rank: Rank among all of them.
        order: All digits in the order of the numbers that they belong to.
    """
    reached = counts[order].cumsum()
    place = int(np.searchsorted(reached, rank, side="right"))
    return int(order[place]), rank - (int(reached[place - 1]) if place else 0)


def _digits(block: np.ndarray) -> list[np.ndarray]:
    """The 16-bit digits of numbers of four or eight bytes, the highest first."""
    digits = block.view(np.uint16).reshape(block.size, block.itemsize // 2)
    columns = [digits[:, column] for column in range(digits.shape[1])]
    return columns[::-1] if sys.byteorder == "little" else columns


def _order_of_upper_digits(dtype: np.dtype) -> np.ndarray:
    """All upper digits in the order of the numbers that they belong to; negative numbers have the highest bit set."""
    positive, negative = np.arange(_DIGIT // 2), np.arange(_DIGIT // 2, _DIGIT)
    if dtype.kind == "u":
        return np.concatenate([positive, negative])
    return np.concatenate([negative[::-1] if dtype.kind == "f" else negative, positive])


def _as_float32(block: np.ndarray, scaling: tuple[float, float]) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        if scaling != (1.0, 0.0):
            block = block * np.float64(scaling[0]) + scaling[1]
        return np.add(block, 0.0, dtype=np.float32, casting="same_kind")  # 0 also turns -0 into 0


def _finite(block: np.ndarray) -> np.ndarray:
    if block.dtype.kind != "f":
        return block
    finite = np.isfinite(block)
    return block if finite.all() else block[finite]
