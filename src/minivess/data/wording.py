"""Sizes, counts and lists as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def by(sizes: Iterable[float]) -> str:
    """``(0.99, 0.99, 5.0)`` as "0.99 x 0.99 x 5"."""
    return " x ".join(f"{size:g}" for size in sizes)


def counted(number: int, noun: str) -> str:
    """``(2, "case")`` as "2 cases"."""
    return f"{number} {noun}" + "s" * (number != 1)


def listed(texts: Sequence[str], most: int = 5) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
