"""The optics of a two-photon microscope: blur that is elongated along Z, attenuation with depth, haze and leaked dye."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from minivess.data.phantoms.recipes import Recipe, log_uniform
from minivess.geometry import Spacing

_COARSE_UM = 8.0
"""Distance in plane of the samples of smooth fields, unless that is less than two voxels."""


def draw_blur(recipe: Recipe, rng: np.random.Generator) -> Spacing:
    """Draw the standard deviation of the blur along X, Y and Z in micrometre. It is at least as large along Z."""
    in_plane_um = log_uniform(rng, recipe.psf_xy_um)
    return in_plane_um, in_plane_um, max(in_plane_um, log_uniform(rng, recipe.psf_z_um))


def blur(light: np.ndarray, spacing_um: Spacing, sigma_um: Spacing) -> None:
    """Blur in place with a Gaussian."""
    for axis, (size_um, step_um) in enumerate(zip(sigma_um, spacing_um, strict=True)):
        if size_um > 0.2 * step_um:
            ndimage.gaussian_filter1d(light, size_um / step_um, axis=axis, output=light, mode="nearest", truncate=3.0)


def attenuate(light: np.ndarray, step_um: float, recipe: Recipe, rng: np.random.Generator) -> None:
    """Dim in place with depth. The first slice is nearest to the objective; it need not be at the surface."""
    depth_um = np.arange(light.shape[2], dtype=np.float32) * step_um
    light *= np.exp(-depth_um / np.float32(log_uniform(rng, recipe.attenuation_um)))


def veil(light: np.ndarray, spacing_um: Spacing, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Smooth light that no vessel in focus gives: tissue, out-of-focus vessels, leaked dye, uneven illumination.

    Args:
        light: Brightness of the vessels, float32 ``(X, Y, Z)``; read only.
        spacing_um: Voxel size along X, Y, Z.
        recipe: Ranges.
        rng: Source of all random numbers.

    Returns:
        Brightness to add, float32, as large as ``light``.
    """
    step = [max(2, round(_COARSE_UM / size)) for size in spacing_um[:2]]
    sparse = light[step[0] // 2 :: step[0], step[1] // 2 :: step[1]]
    coarse_um = np.array([step[0] * spacing_um[0], step[1] * spacing_um[1], spacing_um[2]])
    smooth = _smooth_noise(sparse.shape, coarse_um, log_uniform(rng, (10.0, 120.0)), rng)
    total = log_uniform(rng, recipe.background) * np.exp(rng.uniform(*recipe.texture) * smooth)
    far_um = log_uniform(rng, (8.0, 60.0))
    total += log_uniform(rng, recipe.haze) * ndimage.gaussian_filter(sparse, far_um / coarse_um, mode="nearest")
    if rng.random() < recipe.leak:
        clouds = _smooth_noise(sparse.shape, coarse_um, log_uniform(rng, (8.0, 40.0)), rng)
        total += rng.uniform(0.1, 0.8) * np.maximum(clouds - rng.uniform(0.5, 1.5), 0.0)
    near_surface = rng.random() < 0.15
    if near_surface:  # dye and light above the first slices
        depth_um = np.arange(light.shape[2]) * spacing_um[2]
        total += rng.uniform(0.1, 0.6) * np.exp(-depth_um / rng.uniform(4.0, 20.0)) * np.exp(0.5 * smooth)
    zoom = [want / have for want, have in zip(light.shape, total.shape, strict=True)]
    enlarged: np.ndarray = ndimage.zoom(
        total.astype(np.float32), zoom, order=1, mode="nearest", grid_mode=True, output=np.float32
    )
    return enlarged


def _smooth_noise(shape: tuple[int, ...], step_um: np.ndarray, size_um: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with mean 0 and deviation 1 that changes over ``size_um``."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), size_um / step_um, mode="nearest")
    noise -= noise.mean()
    noise /= max(float(noise.std()), 1e-6)
    return np.clip(noise, -3.0, 3.0)
