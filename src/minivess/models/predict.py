"""Sliding-window prediction in slabs along Z, so that memory does not grow with the depth of the volume.

Windows, Gaussian weights and padding are those of MONAI's ``sliding_window_inference`` (sigma 0.125 of the window), and so is the
result; only one window's depth of logits is held at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, combinations, product

import numpy as np
import torch

from minivess.strides import Shape

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
        network: Image (B, 1, x, y, z) to logits (B, 2, x, y, z); put into evaluation mode for the call.
        volume: (X, Y, Z), any type, may be memory-mapped; read slab by slab.
        patch: Window in voxels; a volume smaller than that is padded with its edge values, and the padding cropped again.
        overlap: Share of the window that neighbours share, in [0, 1).
        normalise: Applied to each slab before the network; float32 conversion alone where None.
        probabilities: Return the vessel probability (float32) in place of the mask (uint8).
        windows: Windows a forward pass.
        mirror: Axes of the volume (0, 1, 2) along which windows are mirrored as well: the logits are the mean over every
            combination, so two axes cost four times as much.
        precision: Autocast context for the forward pass.
        progress: Called with the finished share, 0 to 1.

    Returns:
        (X, Y, Z) mask of 0 and 1, or probabilities.
    """
    device = next(network.parameters()).device
    padding = [
        (max(size - whole, 0) // 2, max(size - whole, 0) - max(size - whole, 0) // 2)
        for size, whole in zip(patch, volume.shape, strict=True)
    ]
    padded = [whole + sum(pad) for whole, pad in zip(volume.shape, padding, strict=True)]
    # Z slowest, as in a NIfTI file: each slab is written in one piece.
    result = np.empty(padded, dtype=np.float32 if probabilities else np.uint8, order="F")
    starts_z = list(_starts(padded[2], patch[2], overlap))
    corners = list(product(*(_starts(padded[axis], patch[axis], overlap) for axis in (0, 1))))
    weight = _gaussian(patch).to(device)
    total = torch.zeros((2, padded[0], padded[1], patch[2]), device=device)
    weights = torch.zeros((padded[0], padded[1], patch[2]), device=device)
    was_training = network.training
    network.eval()
    with torch.inference_mode(), precision or nullcontext():
        for number, start in enumerate(starts_z):
            slab = _slab(volume, start, patch[2], padding, normalise).to(device)
            _accumulate(network, slab, corners, patch, weight, total, weights, windows, mirror)
            done = (starts_z[number + 1] if number + 1 < len(starts_z) else padded[2]) - start
            logits = total[..., :done] / weights[..., :done]
            final = logits.softmax(0)[1] if probabilities else logits.argmax(0).to(torch.uint8)
            result[:, :, start : start + done] = final.cpu().numpy()
            _shift(total, done)
            _shift(weights, done)
            if progress is not None:
                progress((start + done) / padded[2])
    network.train(was_training)
    inside = tuple(slice(before, before + whole) for (before, _), whole in zip(padding, volume.shape, strict=True))
    return result[inside]


def _accumulate(
    network: torch.nn.Module,
    slab: torch.Tensor,
    corners: list[tuple[int, ...]],
    patch: Shape,
    weight: torch.Tensor,
    total: torch.Tensor,
    weights: torch.Tensor,
    windows: int,
    mirror: Sequence[int] = (),
) -> None:
    for first in range(0, len(corners), windows):
        group = corners[first : first + windows]
        batch = torch.stack([slab[x : x + patch[0], y : y + patch[1]] for x, y in group])[:, None]
        for (x, y), logits in zip(group, _logits(network, batch, mirror), strict=True):
            total[:, x : x + patch[0], y : y + patch[1]] += logits * weight
            weights[x : x + patch[0], y : y + patch[1]] += weight


def _logits(network: torch.nn.Module, batch: torch.Tensor, mirror: Sequence[int]) -> torch.Tensor:
    """Mean logits, float32, over the mirror images of ``batch``, each turned back."""
    images = list(
        chain.from_iterable(combinations([axis + 2 for axis in mirror], size) for size in range(len(mirror) + 1))
    )
    total: torch.Tensor = network(batch).float()
    for axes in images[1:]:
        total = total + network(batch.flip(axes)).float().flip(axes)
    return total / len(images) if mirror else total


def _slab(
    volume: np.ndarray, start: int, depth: int, padding: list[tuple[int, int]], normalise: Normalise | None
) -> torch.Tensor:
    """Slices ``start`` to ``start + depth`` of the padded volume, normalised, float32."""
    first, last = max(start - padding[2][0], 0), min(start - padding[2][0] + depth, volume.shape[2])
    block = volume[:, :, first:last]
    block = normalise(block) if normalise is not None else np.asarray(block, dtype=np.float32)
    block = np.pad(block, padding, mode="edge") if any(map(any, padding)) else block
    return torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))


def _starts(whole: int, size: int, overlap: float) -> Iterator[int]:
    """First voxels of the windows along one axis; the last window ends with the volume."""
    step = max(int(size * (1 - overlap)), 1)
    start = 0
    while start + size < whole:
        yield start
        start += step
    yield whole - size


def _gaussian(patch: Shape) -> torch.Tensor:
    weight = torch.ones(())
    for size in patch:
        offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-(offset**2) / (2 * (0.125 * size) ** 2))
    return weight.clamp(min=max(float(weight[weight > 0].min()), 1e-3))


def _shift(buffer: torch.Tensor, done: int) -> None:
    """Move what is not final yet to the front of the slab and clear the rest."""
    rest = buffer.shape[-1] - done
    if rest > 0:
        buffer[..., :rest] = buffer[..., done:].clone()
    buffer[..., max(rest, 0) :] = 0
