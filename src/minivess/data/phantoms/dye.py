"""How dye shows a vessel: bright walls, dark streaks of red cells, and light that blood absorbs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from minivess.data.phantoms.recipes import Recipe, log_uniform
from minivess.geometry import Spacing


def fill_with_dye(
    light: np.ndarray, depth_um: np.ndarray, spacing_um: Spacing, recipe: Recipe, rng: np.random.Generator
) -> None:
    """Change the light of vessels in place.

    Args:
        light: Brightness of the vessels, float32 ``(X, Y, Z)``.
        depth_um: Depth below the wall, as `rasterise` returns it.
        spacing_um: Voxel size along X, Y, Z.
        recipe: Chances and ranges.
        rng: Source of all random numbers.
    """
    if rng.random() < recipe.soft_wall:  # an optical section has less dye near the wall of a round vessel
        light *= 1.0 - 0.9 * np.exp(-np.maximum(depth_um, 0.0) / np.float32(log_uniform(rng, (0.5, 10.0))))
    if rng.random() < recipe.rim:
        rim_um, lumen = rng.uniform(1.0, 5.0), rng.uniform(0.25, 0.9)
        light *= lumen + (1 - lumen) * np.exp(-np.maximum(depth_um, 0.0) / np.float32(rim_um))
    if rng.random() < recipe.cell_shadows:
        light *= _streaks(light.shape, rng)
    _absorb(light, depth_um, spacing_um[2], log_uniform(rng, recipe.blood_absorption_um))


def _streaks(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Factor near 1, smooth along the scan line (X) and rough across it: red cells move while a line is scanned."""
    strength = rng.uniform(0.05, 0.35)
    rough = rng.standard_normal((shape[0] // 4 + 2, *shape[1:]), dtype=np.float32)
    rough = ndimage.uniform_filter1d(rough, int(rng.integers(1, 8)), axis=0)
    rough /= max(float(rough.std()), 1e-6)
    factor: np.ndarray = np.maximum(1.0 + strength * rough.repeat(4, axis=0)[: shape[0]], 0.05)
    return factor


def _absorb(light: np.ndarray, depth_um: np.ndarray, step_um: float, path_um: float) -> None:
    """Dim what lies below blood: the lower half of a large vessel, and the tissue in its shadow."""
    blood_um = np.cumsum(depth_um > 0, axis=2, dtype=np.float32)
    light *= np.exp(blood_um * np.float32(-step_um / path_um))
