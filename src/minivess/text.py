"""Shapes, lists, durations, memory sizes and numbers: how minivess prints them, and how it reads a memory size.

Everywhere in minivess "GB" on input means GiB, 2**30 bytes: memory is built in powers of two, so a GPU sold as 8 GB holds
8 GiB. "8GB", "8 GiB" and "8" are the same size.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from minivess.errors import ConfigError

MIB = 2**20
GIB = 2**30

_UNITS = {"": GIB, "M": MIB, "G": GIB, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([MGT])(?:i?B)?)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size such as "8GB", "8 GiB", "512 MB" or "24" (a bare number is GiB).

    Raises:
        ConfigError: The text is not a positive number with one of those units.
    """
    match = _SIZE.fullmatch(text.strip())
    size_bytes = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size_bytes <= 0:
        raise ConfigError("a memory size above zero", repr(text), 'write it as "8GB", "512MB" or "24" (GiB)')
    return size_bytes


def format_bytes(size_bytes: float) -> str:
    """``"480 KiB"``, ``"48 MiB"``, ``"24.0 GiB"``: from a tenth of a GiB in GiB with one decimal, below in whole units."""
    if size_bytes >= 0.1 * GIB:
        return f"{size_bytes / GIB:.1f} GiB"
    if size_bytes >= MIB or size_bytes == 0:
        return f"{size_bytes / MIB:.0f} MiB"
    return f"{size_bytes / 1024:.0f} KiB" if size_bytes >= 1024 else f"{size_bytes:.0f} B"


def format_shape(sizes: Iterable[float], times: str = " x ") -> str:
    """``(0.99, 0.99, 5.0)`` as "0.99 x 0.99 x 5"."""
    return times.join(f"{size:g}" for size in sizes)


def format_patch(sizes: Iterable[int]) -> str:
    """``(96, 96, 8)`` as "96x96x8", the way options and YAML keys take it."""
    return format_shape(sizes, "x")


def format_shape_html(sizes: Iterable[float]) -> str:
    """``(96, 96, 8)`` as "96 × 96 × 8", for pages."""
    return format_shape(sizes, " × ")


def format_duration(seconds: float) -> str:
    """The two largest units: "4.2 s", "42 s", "5 min 25 s", "25 h 30 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + f" {whole % 60} s" * (whole % 60 > 0)
    minutes = round(whole / 60)
    return f"{minutes // 60} h" + f" {minutes % 60} min" * (minutes % 60 > 0)


def format_together(*values: float) -> tuple[str, ...]:
    """Numbers that are read together, with the decimals that suit the largest: 0.739, 12.3, 439."""
    largest = max((abs(value) for value in values if abs(value) < float("inf")), default=0.0)
    decimals = 3 if largest < 10 else 1 if largest < 100 else 0
    return tuple(f"{value:.{decimals}f}" for value in values)


def format_p_value(p: float) -> str:
    """Three decimals, or one significant digit below 0.001."""
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"


def format_percent(share: float) -> str:
    """A share in percent with three significant digits: "95%", "97.5%", "98.3%"."""
    return f"{100 * share:.3g}%"


def counted(number: int, noun: str, plural: str = "") -> str:
    """``(2, "case")`` as "2 cases"; ``plural`` is for nouns that do not simply take an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def first_few(texts: Sequence[str], most: int = 5) -> str:
    """The first texts and the number of the others: "a, b and 3 more"."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def joined(words: Iterable[str]) -> str:
    """``["a", "b", "c"]`` as "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def capitalised(text: str) -> str:
    """The text with a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]
