"""Sizes, counts and lists as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def by(sizes: Iterable[float], times: str = "x") -> str:
    """``(0.99, 0.99, 5.0)`` as "0.99 x 0.99 x 5"."""
    return f" {times} ".join(f"{size:g}" for size in sizes)


def size(size_bytes: float) -> str:
    """``"480 KiB"``, ``"4.6 GiB"``: the largest unit that leaves a number above 1."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size_bytes >= 1024:
            size_bytes, unit = size_bytes / 1024, larger
    return f"{size_bytes:.0f} {unit}" if size_bytes >= 10 or unit == "B" else f"{size_bytes:.1f} {unit}"


def counted(number: int, noun: str) -> str:
    """``(2, "case")`` as "2 cases"."""
    return f"{number} {noun}" + "s" * (number != 1)


def listed(texts: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
