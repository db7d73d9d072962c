"""Rounded shapes on a voxel grid: how deep each voxel lies inside a vessel, and how bright the vessel is there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from minivess.data.phantoms.microscope_image import half_axes_um
from minivess.data.phantoms.vessel_tree import Tubes
from minivess.geometry import Shape, Spacing
from minivess.topology.compiling import compiled

OUTSIDE_UM = -1e6
"""Depth of a voxel that is near no shape."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """Straight pieces with round ends and an elliptic cross-section; a piece without length is an ellipsoid.

    Attributes:
        start_um: Start points, ``(N, 3)``.
        end_um: End points, ``(N, 3)``.
        axes_um: Half-axes along X, Y and Z, ``(N, 3)``.
        brightness: Fluorescence, near 1 for a vessel, ``(N,)``.
    """

    start_um: np.ndarray
    end_um: np.ndarray
    axes_um: np.ndarray
    brightness: np.ndarray

    @classmethod
    def of_tubes(cls, tubes: Tubes, spacing_um: Spacing) -> Shapes:
        """Shapes of vessels. A vessel thinner than a voxel is widened, and dimmer by the light that it lacks."""
        axes_um = half_axes_um(tubes.radius_um, spacing_um)
        light = np.sqrt(np.prod(tubes.radius_um[:, None] / axes_um, axis=1))
        return cls(tubes.start_um, tubes.end_um, axes_um, tubes.brightness * light)

    def seen_through(self, sigma_um: Spacing) -> Shapes:
        """The shapes as large as their blurred images.

        A thin shape has an image as wide as the blur, 1.2 standard deviations to half of its height. A thick one keeps
        its size.
        """
        return replace(self, axes_um=np.sqrt(self.axes_um**2 + (1.2 * np.asarray(sigma_um)) ** 2))

    @classmethod
    def ellipsoids(cls, centre_um: np.ndarray, axes_um: np.ndarray, brightness: np.ndarray) -> Shapes:
        """Shapes without length."""
        return cls(centre_um, centre_um, axes_um, brightness)

    @classmethod
    def joined(cls, parts: list[Shapes]) -> Shapes:
        """All shapes of a list; an empty list has none."""
        if not parts:
            return cls(np.zeros((0, 3)), np.zeros((0, 3)), np.ones((0, 3)), np.zeros(0))
        return cls(
            np.concatenate([part.start_um for part in parts]),
            np.concatenate([part.end_um for part in parts]),
            np.concatenate([part.axes_um for part in parts]),
            np.concatenate([part.brightness for part in parts]),
        )


def rasterise(shapes: Shapes, shape: Shape, spacing_um: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Draw shapes on a grid whose voxel ``(i, j, k)`` has its centre at ``(i, j, k) * spacing_um``.

    Returns:
        The depth below the wall in micrometre, float32 of that shape: above 0 inside a shape, ``OUTSIDE_UM`` far from
        all. It is exact at the wall of a round tube, and a lower limit elsewhere. The light, float32 of that shape: the
        brightness of the brightest shape, with a soft edge of one voxel in plane, as a voxel at the wall is partly filled.
    """
    depth_um = np.full(shape, OUTSIDE_UM, dtype=np.float32)
    light = np.zeros(shape, dtype=np.float32)
    _rasterise(
        np.ascontiguousarray(shapes.start_um, dtype=np.float64),
        np.ascontiguousarray(shapes.end_um, dtype=np.float64),
        np.ascontiguousarray(shapes.axes_um, dtype=np.float64),
        np.ascontiguousarray(shapes.brightness, dtype=np.float64),
        np.asarray(spacing_um, dtype=np.float64),
        depth_um,
        light,
    )
    return depth_um, light


@compiled
def _rasterise(start_um, end_um, axes_um, brightness, spacing_um, depth_um, light):  # type: ignore[no-untyped-def]
    width, height, slices = depth_um.shape
    edge_um = spacing_um[0]
    for row in range(len(start_um)):
        ax, ay, az = axes_um[row]
        sx, sy, sz = start_um[row]
        dx, dy, dz = (end_um[row, 0] - sx) / ax, (end_um[row, 1] - sy) / ay, (end_um[row, 2] - sz) / az
        square = dx * dx + dy * dy + dz * dz
        thin_um = min(ax, ay)
        reach = 1.0 + edge_um / thin_um
        x0 = max(0, int(np.ceil((min(sx, end_um[row, 0]) - ax * reach) / spacing_um[0])))
        x1 = min(width, int(np.floor((max(sx, end_um[row, 0]) + ax * reach) / spacing_um[0])) + 1)
        y0 = max(0, int(np.ceil((min(sy, end_um[row, 1]) - ay * reach) / spacing_um[1])))
        y1 = min(height, int(np.floor((max(sy, end_um[row, 1]) + ay * reach) / spacing_um[1])) + 1)
        z0 = max(0, int(np.ceil((min(sz, end_um[row, 2]) - az * reach) / spacing_um[2])))
        z1 = min(slices, int(np.floor((max(sz, end_um[row, 2]) + az * reach) / spacing_um[2])) + 1)
        for i in range(x0, x1):
            x = (i * spacing_um[0] - sx) / ax
            for j in range(y0, y1):
                y = (j * spacing_um[1] - sy) / ay
                for k in range(z0, z1):
                    z = (k * spacing_um[2] - sz) / az
                    at = 0.0
                    if square > 0.0:
                        at = min(1.0, max(0.0, (x * dx + y * dy + z * dz) / square))
                    gx, gy, gz = x - at * dx, y - at * dy, z - at * dz
                    gap = gx * gx + gy * gy + gz * gz
                    if gap > reach * reach:
                        continue
                    deep_um = (1.0 - np.sqrt(gap)) * thin_um
                    depth_um[i, j, k] = max(depth_um[i, j, k], deep_um)
                    part = min(1.0, max(0.0, 0.5 + deep_um / edge_um))
                    light[i, j, k] = max(light[i, j, k], part * brightness[row])
