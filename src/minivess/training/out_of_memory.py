"""Recognise out-of-memory errors, including those for which torch has no class of its own."""

from __future__ import annotations

from typing import Literal

import torch

# A convolution that has too little memory for every algorithm reports "unable to find an engine".
_GPU_MESSAGES = ("out of memory", "unable to find an engine", "ALLOC_FAILED")
_HOST_MESSAGE = "can't allocate memory"


def refused_memory(error: MemoryError | RuntimeError) -> Literal["host", "card"] | None:
    """Return which memory was exhausted.

    Returns:
        "host" for system memory, "card" for GPU memory, None if the error has another cause.
    """
    text = str(error)
    if isinstance(error, MemoryError) or _HOST_MESSAGE in text:
        return "host"
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in _GPU_MESSAGES):
        return "card"
    return None
