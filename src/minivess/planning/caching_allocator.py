"""torch's caching allocator for GPUs, played through on paper: what the card is asked for when tensors come and go.

The rules are those of c10/cuda/CUDACachingAllocator.cpp with its default settings: sizes in steps of 512 bytes, small ones
from segments of 2 MiB, others from segments of 20 MiB or of their own, the smallest free block that fits, split and merged
again. Segments are kept, so what a card reports as used never falls.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass

from minivess.sizes import MIB

_STEP = 512
_SMALL = MIB  # up to here from the small pool, whose segments are of 2 MiB
_SMALL_SEGMENT = 2 * MIB
_LARGE_SEGMENT = 20 * MIB
_OWN_SEGMENT_FROM = 10 * MIB


@dataclass(eq=False, slots=True)
class _Block:
    address: int
    size: int
    small: bool
    free: bool = False
    before: _Block | None = None
    after: _Block | None = None

    @property
    def order(self) -> tuple[int, int]:
        return self.size, self.address


class _Allocator:
    """Starts empty; ``reserved_bytes`` is the sum of its segments."""

    def __init__(self) -> None:
        self.reserved_bytes = 0
        self._held: dict[int, _Block] = {}
        self._free: dict[bool, list[_Block]] = {True: [], False: []}

    def allocate(self, name: int, size_bytes: int) -> None:
        """Hand out memory under a name that is not in use."""
        size = max(-(-size_bytes // _STEP) * _STEP, _STEP)
        small = size <= _SMALL
        block = self._smallest_free(size, small) or self._segment(size, small)
        rest = block.size - size
        if rest >= _STEP if small else rest > _SMALL:
            tail = _Block(block.address + size, rest, small, before=block, after=block.after)
            if block.after is not None:
                block.after.before = tail
            block.size, block.after = size, tail
            self._put_back(tail)
        self._held[name] = block

    def release(self, name: int) -> None:
        """Take back what ``name`` holds, and merge it with free neighbours of its segment."""
        block = self._held.pop(name)
        if block.before is not None and block.before.free:
            self._take(block.before)
            block = _merged(block.before, block)
        if block.after is not None and block.after.free:
            self._take(block.after)
            block = _merged(block, block.after)
        self._put_back(block)

    def _smallest_free(self, size: int, small: bool) -> _Block | None:
        pool = self._free[small]
        at = bisect_left(pool, (size, 0), key=_order)
        if at == len(pool):
            return None
        block = pool[at]
        self._take(block)
        return block

    def _segment(self, size: int, small: bool) -> _Block:
        shared = _SMALL_SEGMENT if small else _LARGE_SEGMENT
        whole = shared if size < _OWN_SEGMENT_FROM else -(-size // _SMALL_SEGMENT) * _SMALL_SEGMENT
        block = _Block(self.reserved_bytes, whole, small)
        self.reserved_bytes += whole
        return block

    def _put_back(self, block: _Block) -> None:
        block.free = True
        insort(self._free[block.small], block, key=_order)

    def _take(self, block: _Block) -> None:
        pool = self._free[block.small]
        del pool[bisect_left(pool, block.order, key=_order)]
        block.free = False


def reserved_bytes(changes: Iterable[tuple[int, int]]) -> int:
    """Memory that torch holds of a card after (name, bytes) allocated, and (name, minus bytes) released, in this order."""
    allocator = _Allocator()
    for name, size_bytes in changes:
        if size_bytes > 0:
            allocator.allocate(name, size_bytes)
        else:
            allocator.release(name)
    return allocator.reserved_bytes


def _merged(first: _Block, second: _Block) -> _Block:
    first.size += second.size
    first.after = second.after
    if second.after is not None:
        second.after.before = first
    return first


def _order(block: _Block) -> tuple[int, int]:
    return block.order
