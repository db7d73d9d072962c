"""Overlapping windows of a volume, merged slab by slab along Z.

Only one slab of logits, as deep as a window, is in memory, so memory does not grow with the depth of the volume.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations, product

import torch

from minivess.geometry import Shape


def slab_spans(whole: int, depth: int, overlap: float) -> list[tuple[int, int]]:
    """Return, for each slab along Z, its first slice and the first slice of the next slab.

    Args:
        whole: Slices of the volume.
        depth: Slices of a window.
        overlap: Share of a window that neighbouring windows have in common, in [0, 1).
    """
    starts = list(_starts(whole, depth, overlap))
    return list(zip(starts, [*starts[1:], whole], strict=True))


def plane_corners(plane: tuple[int, int], patch: Shape, overlap: float) -> list[tuple[int, ...]]:
    """Return the first voxel along X and Y of each window of a slab. The last windows end at the edge of the volume.

    Args:
        plane: Voxels of the volume along X and Y.
        patch: Window in voxels.
        overlap: Share of a window that neighbouring windows have in common, in [0, 1).
    """
    return list(product(*(_starts(whole, size, overlap) for whole, size in zip(plane, patch[:2], strict=True))))


def gaussian_weight(patch: Shape) -> torch.Tensor:
    """Weight of each voxel of a window, (X, Y, Z): MONAI's Gaussian with sigma 0.125 of the window, at least 1e-3."""
    weight = torch.ones(())
    for size in patch:
        offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-(offset**2) / (2 * (0.125 * size) ** 2))
    return weight.clamp(min=max(float(weight[weight > 0].min()), 1e-3))


class WindowSums:
    """Sums of the weighted logits and of the weights over the windows of a slab.

    Args:
        network: Image (B, 1, x, y, z) to logits (B, 2, x, y, z).
        weight: Weights of the voxels of a window, (x, y, z). The sums are kept on the same device.
        plane: Voxels of the volume along X and Y; at least those of a window.
        windows: Windows per forward pass.
        mirror: Axes of the volume (0, 1, 2) for test-time mirroring.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        weight: torch.Tensor,
        plane: tuple[int, int],
        windows: int = 1,
        mirror: Sequence[int] = (),
    ) -> None:
        self._network, self._weight, self._windows, self._mirror = network, weight, windows, mirror
        self._logits = torch.zeros((2, *plane, weight.shape[2]), device=weight.device)
        self._weights = torch.zeros((*plane, weight.shape[2]), device=weight.device)

    def add(self, slab: torch.Tensor, corners: Sequence[tuple[int, ...]]) -> None:
        """Predict the windows of ``slab`` (X, Y, z) whose first voxels along X and Y are ``corners``."""
        width, height, _ = self._weight.shape
        for first in range(0, len(corners), self._windows):
            group = corners[first : first + self._windows]
            batch = torch.stack([slab[x : x + width, y : y + height] for x, y in group])[:, None]
            for (x, y), logits in zip(group, _mirrored(self._network, batch, self._mirror), strict=True):
                self._logits[:, x : x + width, y : y + height] += logits * self._weight
                self._weights[x : x + width, y : y + height] += self._weight

    def take(self, slices: int) -> torch.Tensor:
        """Return and remove the logits (2, X, Y, slices) of the first slices, which no later slab covers."""
        logits = self._logits[..., :slices] / self._weights[..., :slices]
        _shift(self._logits, slices)
        _shift(self._weights, slices)
        return logits


def _starts(whole: int, size: int, overlap: float) -> Iterator[int]:
    step = max(int(size * (1 - overlap)), 1)
    start = 0
    while start + size < whole:
        yield start
        start += step
    yield whole - size


def _mirrored(network: torch.nn.Module, batch: torch.Tensor, mirror: Sequence[int]) -> torch.Tensor:
    """Mean logits (float32) over all mirror images of ``batch``, each mirrored back."""
    images = list(
        chain.from_iterable(combinations([axis + 2 for axis in mirror], size) for size in range(len(mirror) + 1))
    )
    total: torch.Tensor = network(batch).float()
    for axes in images[1:]:
        total = total + network(batch.flip(axes)).float().flip(axes)
    return total / len(images) if mirror else total


def _shift(buffer: torch.Tensor, done: int) -> None:
    rest = buffer.shape[-1] - done
    if rest > 0:
        buffer[..., :rest] = buffer[..., done:].clone()
    buffer[..., max(rest, 0) :] = 0
