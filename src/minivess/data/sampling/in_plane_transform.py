"""Rotation, scaling and smooth bending in plane as one map from patch to volume, so a patch is resampled only once.

Rates and ranges of rotation and scaling follow nnU-Net (Isensee et al. 2021). All transforms stay in plane, because
two-photon stacks are sampled finely only there. The bending is a cubic B-spline. Its control points move less than 0.48
of the distance between them, so the map cannot fold (Choi and Lee 2000).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

_KNOT = 32
"""Distance between control points, in voxels."""
_MOST_BEND = 8.0
"""Largest displacement of a control point along each axis, in voxels."""


@dataclass(frozen=True, eq=False)
class InPlane:
    """In-plane map from patch voxels to positions in the volume, both measured from their centres.

    The default is the identity.

    Attributes:
        angle_rad: Rotation about the centre.
        scale: Volume voxels per patch voxel; above 1, the patch shows a larger part of the volume at a smaller size.
        bend: Displacement of the control points along X and Y in patch voxels, shape (2, I, J), where I and J are the
            `control_points` of the patch's X and Y; None for no bending.
    """

    angle_rad: float = 0.0
    scale: float = 1.0
    bend: np.ndarray | None = None

    @property
    def is_identity(self) -> bool:
        """Whether the map changes nothing."""
        return self.angle_rad == 0.0 and self.scale == 1.0 and self.bend is None

    @property
    def matrix(self) -> np.ndarray:
        """Rotation and scaling as a matrix (2, 2) from patch offsets to volume offsets, in voxels."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return self.scale * np.array([[cos, -sin], [sin, cos]])

    def source_size(self, size_xy: tuple[int, int]) -> tuple[int, int]:
        """Size (X, Y) of the axis-aligned box in the volume that covers the patch, plus one voxel for interpolation.

        The size along an axis is odd if that of the patch is odd, so that the centres of both are on a voxel, or both
        are between two voxels.

        Args:
            size_xy: Size of the patch along X and Y, in voxels.
        """
        # A B-spline stays within the convex hull of its control points.
        reach = np.zeros(2) if self.bend is None else np.abs(self.bend).max(axis=(1, 2))
        needed = np.ceil(np.abs(self.matrix) @ (np.asarray(size_xy) + 2 * reach)).astype(int) + 1
        x, y = needed + (needed - size_xy) % 2
        return int(x), int(y)

    def places(self, size_xy: tuple[int, int]) -> np.ndarray:
        """Positions (2, X, Y) of the patch voxels in the volume: X and Y in voxels, measured from the centre."""
        offsets = np.stack(np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in size_xy), indexing="ij"))
        if self.bend is not None:
            offsets += _spline(size_xy[0]) @ self.bend @ _spline(size_xy[1]).T
        return np.tensordot(self.matrix, offsets, 1)


def control_points(size: int) -> int:
    """Number of control points of a B-spline over ``size`` voxels."""
    return -(-(size - 1) // _KNOT) + 3


def draw_in_plane(rng: np.random.Generator, size_xy: tuple[int, int]) -> InPlane:
    """Draw a random map: rotation by any angle in 20 % of patches, scaling by 0.7 to 1.4 in 20 %, bending in 10 %.

    Args:
        rng: Source of all random numbers.
        size_xy: Size of the patch along X and Y, in voxels.
    """
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else 0.0
    scale, bend = 1.0, None
    if rng.random() < 0.2:
        scale = rng.uniform(0.7, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 1.4)
    if rng.random() < 0.1:
        bend = rng.uniform(0, _MOST_BEND) * rng.uniform(-1, 1, (2, *map(control_points, size_xy)))
    return InPlane(float(angle), float(scale), bend)


def sample_linear(block: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Interpolate a block linearly.

    Args:
        block: Axis-aligned part of the volume (X', Y', Z), float32. Fastest if X is its fastest axis in memory.
        places: Positions relative to the centre of the block, (2, X, Y), as `InPlane.places` returns them.

    Returns:
        Interpolated values (X, Y, Z); X is the fastest axis in memory.
    """
    # grid_sample expects the last axis first, in coordinates from -1 to 1 between the centres of the outer voxels.
    halves = [(size - 1) / 2 for size in block.shape[:2]]
    grid = np.stack([place.T / half for place, half in zip(places, halves, strict=True)], axis=-1, dtype=np.float32)
    sampled = F.grid_sample(
        torch.from_numpy(np.ascontiguousarray(block.T))[None],
        torch.from_numpy(grid)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return sampled[0].numpy().T


def sample_nearest(block: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Like `sample_linear`, but for any data type and with the value of the nearest voxel."""
    width, height, depth = block.shape
    x = np.rint(places[0].T + (width - 1) / 2).astype(np.intp).clip(0, width - 1)
    y = np.rint(places[1].T + (height - 1) / 2).astype(np.intp).clip(0, height - 1)
    return block.T.reshape(depth, -1).take(y * width + x, axis=1).T


@lru_cache(maxsize=16)
def _spline(size: int) -> np.ndarray:
    """Weight of each control point at each voxel, shape (size, control points)."""
    u = np.abs(np.arange(size)[:, None] / _KNOT - (np.arange(control_points(size)) - 1))
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.maximum(2 - u, 0) ** 3 / 6)
