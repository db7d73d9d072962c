from __future__ import annotations

import pytest

from minivess.data.wording import counted, size
from minivess.reporting.formats import by, listed, sentence


class TestWords:
    def test_lists_and_counts(self):
        assert [listed("a"), listed("ab"), listed("abc")] == ["a", "a and b", "a, b and c"]
        assert [counted(1, "case"), counted(2, "case")] == ["1 case", "2 cases"]

    def test_only_the_first_letter_is_raised(self):
        assert sentence("check NVML") == "Check NVML"


class TestNumbers:
    @pytest.mark.parametrize(
        ("size_bytes", "text"),
        [(12, "12 B"), (1536, "1.5 KiB"), (480 * 2**10, "480 KiB"), (2**32, "4.0 GiB"), (2**42, "4096 GiB")],
    )
    def test_a_size_has_the_largest_unit_that_fits(self, size_bytes: int, text: str):
        assert size(size_bytes) == text

    def test_sizes_along_axes(self):
        assert by((0.994, 0.994, 5.0)) == "0.994 × 0.994 × 5"
