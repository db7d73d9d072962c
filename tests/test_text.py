from __future__ import annotations

import pytest

from minivess.errors import ConfigError
from minivess.statistics.resampling import mean_interval, paired_bootstrap_test
from minivess.text import (
    GIB,
    capitalised,
    counted,
    format_bytes,
    format_p_value,
    format_shape_html,
    format_together,
    joined,
    parse_size,
)


class TestParseSize:
    @pytest.mark.parametrize("text", ["8GB", "8 GiB", "8gb", "8", " 8 G ", "8.0GB", "8192MB"])
    def test_gb_gib_and_no_unit_mean_gib(self, text: str) -> None:
        assert parse_size(text) == 8 * 2**30

    @pytest.mark.parametrize("text", ["", "0", "-8GB", "8 KB", "lots", "8GB free", "nan"])
    def test_anything_else_is_refused_with_a_cure(self, text: str) -> None:
        with pytest.raises(ConfigError, match="8GB"):
            parse_size(text)

    def test_printed_with_its_unit(self) -> None:
        assert format_bytes(parse_size("1.5") + GIB) == "2.5 GiB"


class TestRounded:
    def test_numbers_in_one_row_have_the_decimals_of_the_largest(self):
        assert format_together(0.7391, 0.5918, 0.8261) == ("0.739", "0.592", "0.826")
        assert format_together(9.81, 8.2, 12.14) == ("9.8", "8.2", "12.1")
        assert format_together(439.286, 120.988, 1129.597) == ("439", "121", "1130")

    def test_an_infinite_number_does_not_set_the_decimals(self):
        assert format_together(0.5, float("inf")) == ("0.500", "inf")

    def test_small_p_values_keep_a_digit(self):
        assert [format_p_value(0.0312), format_p_value(0.0001)] == ["0.031", "0.0001"]


class TestIntervals:
    def test_a_mean_and_its_bounds(self):
        assert str(mean_interval([200.0, 200.0])).startswith("200 (")
        value, remark = mean_interval([0.5]).parts
        assert value == "0.500"
        assert remark.startswith("(")

    def test_a_reversed_difference_has_the_opposite_sign(self):
        test = paired_bootstrap_test([3.0, 3.0, 5.0], [1.0, 1.0, 2.0])
        low, high = format_together(test.interval.low, test.interval.high)
        assert str(test) == f"+2.333 [{low}, {high}]"
        assert str(test.reversed) == f"-2.333 [-{high}, -{low}]"
        assert (test.reversed.a_larger, test.reversed.b_larger, test.reversed.effect_size) == (0, 3, -1.0)


class TestWords:
    def test_lists_and_counts(self):
        assert [joined("a"), joined("ab"), joined("abc")] == ["a", "a and b", "a, b and c"]
        assert [counted(1, "case"), counted(2, "case")] == ["1 case", "2 cases"]

    def test_only_the_first_letter_becomes_a_capital(self):
        assert capitalised("check NVML") == "Check NVML"


class TestNumbers:
    @pytest.mark.parametrize(
        ("size_bytes", "text"),
        [(12, "12 B"), (1536, "2 KiB"), (480 * 2**10, "480 KiB"), (2**32, "4.0 GiB"), (2**42, "4096.0 GiB")],
    )
    def test_a_size_has_the_largest_unit_that_fits(self, size_bytes: int, text: str):
        assert format_bytes(size_bytes) == text

    def test_sizes_along_axes(self):
        assert format_shape_html((0.994, 0.994, 5.0)) == "0.994 × 0.994 × 5"
