"""Random changes of a patch that leave its meaning: in-plane geometry, then intensity. Every draw comes from one generator.

Rates and ranges follow nnU-Net (Isensee et al. 2021); rotation and scaling stay in plane, where two-photon stacks are sampled finely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d


@dataclass(frozen=True)
class InPlane:
    """A rotation and a scaling about the patch centre; identity where no augmentation was drawn."""

    angle_rad: float = 0.0
    scale: float = 1.0

    @property
    def is_identity(self) -> bool:
        return self.angle_rad == 0.0 and self.scale == 1.0

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2): patch offsets to volume offsets, in voxels."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return self.scale * np.array([[cos, -sin], [sin, cos]])

    def source_size(self, size_xy: tuple[int, int]) -> tuple[int, int]:
        """Size of the upright box in the volume that the changed patch (X, Y) needs, with a voxel to interpolate.

        Odd where the patch is odd, so that both have their centre on a voxel, or both between two.
        """
        needed = np.ceil(np.abs(self.matrix) @ np.asarray(size_xy)).astype(int) + 1
        x, y = needed + (needed - size_xy) % 2
        return int(x), int(y)


def draw_in_plane(rng: np.random.Generator) -> InPlane:
    """A rotation by any angle in one patch of five, a scaling by 0.7 to 1.4 in one of five."""
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else 0.0
    scale = 1.0
    if rng.random() < 0.2:
        scale = rng.uniform(0.7, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 1.4)
    return InPlane(float(angle), float(scale))


def resample_in_plane(block: np.ndarray, change: InPlane, size_xy: tuple[int, int], *, nearest: bool) -> np.ndarray:
    """Cut the changed patch (X, Y, Z) out of an upright ``block`` (X', Y', Z) of the same centre, slice by slice."""
    matrix = change.matrix
    offsets = [np.arange(size) - (size - 1) / 2 for size in size_xy]
    dx, dy = np.meshgrid(*offsets, indexing="ij")
    # grid_sample counts the last axis first and runs from -1 to 1 between the outer voxels' centres.
    half_x, half_y = ((size - 1) / 2 for size in block.shape[:2])
    grid = np.stack(
        [(matrix[1, 0] * dx + matrix[1, 1] * dy) / half_y, (matrix[0, 0] * dx + matrix[0, 1] * dy) / half_x], axis=-1
    )
    sampled = F.grid_sample(
        torch.from_numpy(np.ascontiguousarray(block.transpose(2, 0, 1), dtype=np.float32))[None],
        torch.from_numpy(grid.astype(np.float32))[None],
        mode="nearest" if nearest else "bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled[0].numpy().transpose(1, 2, 0)


def draw_flips(rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """Index that mirrors each axis with a chance of one half."""
    x, y, z = (slice(None, None, -1) if rng.random() < 0.5 else slice(None) for _ in range(3))
    return x, y, z


def change_intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Noise, in-plane blur, brightness, contrast and gamma, each with its own chance, on a normalised patch (X, Y, Z)."""
    if rng.random() < 0.1:
        image = image + rng.normal(0.0, np.sqrt(rng.uniform(0.0, 0.1)), image.shape).astype(np.float32)
    if rng.random() < 0.2:
        sigma = rng.uniform(0.5, 1.0)
        for axis in (0, 1):
            image = gaussian_filter1d(image, sigma, axis=axis)
    if rng.random() < 0.15:
        image = image * np.float32(rng.uniform(0.75, 1.25))
    if rng.random() < 0.15:
        mean, factor = image.mean(), np.float32(rng.uniform(0.75, 1.25))
        image = np.clip((image - mean) * factor + mean, image.min(), image.max())
    if rng.random() < 0.3:
        image = _gamma(image, float(rng.uniform(0.7, 1.5)))
    return image


def _gamma(image: np.ndarray, gamma: float) -> np.ndarray:
    low, span = image.min(), np.ptp(image)
    if span == 0:
        return image
    mean, std = image.mean(), image.std()
    bent = ((image - low) / span) ** np.float32(gamma)
    return (bent - bent.mean()) / max(float(bent.std()), 1e-6) * std + mean
