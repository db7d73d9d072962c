"""Overlapping windows of a volume, merged slab by slab along Z: memory for one window's depth of logits, however deep it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations, product

import torch

from minivess.geometry import Shape


def slab_spans(whole: int, depth: int, overlap: float) -> list[tuple[int, int]]:
    """Of each slab along Z, its first slice and the first that it leaves to the next slab."""
    starts = list(_starts(whole, depth, overlap))
    return list(zip(starts, [*starts[1:], whole], strict=True))


def plane_corners(plane: tuple[int, int], patch: Shape, overlap: float) -> list[tuple[int, ...]]:
    """First voxels along X and Y of the windows of a slab; the last ones end with the volume."""
    return list(product(*(_starts(whole, size, overlap) for whole, size in zip(plane, patch[:2], strict=True))))


def gaussian_weight(patch: Shape) -> torch.Tensor:
    """How much each voxel of a window counts: MONAI's Gaussian, sigma 0.125 of the window, at least 1e-3."""
    weight = torch.ones(())
    for size in patch:
        offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-(offset**2) / (2 * (0.125 * size) ** 2))
    return weight.clamp(min=max(float(weight[weight > 0].min()), 1e-3))


class WindowSums:
    """The sums of weighted logits over the windows of a slab, and of their weights.

    Args:
        network: Image (B, 1, x, y, z) to logits (B, 2, x, y, z).
        weight: (x, y, z) of a window's voxels; the sums are kept on its device.
        plane: The volume's voxels along X and Y, no fewer than those of a window.
        windows: Windows a forward pass.
        mirror: Axes of the volume along which windows are mirrored as well.
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
        """Predict the windows of ``slab`` (X, Y, z) whose first voxels in plane are ``corners``."""
        width, height, _ = self._weight.shape
        for first in range(0, len(corners), self._windows):
            group = corners[first : first + self._windows]
            batch = torch.stack([slab[x : x + width, y : y + height] for x, y in group])[:, None]
            for (x, y), logits in zip(group, _mirrored(self._network, batch, self._mirror), strict=True):
                self._logits[:, x : x + width, y : y + height] += logits * self._weight
                self._weights[x : x + width, y : y + height] += self._weight

    def take(self, slices: int) -> torch.Tensor:
        """Logits (2, X, Y, slices) of the first slices, which no later slab reaches; the others move to the front."""
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
    """Mean logits, float32, over the mirror images of ``batch``, each turned back."""
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
