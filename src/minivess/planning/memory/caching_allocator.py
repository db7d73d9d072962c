"""Simulate torch's caching allocator for GPUs: the memory that it reserves on the GPU for a sequence of allocations.

The rules are those of c10/cuda/CUDACachingAllocator.cpp with expandable segments, which every cell, dry start and
measurement on a GPU uses:

- Sizes are rounded up to multiples of 512 bytes.
- Small blocks come from one address range that grows by pages of 2 MiB, all others from one that grows by pages of 20
  MiB.
- The smallest free block that fits is used and split. Free neighbours are merged.
- The free block at the end of a range is used only if no other fits.
- Pages are kept, so the memory that the GPU reports as used never decreases.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

from minivess.text import MIB

_STEP = 512
_SMALL = MIB  # largest block of the small range
_SMALL_PAGE, _LARGE_PAGE = 2 * MIB, 20 * MIB


@dataclass(eq=False, slots=True)
class _Block:
    """A block of addresses, with links to its neighbours in the range."""

    address: int
    size: int
    free: bool = False
    before: _Block | None = None
    after: _Block | None = None

    @property
    def order(self) -> tuple[int, int]:
        return self.size, self.address


class _Range:
    """An address range that starts at 0 and is allocated in blocks.

    ``size_bytes`` of it are backed by memory; these are whole pages.
    """

    def __init__(self, page_bytes: int) -> None:
        self.size_bytes = 0
        self._page_bytes = page_bytes
        self._end: _Block | None = None
        self._free: list[_Block] = []

    def allocate(self, size: int) -> _Block:
        block = self._smallest_free(size) or self._grow(size)
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
        """Free a block and merge it with its free neighbours."""
        if block.before is not None and block.before.free:
            self._take(block.before)
            block = self._merge(block.before, block)
        if block.after is not None and block.after.free:
            self._take(block.after)
            block = self._merge(block, block.after)
        self._put_back(block)

    def _smallest_free(self, size: int) -> _Block | None:
        """Take the smallest free block that fits; the block at the end only if there is no other."""
        at = bisect_left(self._free, (size, 0), key=_order)
        fitting = self._free[at : at + 2]
        if not fitting:
            return None
        block = fitting[-1] if fitting[0] is self._end else fitting[0]
        self._take(block)
        return block

    def _grow(self, size: int) -> _Block:
        """Extend the range by the missing pages and take the block at its end."""
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

    def _merge(self, first: _Block, second: _Block) -> _Block:
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
    """Return the GPU memory that torch has reserved after a sequence of allocations and releases, in bytes.

    Args:
        changes: Pairs (block number, bytes), in order: positive bytes allocate a block, negative bytes release it.
    """
    small, large = _Range(_SMALL_PAGE), _Range(_LARGE_PAGE)
    held: dict[int, tuple[_Range, _Block]] = {}
    for number, size_bytes in changes:
        if size_bytes > 0:
            size = -(-size_bytes // _STEP) * _STEP
            place = small if size <= _SMALL else large
            held[number] = place, place.allocate(size)
        else:
            place, block = held.pop(number)
            place.release(block)
    return small.size_bytes + large.size_bytes


def _order(block: _Block) -> tuple[int, int]:
    return block.order
