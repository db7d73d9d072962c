"""Sliding-window prediction in slabs along Z, so that working memory does not grow with the depth of the volume.

Windows, Gaussian weights (sigma 0.125 of the window), padding and result are those of MONAI's
``sliding_window_inference``. Only one slab of logits, as deep as a window, is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from minivess.geometry import Shape
from minivess.models.sliding_window import WindowSums, gaussian_weight, plane_corners, slab_spans

Normalise = Callable[[np.ndarray], np.ndarray]


def predict_volume(
    network: torch.nn.Module,
    volume: np.ndarray,
    patch: Shape,
    overlap: float = 0.5,
    *,
    normalise: Normalise | None = None,
    probabilities: bool = False,
    windows: int = 1,
    mirror: Sequence[int] = (),
    precision: AbstractContextManager[object] | None = None,
    progress: Callable[[float], None] | None = None,
) -> np.ndarray:
    """Segment a whole volume.

    Args:
        network: Image (B, 1, x, y, z) to logits (B, 2, x, y, z); in evaluation mode during the call.
        volume: (X, Y, Z), any type; may be memory-mapped. It is read slab by slab.
        patch: Window in voxels. A smaller volume is padded with its edge values, and the padding is cropped afterwards.
        overlap: Share of a window that neighbouring windows have in common, in [0, 1).
        normalise: Applied to each slab before the network; None only converts to float32.
        probabilities: Return the vessel probability (float32) instead of the mask (uint8).
        windows: Windows per forward pass.
        mirror: Axes of the volume (0, 1, 2) for test-time mirroring. The logits are the mean over all combinations of
            these axes, so two axes take four times as long.
        precision: Autocast context for the forward pass; None for fp32.
        progress: Called with the finished share, 0 to 1.

    Returns:
        (X, Y, Z) mask of 0 and 1 (uint8), or probabilities (float32).
    """
    device = next(network.parameters()).device
    padding = [
        (max(size - whole, 0) // 2, max(size - whole, 0) - max(size - whole, 0) // 2)
        for size, whole in zip(patch, volume.shape, strict=True)
    ]
    padded = [whole + sum(pad) for whole, pad in zip(volume.shape, padding, strict=True)]
    # Z is the slowest axis, as in a NIfTI file, so each slab is written as one contiguous block.
    result = np.empty(padded, dtype=np.float32 if probabilities else np.uint8, order="F")
    plane = padded[0], padded[1]
    corners = plane_corners(plane, patch, overlap)
    sums = WindowSums(network, gaussian_weight(patch).to(device), plane, windows, mirror)
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode(), precision or nullcontext():
            for start, following in slab_spans(padded[2], patch[2], overlap):
                slab = _slab(volume, start, patch[2], padding, normalise).to(device)
                sums.add(slab, corners)
                logits = sums.take(following - start)
                final = logits.softmax(0)[1] if probabilities else logits.argmax(0).to(torch.uint8)
                result[:, :, start:following] = final.cpu().numpy()
                if progress is not None:
                    progress(following / padded[2])
    finally:
        network.train(was_training)
    inside = tuple(slice(before, before + whole) for (before, _), whole in zip(padding, volume.shape, strict=True))
    return result[inside]


def _slab(
    volume: np.ndarray, start: int, depth: int, padding: list[tuple[int, int]], normalise: Normalise | None
) -> torch.Tensor:
    """Slices ``start`` to ``start + depth`` of the padded volume, normalised, as float32."""
    first, last = max(start - padding[2][0], 0), min(start - padding[2][0] + depth, volume.shape[2])
    block = volume[:, :, first:last]
    block = normalise(block) if normalise is not None else np.asarray(block, dtype=np.float32)
    block = np.pad(block, padding, mode="edge") if any(map(any, padding)) else block
    return torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
