"""What torch says where memory is refused, other than by a class of its own."""

from __future__ import annotations

from typing import Literal

import torch

# A convolution that finds no room for any algorithm hides that behind "unable to find an engine".
_CARD_IS_FULL = ("out of memory", "unable to find an engine", "ALLOC_FAILED")
_HOST_IS_FULL = "can't allocate memory"


def refused_memory(error: MemoryError | RuntimeError) -> Literal["host", "card"] | None:
    """Whose memory was refused; None where that is not what happened."""
    text = str(error)
    if isinstance(error, MemoryError) or _HOST_IS_FULL in text:
        return "host"
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _CARD_IS_FULL):
        return "card"
    return None
