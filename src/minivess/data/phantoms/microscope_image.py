"""Tubes on a voxel grid: their exact label, and the image that a two-photon microscope would record."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from minivess.data.phantoms.vessel_tree import Tubes

BLUR_UM = (0.6, 0.6, 2.5)
"""Standard deviation of the microscope's blur along X, Y and Z."""

VISIBLE_FLOOR = math.sqrt(3) / 2
"""Half the diagonal of a voxel, in voxels: every point of a centreline is this near to a voxel centre."""

HAZE_STEP_UM = 8.0
"""Distance between the samples of the background in plane."""

Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


def half_axes_um(radius_um: np.ndarray | float, spacing_um: Spacing) -> np.ndarray:
    """Half-axes ``(..., 3)`` that a tube is drawn with: its radius, but at least ``VISIBLE_FLOOR`` voxels on each axis.

    A vessel that is thin compared with the voxel size along one axis is widened along that axis only. It then touches
    every slice that it crosses, and its label stays connected, as an annotator would draw what the optical section
    shows.
    """
    return np.maximum(np.asarray(radius_um, dtype=np.float64)[..., None], VISIBLE_FLOOR * np.asarray(spacing_um))


def draw_tubes(tubes: Tubes, shape: Shape, spacing_um: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Draw tubes on a grid whose voxel ``(i, j, k)`` has its centre at ``(i, j, k) * spacing_um``.

    Args:
        tubes: The tubes, which may extend beyond the grid.
        shape: Voxels along X, Y and Z.
        spacing_um: Voxel size along X, Y and Z.

    Returns:
        The label, uint8 of that shape: 1 if the voxel centre is inside a tube or on its surface, else 0. The
        fluorescence, float32 of that shape: the brightness of the brightest tube, reduced if the tube is thinner than a
        voxel; 0 outside.
    """
    label = np.zeros(shape, dtype=np.uint8)
    fluorescence = np.zeros(shape, dtype=np.float32)
    spacing = np.asarray(spacing_um)
    axes_um = half_axes_um(tubes.radius_um, spacing_um)
    light = tubes.brightness * np.sqrt(np.prod(tubes.radius_um[:, None] / axes_um, axis=1))
    low = np.ceil((np.minimum(tubes.start_um, tubes.end_um) - axes_um) / spacing).astype(np.intp)
    high = np.floor((np.maximum(tubes.start_um, tubes.end_um) + axes_um) / spacing).astype(np.intp) + 1
    low, high = np.maximum(low, 0), np.minimum(high, shape)
    for row in np.flatnonzero((low < high).all(axis=1)):
        box = tuple(slice(a, b) for a, b in zip(low[row], high[row], strict=True))
        grid = [np.arange(s.start, s.stop) * step for s, step in zip(box, spacing_um, strict=True)]
        inside = _inside(grid, tubes.start_um[row], tubes.end_um[row], axes_um[row])
        label[box] |= inside
        np.maximum(fluorescence[box], inside * np.float32(light[row]), out=fluorescence[box])
    return label, fluorescence


def _inside(grid: list[np.ndarray], start_um: np.ndarray, end_um: np.ndarray, axes_um: np.ndarray) -> np.ndarray:
    """Whether each point of an open grid is within one half-axis of the line segment from start to end."""
    x, y, z = np.ix_(*((grid[k] - start_um[k]) / axes_um[k] for k in range(3)))
    along = (end_um - start_um) / axes_um
    square = float(along @ along)
    nearest = np.clip((x * along[0] + y * along[1] + z * along[2]) / (square or 1.0), 0.0, 1.0)
    gap = (x - nearest * along[0]) ** 2 + (y - nearest * along[1]) ** 2 + (z - nearest * along[2]) ** 2
    return gap <= 1.0


def take_image(
    fluorescence: np.ndarray,
    spacing_um: Spacing,
    rng: np.random.Generator,
    *,
    photons: float | None = None,
    haze: float = 1.0,
) -> np.ndarray:
    """Simulate the recorded image: blur, haze, uneven background, attenuation with depth, shot noise and read noise.

    Args:
        fluorescence: Brightness, near 1 in a vessel, float32 ``(X, Y, Z)``. It is overwritten with the blurred one.
        spacing_um: Voxel size along X, Y and Z.
        rng: Source of the exposure, the background and the noise.
        photons: Photons of a voxel of brightness 1; None draws a number from 10 to 25.
        haze: Factor for the background.

    Returns:
        The image, uint8 with the same shape. The first slice is nearest to the objective.
    """
    background = _background(fluorescence, spacing_um, rng)
    blur(fluorescence, spacing_um)
    drawn = rng.uniform(10.0, 25.0)
    photons = drawn if photons is None else photons
    grey_a_photon = rng.uniform(60.0, 110.0) / photons
    image = np.empty(fluorescence.shape, dtype=np.uint8)
    for depth, bright in enumerate(attenuation(fluorescence.shape[2], spacing_um[2])):
        veil = haze * _enlarge(background[:, :, depth], fluorescence.shape[:2])
        counts = rng.poisson(photons * bright * (fluorescence[:, :, depth] + veil))
        read_noise = rng.standard_normal(counts.shape, dtype=np.float32)
        image[:, :, depth] = np.clip(np.rint(counts * grey_a_photon + 2.0 * read_noise + 4.0), 0, 255)
    return image


def blur(fluorescence: np.ndarray, spacing_um: Spacing) -> None:
    """Blur in place with a Gaussian of ``BLUR_UM``, about four times longer along the optical axis than in plane."""
    sigma = [size / step for size, step in zip(BLUR_UM, spacing_um, strict=True)]
    ndimage.gaussian_filter(fluorescence, sigma, output=fluorescence, mode="nearest", truncate=3.0)


def attenuation(depth: int, spacing_z_um: float) -> np.ndarray:
    """Light that returns from every slice, 1 for the first slice: it falls by a factor of e every 110 µm.

    In a stack deeper than 143 µm it falls by a factor of e^1.3 from the first slice to the last, because the operator
    of a microscope raises the laser power for deep stacks.

    Args:
        depth: Number of slices.
        spacing_z_um: Distance between slices.
    """
    depth_um = np.arange(depth) * spacing_z_um
    return np.exp(-depth_um / max(110.0, depth_um[-1] / 1.3))


def _background(fluorescence: np.ndarray, spacing_um: Spacing, rng: np.random.Generator) -> np.ndarray:
    """Tissue glow and out-of-focus light, one coarse plane per slice (a sample every ``HAZE_STEP_UM`` in plane)."""
    step = [max(1, round(HAZE_STEP_UM / size)) for size in spacing_um[:2]]
    sparse = fluorescence[step[0] // 2 :: step[0], step[1] // 2 :: step[1]]
    coarse_um = np.array([step[0] * spacing_um[0], step[1] * spacing_um[1], spacing_um[2]])
    haze = ndimage.gaussian_filter(sparse, 15.0 / coarse_um, mode="nearest")
    glow = ndimage.gaussian_filter(rng.standard_normal(sparse.shape, dtype=np.float32), 30.0 / coarse_um, mode="wrap")
    glow = (glow - glow.mean()) * (0.7 / max(float(glow.std()), 1e-6))
    return 0.15 * np.exp(glow) + 0.8 * haze


def _enlarge(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factors = [want / have for want, have in zip(shape, plane.shape, strict=True)]
    return ndimage.zoom(plane, factors, order=1, mode="nearest", grid_mode=True)
