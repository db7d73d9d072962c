"""Numbers, sizes and lists as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def by(sizes: Sequence[float]) -> str:
    """``(96, 96, 8)`` as "96 × 96 × 8"."""
    return " × ".join(f"{size:g}" for size in sizes)


def listed(words: Iterable[str]) -> str:
    """``["a", "b", "c"]`` as "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def size(size_bytes: float) -> str:
    """``"480 KiB"``, ``"4.6 GiB"``: the largest unit that leaves a number above 1."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size_bytes >= 1024:
            size_bytes, unit = size_bytes / 1024, larger
    return f"{size_bytes:.0f} {unit}" if size_bytes >= 10 or unit == "B" else f"{size_bytes:.1f} {unit}"


def sentence(text: str) -> str:
    """The text with a capital letter to begin with; the rest stays as it is."""
    return text[:1].upper() + text[1:]
