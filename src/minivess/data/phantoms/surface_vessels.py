"""Large vessels that cross the whole field, with branches: pial arteries and veins, penetrating vessels, and sheets."""

from __future__ import annotations

import math

import numpy as np

from minivess.data.phantoms.rasteriser import Shapes
from minivess.data.phantoms.recipes import Recipe, log_uniform

_BRANCH_LEVELS = 2


def draw_surface_vessels(field_um: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> list[Shapes]:
    """Draw the large vessels and the sheets of a field.

    Args:
        field_um: Size of the field along X, Y, Z.
        recipe: Number, radii, tortuosity and the chance of sheets.
        rng: Source of all random numbers.
    """
    parts: list[Shapes] = []
    low, high = recipe.surface_vessels
    widest_um = 0.3 * float(field_um[:2].max())  # of a field that one vessel fills, nobody could say what it shows
    for _ in range(int(rng.integers(low, high + 1))):
        radius_um = min(log_uniform(rng, recipe.surface_radius_um), widest_um)
        through_um = rng.uniform(-0.1, 1.1, size=3) * field_um
        if rng.random() < recipe.penetrating:
            tilt = rng.normal(0.0, 0.3, size=2)
            direction = np.array([*tilt, 1.0])
        else:
            turn = rng.uniform(0, 2 * math.pi)
            direction = np.array([math.cos(turn), math.sin(turn), rng.normal(0.0, 0.08)])
        length_um = 1.5 * float(np.linalg.norm(field_um))
        direction /= np.linalg.norm(direction)
        bend = 0.05 * log_uniform(rng, recipe.tortuosity)
        begin_um = through_um - direction * length_um / 2
        parts += _branching(begin_um, direction, length_um, radius_um, bend, rng, _BRANCH_LEVELS)
    if rng.random() < recipe.sheets:
        parts.append(_sheet(field_um, rng))
    return parts


def _branching(
    begin_um: np.ndarray,
    direction: np.ndarray,
    length_um: float,
    radius_um: float,
    bend: float,
    rng: np.random.Generator,
    levels: int,
) -> list[Shapes]:
    """A curved vessel and its branches, each thinner than its parent."""
    at = np.linspace(0.0, 1.0, max(4, math.ceil(length_um / max(0.6 * radius_um, 4.0))) + 1)
    side = np.cross(direction, [0.0, 0.0, 1.0]) if abs(direction[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    side /= max(float(np.linalg.norm(side)), 1e-9)
    path_um = begin_um + np.outer(at * length_um, direction)
    for wave in (1, 2, 3, 5):
        size_um = rng.normal() * bend * length_um / wave
        path_um += np.outer(np.sin(np.pi * wave * at + rng.uniform(0, 2 * np.pi)) * size_um, side)
        path_um[:, 2] += 0.15 * size_um * np.sin(np.pi * wave * at + rng.uniform(0, 2 * np.pi))
    swell = rng.uniform(0.0, 0.2) * np.sin(np.pi * rng.uniform(2, 8) * at[:-1] + rng.uniform(0, 2 * np.pi))
    radii_um = radius_um * (1 + swell) * (1 - rng.uniform(0, 0.3) * at[:-1])
    bright = float(np.exp(rng.normal(0.0, 0.5)))
    flat = rng.uniform(0.6, 1.0)  # vessels at the surface are pressed flat
    axes_um = radii_um[:, None] * np.array([1.0, 1.0, flat])
    parts = [Shapes(path_um[:-1], path_um[1:], axes_um, np.full(len(axes_um), bright))]
    if levels == 0:
        return parts
    for _ in range(int(rng.integers(0, 4))):
        place = int(rng.integers(len(axes_um)))
        ahead = path_um[place + 1] - path_um[place]
        ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
        turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.5)
        turned = np.array(
            [
                ahead[0] * math.cos(turn) - ahead[1] * math.sin(turn),
                ahead[0] * math.sin(turn) + ahead[1] * math.cos(turn),
                ahead[2] + rng.normal(0.0, 0.15),
            ]
        )
        turned /= np.linalg.norm(turned)
        thinner_um = max(2.5, radii_um[place] * rng.uniform(0.2, 0.8))
        reach_um = length_um * rng.uniform(0.15, 0.6)
        parts += _branching(path_um[place], turned, reach_um, thinner_um, bend, rng, levels - 1)
    return parts


def _sheet(field_um: np.ndarray, rng: np.random.Generator) -> Shapes:
    """A flat patch of dye with a ragged edge: overlapping flat ellipsoids around one place."""
    count = int(rng.integers(3, 10))
    size_um = 0.2 * float(field_um[:2].mean()) * rng.uniform(0.4, 1.2)
    centre_um = rng.uniform(0, 1, size=3) * field_um + rng.normal(0, 1, size=(count, 3)) * size_um * [1, 1, 0.1]
    axes_um = size_um * rng.uniform(0.3, 1.0, size=(count, 3))
    axes_um[:, 2] = rng.uniform(2.0, 12.0, size=count)
    return Shapes.ellipsoids(centre_um, axes_um, np.exp(rng.normal(0.0, 0.4, size=count)))
