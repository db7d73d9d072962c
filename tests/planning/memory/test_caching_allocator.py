"""The rules of torch's allocator, with sizes that are easy to add up."""

from __future__ import annotations

from minivess.planning.memory.caching_allocator import reserved_bytes
from minivess.text import MIB


class TestPages:
    def test_small_blocks_share_a_page_of_two_mib(self) -> None:
        assert reserved_bytes([(0, 1), (1, MIB)]) == 2 * MIB

    def test_larger_blocks_share_pages_of_twenty_mib(self) -> None:
        assert reserved_bytes([(0, 9 * MIB), (1, 11 * MIB)]) == 20 * MIB
        assert reserved_bytes([(0, 9 * MIB), (1, 12 * MIB)]) == 40 * MIB

    def test_small_and_large_blocks_use_separate_pages(self) -> None:
        assert reserved_bytes([(0, MIB), (1, MIB + 1)]) == 22 * MIB

    def test_sizes_are_rounded_up_to_512_bytes(self) -> None:
        assert reserved_bytes([(name, 1) for name in range(4096)]) == 2 * MIB
        assert reserved_bytes([(name, 1) for name in range(4097)]) == 4 * MIB


class TestReuse:
    def test_a_released_block_is_used_again(self) -> None:
        assert reserved_bytes([(0, 30 * MIB), (0, -30 * MIB), (1, 30 * MIB)]) == 40 * MIB

    def test_released_memory_stays_reserved(self) -> None:
        assert reserved_bytes([(0, 30 * MIB), (0, -30 * MIB)]) == 40 * MIB

    def test_a_free_block_at_the_end_grows_by_the_missing_pages(self) -> None:
        assert reserved_bytes([(0, 30 * MIB), (0, -30 * MIB), (1, 50 * MIB)]) == 60 * MIB

    def test_the_smallest_block_that_fits_is_used(self) -> None:
        holes = [(0, 40 * MIB), (1, 20 * MIB), (2, 20 * MIB), (3, 20 * MIB), (0, -1), (2, -1)]
        assert reserved_bytes([*holes, (4, 20 * MIB), (5, 40 * MIB)]) == 100 * MIB

    def test_a_free_block_in_the_middle_is_used_before_the_end(self) -> None:
        hole_and_end = [(0, 39 * MIB), (1, 20 * MIB), (2, 21 * MIB), (0, -1), (2, -1)]
        assert reserved_bytes([*hole_and_end, (3, 20 * MIB), (4, 39 * MIB)]) == 100 * MIB

    def test_a_released_block_merges_with_both_neighbours(self) -> None:
        thirds = [(name, 20 * MIB) for name in range(3)]
        assert reserved_bytes([*thirds, (0, -1), (2, -1), (1, -1), (5, 60 * MIB)]) == 60 * MIB

    def test_blocks_do_not_merge_across_a_block_in_use(self) -> None:
        thirds = [(name, 20 * MIB) for name in range(3)]
        assert reserved_bytes([*thirds, (0, -1), (2, -1), (5, 40 * MIB)]) == 80 * MIB
