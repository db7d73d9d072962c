"""A random view of a capillary bed: the vessel tree in another size, density, width, tortuosity and regularity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minivess.data.phantoms.rasteriser import Shapes
from minivess.data.phantoms.recipes import Recipe, log_uniform
from minivess.data.phantoms.vessel_tree import JUNCTION_SPACING_UM, Tubes, grow_network, trace_tubes
from minivess.geometry import Spacing

_MOST_JUNCTIONS = 1500
"""A larger field shows a larger mesh, because growing a network takes time for each junction."""


def draw_capillaries(
    field_um: np.ndarray, spacing_um: Spacing, recipe: Recipe, rng: np.random.Generator
) -> list[Shapes]:
    """Draw the capillaries of a field: a random part of a network, turned and mirrored at random."""
    flat = np.array([1.0, 1.0, log_uniform(rng, recipe.flatness)])
    junctions = float(np.prod(field_um / flat)) / JUNCTION_SPACING_UM**3
    scale = max(log_uniform(rng, recipe.bed_scale), (junctions / _MOST_JUNCTIONS) ** (1 / 3))
    tissue_um = field_um / (scale * flat) + 2 * JUNCTION_SPACING_UM
    network = grow_network(tissue_um, rng)
    kept = rng.random(len(network.vessels)) < rng.uniform(*recipe.kept_vessels)
    network = replace(
        network,
        vessels=network.vessels[kept],
        radius_um=network.radius_um[kept],
        brightness=network.brightness[kept],
    )
    if not kept.any():
        return []
    tubes = trace_tubes(network, rng, piece_um=2 * min(spacing_um) / scale, wiggle=log_uniform(rng, recipe.tortuosity))
    width = log_uniform(rng, recipe.capillary_width)
    uneven = rng.uniform(*recipe.irregularity) * rng.standard_normal(len(tubes.radius_um))
    uneven = np.convolve(uneven, np.ones(6) / 6**0.5, mode="same")
    tubes = Tubes(
        (tubes.start_um - JUNCTION_SPACING_UM) * scale * flat,
        (tubes.end_um - JUNCTION_SPACING_UM) * scale * flat,
        tubes.radius_um * width * np.exp(uneven),
        tubes.brightness,
    )
    return [Shapes.of_tubes(_beaded(tubes, recipe, rng), spacing_um)]


def _beaded(tubes: Tubes, recipe: Recipe, rng: np.random.Generator) -> Tubes:
    """Uneven dye along capillaries: bright beads, and pieces that carry hardly any dye."""
    if rng.random() >= recipe.beads:
        return tubes
    beads = np.exp(rng.uniform(0.1, 0.7) * rng.standard_normal(len(tubes.brightness)))
    empty = rng.random(len(beads)) < rng.uniform(0.0, 0.15)
    return replace(tubes, brightness=tubes.brightness * np.where(empty, 0.15, beads))
