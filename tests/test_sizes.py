from __future__ import annotations

import pytest

from minivess.errors import ConfigError
from minivess.sizes import GIB, format_gib, parse_size


class TestParseSize:
    @pytest.mark.parametrize("text", ["8GB", "8 GiB", "8gb", "8", " 8 G ", "8.0GB", "8192MB"])
    def test_gb_and_gib_and_nothing_are_powers_of_two(self, text: str) -> None:
        assert parse_size(text) == 8 * 2**30

    @pytest.mark.parametrize("text", ["", "0", "-8GB", "8 KB", "lots", "8GB free", "nan"])
    def test_anything_else_is_refused_with_a_cure(self, text: str) -> None:
        with pytest.raises(ConfigError, match="8GB"):
            parse_size(text)

    def test_printed_with_its_unit(self) -> None:
        assert format_gib(parse_size("1.5") + GIB) == "2.5 GiB"
