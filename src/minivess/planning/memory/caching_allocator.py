"""torch's caching allocator for GPUs, played through on paper: what the card is asked for when tensors come and go.

The rules are those of c10/cuda/CUDACachingAllocator.cpp with expandable segments, as every cell, dry start and measurement on a card
runs: sizes in steps of 512 bytes; small ones from one range of addresses that grows by pages of 2 MiB, others from one that grows by pages
of 20 MiB; the smallest free block that fits, split and merged again, the end of a range only where no other does. Pages are
kept, so what a card reports as used never falls.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

from minivess.text import MIB

_STEP = 512
_SMALL = MIB  # up to here from the small range
_SMALL_PAGE, _LARGE_PAGE = 2 * MIB, 20 * MIB


@dataclass(eq=False, slots=True)
class _Block:
    address: int
    size: int
    free: bool = False
    before: _Block | None = None
    after: _Block | None = None

    @property
    def order(self) -> tuple[int, int]:
        return self.size, self.address


class _Range:
    """Addresses from 0 on, handed out in blocks; ``size_bytes`` of them have memory behind them, in whole pages."""

    def __init__(self, page_bytes: int) -> None:
        self.size_bytes = 0
        self._page_bytes = page_bytes
        self._end: _Block | None = None
        self._free: list[_Block] = []

    def allocate(self, size: int) -> _Block:
        block = self._smallest_free(size) or self._grown(size)
        if block.size > size:
            rest = _Block(block.address + size, block.size - size, before=block, after=block.after)
            if block.after is None:
                self._end = rest
            else:
                block.after.before = rest
            block.size, block.after = size, rest
            self._put_back(rest)
        return block

    def release(self, block: _Block) -> None:
        """Merge it with free neighbours."""
        if block.before is not None and block.before.free:
            self._take(block.before)
            block = self._merged(block.before, block)
        if block.after is not None and block.after.free:
            self._take(block.after)
            block = self._merged(block, block.after)
        self._put_back(block)

    def _smallest_free(self, size: int) -> _Block | None:
        at = bisect_left(self._free, (size, 0), key=_order)
        fitting = self._free[at : at + 2]
        if not fitting:
            return None
        block = fitting[-1] if fitting[0] is self._end else fitting[0]
        self._take(block)
        return block

    def _grown(self, size: int) -> _Block:
        """The block at the end, larger by as many pages as it lacks."""
        end = self._end
        if end is not None and end.free:
            self._take(end)
        else:
            end = _Block(self.size_bytes, 0, before=end)
            if end.before is not None:
                end.before.after = end
            self._end = end
        more = -(-(size - end.size) // self._page_bytes) * self._page_bytes
        end.size += more
        self.size_bytes += more
        return end

    def _merged(self, first: _Block, second: _Block) -> _Block:
        first.size += second.size
        first.after = second.after
        if second.after is None:
            self._end = first
        else:
            second.after.before = first
        return first

    def _put_back(self, block: _Block) -> None:
        block.free = True
        insort(self._free, block, key=_order)

    def _take(self, block: _Block) -> None:
        del self._free[bisect_left(self._free, block.order, key=_order)]
        block.free = False


def reserved_bytes(changes: Iterable[tuple[int, int]]) -> int:
    """Memory that torch holds of a card after (name, bytes) allocated, and (name, minus bytes) released, in this order."""
    small, large = _Range(_SMALL_PAGE), _Range(_LARGE_PAGE)
    held: dict[int, tuple[_Range, _Block]] = {}
    for name, size_bytes in changes:
        if size_bytes > 0:
            size = -(-size_bytes // _STEP) * _STEP
            place = small if size <= _SMALL else large
            held[name] = place, place.allocate(size)
        else:
            place, block = held.pop(name)
            place.release(block)
    return small.size_bytes + large.size_bytes


def _order(block: _Block) -> tuple[int, int]:
    return block.order
