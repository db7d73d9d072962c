"""Masks with eight voxels in a byte: small enough for the caches of a processor, and cheap to look at as a whole.

A packed mask has the shape (X + 2, Y + 2, bytes of a row), uint8, with an empty row around it along X and Y. Along Z,
bit 0 of a byte is the first of its voxels. A row is a multiple of 64 bits long and ends with at least seven empty bits.
So the neighbours of a voxel are found by adding a constant to its flat index, counted in bits, and those of 64 voxels by
shifting words; and the two bytes that contain three neighbouring voxels are always within the row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from minivess.topology.compiling import compiled, inlined


def pack(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pack a mask (X, Y, Z)."""
    x, y, z = mask.shape
    packed = empty((x, y, z))
    rows = np.zeros((y, packed.shape[2] * 8), bool)  # packing whole slices is several times as fast as single rows
    for slice_x in range(x):
        rows[:, :z] = mask[slice_x]
        packed[slice_x + 1, 1:-1] = np.packbits(rows, bitorder="little").reshape(y, -1)
    return packed


@compiled
def empty(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The packed mask of a shape (X, Y, Z) without foreground."""
    return np.zeros((shape[0] + 2, shape[1] + 2, ((shape[2] + 6) // 64 + 1) * 8), np.uint8)


@compiled
def pack_voxels(voxels: NDArray[np.integer], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Pack the mask of a shape (X, Y, Z) whose foreground are the voxels with the indices (N, 3)."""
    packed = empty(shape)
    for place in range(len(voxels)):
        x, y, z = voxels[place]
        packed[x + 1, y + 1, z >> 3] |= 1 << (z & 7)
    return packed


@compiled
def extent_of(voxels: NDArray[np.integer], others: NDArray[np.integer]) -> tuple[int, int, int]:
    """The smallest shape (X, Y, Z) of an array that contains the voxels with the indices (N, 3) and (M, 3)."""
    x = y = z = 0
    for indices in (voxels, others):
        for place in range(len(indices)):
            x, y, z = max(x, indices[place, 0]), max(y, indices[place, 1]), max(z, indices[place, 2])
    return x + 1, y + 1, z + 1


def indices(packed: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Indices (N, 3) of the foreground of a packed mask, in the order of the array; 12 bytes a voxel."""
    return _indices(packed.view(np.uint64))


@compiled
def _indices(words: NDArray[np.uint64]) -> NDArray[np.int32]:
    voxels = 0
    for row in words.reshape(-1):
        voxels += set_bits(row)
    found, count = np.empty((voxels, 3), np.int32), 0
    for x in range(1, words.shape[0] - 1):
        for y in range(1, words.shape[1] - 1):
            for z in range(words.shape[2]):
                word = words[x, y, z]
                while word:
                    found[count, 0], found[count, 1], found[count, 2] = x - 1, y - 1, 64 * z + lowest_bit(word)
                    word &= word - np.uint64(1)
                    count += 1
    return found


@inlined
def strides(packed: NDArray[np.uint8]) -> tuple[int, int]:
    """How far apart neighbours along X and along Y are in flat indices of voxels."""
    along_y = packed.shape[2] * 8
    return packed.shape[1] * along_y, along_y


@inlined
def is_set(flat: NDArray[np.uint8], at: int) -> int:
    """1 if the voxel is foreground, else 0. ``flat`` is a flat packed mask."""
    return flat[at >> 3] >> (at & 7) & 1


@inlined
def set_voxel(flat: NDArray[np.uint8], at: int) -> None:
    """Make a voxel foreground."""
    flat[at >> 3] |= 1 << (at & 7)


@inlined
def clear_voxel(flat: NDArray[np.uint8], at: int) -> None:
    """Make a voxel background."""
    flat[at >> 3] &= 255 - (1 << (at & 7))


@inlined
def clear_block(flat: NDArray[np.uint8], at: int, along_x: int, along_y: int) -> None:
    """Make the 3x3x3 block around a voxel background."""
    first, empty = (at - 1) >> 3, 0xFFFF - (7 << ((at - 1) & 7))
    for x in range(3):
        for y in range(3):
            byte = _byte_of_row(first, x, y, along_x, along_y)
            flat[byte] &= empty & 255
            flat[byte + np.uint64(1)] &= empty >> 8


@inlined
def block_around(flat: NDArray[np.uint8], at: int, along_x: int, along_y: int) -> int:
    """The 3x3x3 block around a voxel, as 27 bits (see ``simple_points.is_simple``).

    Args:
        flat: Flat packed mask.
        at: Flat index of the voxel.
        along_x: Distance of neighbours along X, see ``strides``.
        along_y: The same along Y.
    """
    first, shift = (at - 1) >> 3, (at - 1) & 7
    block = np.int64(0)
    for x in range(3):
        for y in range(3):
            byte = _byte_of_row(first, x, y, along_x, along_y)
            row = (np.int64(flat[byte]) | np.int64(flat[byte + np.uint64(1)]) << 8) >> shift & 7
            block |= row << (9 * x + 3 * y)
    return int(block)


@inlined
def _byte_of_row(first: int, x: int, y: int, along_x: int, along_y: int) -> np.uint64:
    """The byte where row (x, y) of a block starts, from that of row (1, 1).

    Unsigned, because Numba then need not look for indices that count from the end. Only the row before the first voxel of
    the array starts before the first byte. It is empty, as the first byte is.
    """
    return np.uint64(max(first + ((x - 1) * along_x + (y - 1) * along_y) // 8, 0))


@inlined
def neighbour(at: int, bit: int, along_x: int, along_y: int) -> int:
    """Flat index of the voxel that a bit of a block stands for."""
    return at + (bit // 9 - 1) * along_x + (bit // 3 % 3 - 1) * along_y + bit % 3 - 1


def _instruction(emit: Callable[[Any, Any], Any]) -> Callable[[np.uint64], int]:
    """A function of a word that is one instruction of the processor, from its form in LLVM."""

    @intrinsic
    def instruction(typing_context: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return emit(builder, arguments[0])

        return types.int64(types.uint64), generate

    call: Callable[[np.uint64], int] = instruction
    return call


_COUNTS_AT_ZERO = ir.Constant(ir.IntType(1), 0)
_set_bits = _instruction(lambda builder, word: builder.ctpop(word))
_zeros_above = _instruction(lambda builder, word: builder.ctlz(word, _COUNTS_AT_ZERO))
_zeros_below = _instruction(lambda builder, word: builder.cttz(word, _COUNTS_AT_ZERO))


@inlined
def set_bits(word: int | np.uint64) -> int:
    """Number of bits that are set, of at most 64."""
    return _set_bits(np.uint64(word))


@inlined
def highest_bit(word: int) -> int:
    """Place of the highest bit that is set, of at most 64; -1 if none is set."""
    return 63 - _zeros_above(np.uint64(word))


@inlined
def lowest_bit(bits: int) -> int:
    """Place of the lowest bit that is set, of at most 64; 64 if none is set."""
    return _zeros_below(np.uint64(bits))


@compiled
def border(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Packed mask of the voxels with a background voxel at one of their six faces."""
    words = packed.view(np.uint64)
    edge = np.zeros_like(words)
    for x in range(1, words.shape[0] - 1):
        for y in range(1, words.shape[1] - 1):
            for z in range(words.shape[2]):
                here = words[x, y, z]
                if here:
                    around = words[x - 1, y, z] & words[x + 1, y, z] & words[x, y - 1, z] & words[x, y + 1, z]
                    before = words[x, y, z - 1] >> np.uint64(63) if z else np.uint64(0)
                    after = words[x, y, z + 1] << np.uint64(63) if z + 1 < words.shape[2] else np.uint64(0)
                    along = (here << np.uint64(1) | before) & (here >> np.uint64(1) | after)
                    edge[x, y, z] = here & ~(around & along)
    return edge.view(np.uint8)


@compiled
def euler_characteristic(packed: NDArray[np.uint8]) -> int:
    """Vertices - edges + faces - cubes of the union of the closed voxels, whose cells are counted 64 at a time."""
    words = packed.view(np.uint64)
    total = 0
    for x in range(words.shape[0] - 1):
        for y in range(words.shape[1] - 1):
            carried = np.zeros(4, np.uint64)
            for z in range(words.shape[2]):
                here, beyond = words[x, y, z], words[x + 1, y, z]
                beside, across = words[x, y + 1, z], words[x + 1, y + 1, z]
                # What a cell within a slice touches: a voxel, two voxels along x or along y, or four of them.
                touched = (here, here | beyond, here | beside, here | beyond | beside | across)
                for kind, sign in enumerate((-1, 1, 1, -1)):
                    between = touched[kind] | touched[kind] << np.uint64(1) | carried[kind]
                    carried[kind] = touched[kind] >> np.uint64(63)
                    total += sign * (set_bits(touched[kind]) - set_bits(between))
    return total
