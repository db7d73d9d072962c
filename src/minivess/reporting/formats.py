"""Sizes and lists as people read them on a page."""

from __future__ import annotations

from collections.abc import Iterable

from minivess.data import wording


def by(sizes: Iterable[float]) -> str:
    """``(96, 96, 8)`` as "96 × 96 × 8"."""
    return wording.by(sizes, "×")


def listed(words: Iterable[str]) -> str:
    """``["a", "b", "c"]`` as "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def sentence(text: str) -> str:
    """The text with a capital letter to begin with; the rest stays as it is."""
    return text[:1].upper() + text[1:]
