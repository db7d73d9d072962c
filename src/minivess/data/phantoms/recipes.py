"""Recipes: the ranges from which a random phantom draws its voxel size, vessels, optics, clutter and detector.

The idea is that of domain randomisation: a network that has seen more variety than any one microscope gives treats the
user's microscope as one more variation (Tobin et al. 2017; for vessels, vesselFM, Wittmann et al. 2025, and VesselSim,
arXiv:2605.26277). Ranges are wider than real ones on purpose.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from minivess.data.dataset_profile import DatasetProfile
from minivess.errors import ConfigError
from minivess.geometry import Spacing
from minivess.settings import Settings
from minivess.suggestions import unknown

Range = tuple[float, float]
Chance = Annotated[float, Field(ge=0, le=1)]


class Grid(Settings):
    """Voxel size and depth of a volume that phantoms imitate."""

    spacing_um: Spacing
    slices: int


class Recipe(Settings):
    """Ranges of a random phantom. Sizes are drawn evenly on a logarithmic scale, other values evenly."""

    name: str
    # Grid
    spacing_xy_um: Range = Field(default=(0.3, 3.0), description="voxel size in plane in micrometre")
    spacing_z_um: Range = Field(default=(1.0, 7.0), description="distance of the slices in micrometre")
    slices: tuple[int, int] = Field(default=(5, 40), description="number of slices of a volume")
    grids: tuple[Grid, ...] = Field(default=(), description="draw voxel size and depth around one of these instead")
    # Vessels
    capillaries: Chance = Field(default=0.85, description="chance of a capillary bed")
    bed_scale: Range = Field(default=(0.7, 2.0), description="size of the mesh of capillaries; 1 is mouse cortex")
    flatness: Range = Field(default=(0.25, 1.0), description="size of the mesh along Z; below 1, vessels run in plane")
    kept_vessels: Range = Field(default=(0.4, 1.0), description="share of the vessels of the bed that are drawn")
    capillary_width: Range = Field(default=(0.7, 1.7), description="factor of the radii of the bed")
    irregularity: Range = Field(default=(0.0, 0.3), description="change of the radius along a vessel, as a share")
    tortuosity: Range = Field(default=(0.3, 3.0), description="factor of the bends of vessels")
    surface_vessels: tuple[int, int] = Field(default=(0, 3), description="number of large vessels with branches")
    surface_radius_um: Range = Field(default=(6.0, 60.0), description="radius of large vessels in micrometre")
    penetrating: Chance = Field(default=0.2, description="chance that a large vessel runs along Z")
    sheets: Chance = Field(default=0.12, description="chance of flat, plaque-like sheets of dye")
    # Dye
    soft_wall: Chance = Field(default=0.7, description="chance that vessels are brighter in the middle")
    rim: Chance = Field(default=0.25, description="chance that vessel walls are brighter than the lumen")
    cell_shadows: Chance = Field(default=0.5, description="chance of dark streaks of red cells inside vessels")
    beads: Chance = Field(default=0.5, description="chance of beaded or broken dye along capillaries")
    blood_absorption_um: Range = Field(default=(40.0, 400.0), description="path in blood that dims light by a factor e")
    # Optics
    psf_xy_um: Range = Field(default=(0.3, 2.0), description="standard deviation of the blur in plane in micrometre")
    psf_z_um: Range = Field(
        default=(1.0, 5.0), description="standard deviation of the blur along Z, at least that in plane"
    )
    attenuation_um: Range = Field(default=(60.0, 600.0), description="depth that dims light by a factor e")
    haze: Range = Field(default=(0.01, 0.5), description="out-of-focus light, as a share of the vessels' light")
    leak: Chance = Field(default=0.2, description="chance of clouds of leaked dye")
    # Clutter
    background: Range = Field(default=(0.01, 0.25), description="brightness of tissue; a vessel has about 1")
    texture: Range = Field(default=(0.1, 0.9), description="strength of the texture of the tissue")
    debris: Chance = Field(default=0.4, description="chance of bright small particles")
    cells: Chance = Field(default=0.3, description="chance of dim cell bodies")
    # Detector
    photons: Range = Field(default=(8.0, 600.0), description="photons of a voxel of brightness 1")
    read_noise: Range = Field(default=(0.001, 0.03), description="read noise; a vessel has a brightness of about 1")
    smoothed_noise: Chance = Field(default=0.7, description="chance that the noise was smoothed, as denoising does")
    motion: Chance = Field(default=0.15, description="chance that slices are displaced")
    stripes: Chance = Field(default=0.25, description="chance of bright and dark scan lines or stitched fields")
    saturation: Chance = Field(default=0.35, description="chance that bright vessels exceed the range of the detector")
    dark_offset: Chance = Field(default=0.25, description="chance that dark voxels are cut to zero")
    inverted: Chance = Field(default=0.03, description="chance of dark vessels on bright tissue")


RECIPES = {
    "broad": Recipe(name="broad"),
    "clean": Recipe(
        name="clean",
        sheets=0.0, leak=0.0, debris=0.0, cells=0.0, motion=0.0, stripes=0.0, inverted=0.0,
        rim=0.0, soft_wall=0.0, cell_shadows=0.0, photons=(30.0, 300.0), haze=(0.01, 0.1),
    ),
}  # fmt: skip
"""``broad`` is for any two-photon volume; ``clean`` has vessels, blur and noise only, to see what the rest contributes."""

_JITTER = 1.25
"""A voxel size or depth around that of a real volume is within this factor of it."""


def find_recipe(name: str, profile: DatasetProfile | None = None) -> Recipe:
    """Return a recipe by its name.

    Args:
        name: A key of ``RECIPES``.
        profile: Draw voxel sizes and depths around those of this data set.

    Raises:
        ConfigError: There is no recipe of this name, or the data set has no readable volume.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    if profile is None:
        return RECIPES[name]
    grids = tuple(Grid(spacing_um=volume.spacing_um, slices=volume.shape[2]) for volume in profile.volumes)
    if not grids:
        raise ConfigError(
            "a data set with at least one readable volume",
            f"none in {profile.folder}",
            "run `minivess profile` on it to see what is wrong, or leave --around out",
        )
    return RECIPES[name].model_copy(update={"grids": grids})


def draw_grid(recipe: Recipe, rng: np.random.Generator) -> Grid:
    """Draw voxel size and number of slices. Voxels are never finer along Z than in plane, up to rounding."""
    if recipe.grids:
        near = recipe.grids[rng.integers(len(recipe.grids))]
        in_plane, along, depth = np.exp(rng.uniform(-1, 1, size=3) * np.log(_JITTER))
        x, y, z = near.spacing_um
        return Grid(
            spacing_um=(x * in_plane, y * in_plane, z * along), slices=max(2, round(near.slices * float(depth)))
        )
    size = log_uniform(rng, recipe.spacing_xy_um)
    z_um = max(size, log_uniform(rng, recipe.spacing_z_um))
    return Grid(spacing_um=(size, size, z_um), slices=round(log_uniform(rng, recipe.slices)))


def grid_range(recipe: Recipe) -> tuple[Spacing, Spacing]:
    """Return the smallest and the largest voxel size along X, Y and Z that a recipe draws, in micrometre."""
    if recipe.grids:
        axes = list(zip(*(grid.spacing_um for grid in recipe.grids), strict=True))
        low, high = ([pick(axis) for axis in axes] for pick in (min, max))
    else:
        low, high = ([pair[side] for pair in _axes(recipe)] for side in (0, 1))
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _axes(recipe: Recipe) -> tuple[Range, Range, Range]:
    return recipe.spacing_xy_um, recipe.spacing_xy_um, recipe.spacing_z_um


def log_uniform(rng: np.random.Generator, between: tuple[float, float]) -> float:
    """Draw a number evenly on a logarithmic scale."""
    return float(np.exp(rng.uniform(*np.log(between))))
