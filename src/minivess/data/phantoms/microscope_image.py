"""Tubes on a voxel grid: the label that is true of them, and the image a two-photon microscope would take of them."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from minivess.data.phantoms.vessel_tree import Tubes

BLUR_UM = (0.6, 0.6, 2.5)
VISIBLE_FLOOR = (
    math.sqrt(3) / 2
)  # half a voxel's diagonal: every point of a centreline is then this near to a voxel centre
HAZE_STEP_UM = 8.0

Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


def half_axes_um(radius_um: np.ndarray | float, spacing_um: Spacing) -> np.ndarray:
    """Half-axes ``(..., 3)`` a tube is drawn with: its radius, but no less than ``VISIBLE_FLOOR`` voxels.

    A vessel thinner than the voxel is long is stretched along that axis alone. It then touches every slice it runs
    between and its label stays connected, as an annotator would draw what the optical section shows.
    """
    return np.maximum(np.asarray(radius_um, dtype=np.float64)[..., None], VISIBLE_FLOOR * np.asarray(spacing_um))


def draw_tubes(tubes: Tubes, shape: Shape, spacing_um: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Draw tubes on a grid whose voxel ``(i, j, k)`` has its centre at ``(i, j, k) * spacing_um``.

    Returns:
        The label, uint8 ``shape``: 1 where the voxel centre lies inside a tube or on its surface, and the fluorescence,
        float32 ``shape``: the brightest tube there, dimmed where the tube is thinner than a voxel; 0 outside.
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
    """Whether each point of an open grid lies within one half-axis of the straight line from start to end."""
    x, y, z = np.ix_(*((grid[k] - start_um[k]) / axes_um[k] for k in range(3)))
    along = (end_um - start_um) / axes_um
    square = float(along @ along)
    nearest = np.clip((x * along[0] + y * along[1] + z * along[2]) / (square or 1.0), 0.0, 1.0)
    gap = (x - nearest * along[0]) ** 2 + (y - nearest * along[1]) ** 2 + (z - nearest * along[2]) ** 2
    return gap <= 1.0


def take_image(fluorescence: np.ndarray, spacing_um: Spacing, rng: np.random.Generator) -> np.ndarray:
    """What the microscope records: blur, haze and uneven background, dimming with depth, shot and read noise.

    Args:
        fluorescence: Brightness of what is there, near 1 in a vessel, float32 ``(X, Y, Z)``. Overwritten with its blur.
        spacing_um: Voxel size.
        rng: Source of the exposure, of the background and of the noise.

    Returns:
        uint8 of the same shape; the first slice is the one nearest to the objective.
    """
    background = _background(fluorescence, spacing_um, rng)
    blur(fluorescence, spacing_um)
    photons = rng.uniform(10.0, 25.0)
    grey_a_photon = rng.uniform(60.0, 110.0) / photons
    image = np.empty(fluorescence.shape, dtype=np.uint8)
    for depth, bright in enumerate(attenuation(fluorescence.shape[2], spacing_um[2])):
        haze = _enlarge(background[:, :, depth], fluorescence.shape[:2])
        counts = rng.poisson(photons * bright * (fluorescence[:, :, depth] + haze))
        read_noise = rng.standard_normal(counts.shape, dtype=np.float32)
        image[:, :, depth] = np.clip(np.rint(counts * grey_a_photon + 2.0 * read_noise + 4.0), 0, 255)
    return image


def blur(fluorescence: np.ndarray, spacing_um: Spacing) -> None:
    """Blur in place by a Gaussian of ``BLUR_UM``, four times longer along the optical axis than in plane."""
    sigma = [size / step for size, step in zip(BLUR_UM, spacing_um, strict=True)]
    ndimage.gaussian_filter(fluorescence, sigma, output=fluorescence, mode="nearest", truncate=3.0)


def attenuation(depth: int, spacing_z_um: float) -> np.ndarray:
    """Light that comes back from every slice, 1 from the first: it falls by e in 90 µm.

    In a stack deeper than 135 µm it falls by e^1.5 from first slice to last, as the operator raises the laser power.
    """
    depth_um = np.arange(depth) * spacing_z_um
    return np.exp(-depth_um / max(110.0, depth_um[-1] / 1.3))


def _background(fluorescence: np.ndarray, spacing_um: Spacing, rng: np.random.Generator) -> np.ndarray:
    """Tissue glow and out-of-focus light, coarse in plane (a sample every ``HAZE_STEP_UM``), one plane a slice."""
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
