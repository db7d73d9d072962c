"""What shines and is no vessel: bright particles, cell bodies, and fine texture of the tissue."""

from __future__ import annotations

import numpy as np

from minivess.data.phantoms.rasteriser import Shapes, rasterise
from minivess.data.phantoms.recipes import Recipe, log_uniform
from minivess.geometry import Shape, Spacing


def draw_clutter(shape: Shape, spacing_um: Spacing, recipe: Recipe, rng: np.random.Generator) -> np.ndarray | None:
    """Draw particles and cells.

    Returns:
        Brightness to add, float32 of ``shape``; None if there are none.
    """
    field_um = np.array(shape) * spacing_um
    parts = []
    if rng.random() < recipe.debris:
        size_um = log_uniform(rng, (0.7, 3.5))
        parts.append(_scattered(field_um, spacing_um, size_um, log_uniform(rng, (3, 80)), (0.3, 3.0), rng))
    if rng.random() < recipe.cells:
        size_um = log_uniform(rng, (3.5, 8.0))
        parts.append(_scattered(field_um, spacing_um, size_um, log_uniform(rng, (3, 60)), (0.03, 0.5), rng))
    return rasterise(Shapes.joined(parts), shape, spacing_um)[1] if parts else None


def _scattered(
    field_um: np.ndarray,
    spacing_um: Spacing,
    size_um: float,
    count: float,
    bright: tuple[float, float],
    rng: np.random.Generator,
) -> Shapes:
    """About ``count`` ellipsoids, in clusters."""
    number = max(1, int(rng.poisson(count)))
    nests = rng.uniform(0, 1, size=(max(1, number // 3), 3)) * field_um
    centre_um = nests[rng.integers(len(nests), size=number)] + rng.normal(0, 3.0, size=(number, 3)) * size_um
    wanted_um = size_um * np.exp(rng.normal(0, 0.3, size=(number, 3)))
    axes_um = np.maximum(wanted_um, 0.6 * np.asarray(spacing_um))
    light = log_uniform(rng, bright) * np.exp(rng.normal(0, 0.5, size=number)) * np.sqrt((wanted_um / axes_um).prod(1))
    return Shapes.ellipsoids(centre_um, axes_um, light)
