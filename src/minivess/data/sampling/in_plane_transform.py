"""Rotation, scaling and smooth bending in plane as one map from patch to volume, so that a patch is resampled once.

Rates and ranges of rotation and scaling follow nnU-Net (Isensee et al. 2021); all stay in plane, where two-photon stacks are
sampled finely. The bending is a cubic B-spline whose control points move less than 0.48 of their distance, which keeps it
from folding (Choi and Lee 2000).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

_KNOT = 32
"""Voxels between control points."""
_MOST_BEND = 8.0
"""Voxels that a control point moves at most along each axis."""


@dataclass(frozen=True, eq=False)
class InPlane:
    """Where the voxels of a patch lie in the volume, counted from the centres of both; identity where nothing was drawn.

    Attributes:
        angle_rad: Rotation about the centre.
        scale: Volume voxels a patch voxel; above 1 shows more of the volume, smaller.
        bend: (2, I, J) displacement along X and Y of the control points that ``control_points`` counts, in patch voxels.
    """

    angle_rad: float = 0.0
    scale: float = 1.0
    bend: np.ndarray | None = None

    @property
    def is_identity(self) -> bool:
        return self.angle_rad == 0.0 and self.scale == 1.0 and self.bend is None

    @property
    def matrix(self) -> np.ndarray:
        """(2, 2): patch offsets to volume offsets, in voxels."""
        cos, sin = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return self.scale * np.array([[cos, -sin], [sin, cos]])

    def source_size(self, size_xy: tuple[int, int]) -> tuple[int, int]:
        """Size of the upright box in the volume that the changed patch (X, Y) needs, with a voxel to interpolate.

        Odd where the patch is odd, so that both have their centre on a voxel, or both between two.
        """
        # A B-spline lies within the hull of its control points.
        reach = np.zeros(2) if self.bend is None else np.abs(self.bend).max(axis=(1, 2))
        needed = np.ceil(np.abs(self.matrix) @ (np.asarray(size_xy) + 2 * reach)).astype(int) + 1
        x, y = needed + (needed - size_xy) % 2
        return int(x), int(y)

    def places(self, size_xy: tuple[int, int]) -> np.ndarray:
        """(2, X, Y): X and Y of each patch voxel in the volume, counted from the centre."""
        offsets = np.stack(np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in size_xy), indexing="ij"))
        if self.bend is not None:
            offsets += _spline(size_xy[0]) @ self.bend @ _spline(size_xy[1]).T
        return np.tensordot(self.matrix, offsets, 1)


def control_points(size: int) -> int:
    """Control points of a B-spline over ``size`` voxels."""
    return -(-(size - 1) // _KNOT) + 3


def draw_in_plane(rng: np.random.Generator, size_xy: tuple[int, int]) -> InPlane:
    """A rotation by any angle in one patch of five, a scaling by 0.7 to 1.4 in one of five, a bending in one of ten."""
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.2 else 0.0
    scale, bend = 1.0, None
    if rng.random() < 0.2:
        scale = rng.uniform(0.7, 1.0) if rng.random() < 0.5 else rng.uniform(1.0, 1.4)
    if rng.random() < 0.1:
        bend = rng.uniform(0, _MOST_BEND) * rng.uniform(-1, 1, (2, *map(control_points, size_xy)))
    return InPlane(float(angle), float(scale), bend)


def sample_linear(block: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values of an upright ``block`` (X', Y', Z), float32, at ``places`` about its centre, interpolated: (X, Y, Z).

    Fastest where X is the fastest axis of the block; it is that of the result.
    """
    # grid_sample counts the last axis first and runs from -1 to 1 between the outer voxels' centres.
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
    """As ``sample_linear``, but of any type and with the value of the nearest voxel."""
    width, height, depth = block.shape
    x = np.rint(places[0].T + (width - 1) / 2).astype(np.intp).clip(0, width - 1)
    y = np.rint(places[1].T + (height - 1) / 2).astype(np.intp).clip(0, height - 1)
    return block.T.reshape(depth, -1).take(y * width + x, axis=1).T


@lru_cache(maxsize=16)
def _spline(size: int) -> np.ndarray:
    """(size, control points): weight of each control point on each voxel."""
    u = np.abs(np.arange(size)[:, None] / _KNOT - (np.arange(control_points(size)) - 1))
    return np.where(u < 1, 2 / 3 - u**2 + u**3 / 2, np.maximum(2 - u, 0) ** 3 / 6)
