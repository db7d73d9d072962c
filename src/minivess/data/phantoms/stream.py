"""An endless stream of random phantoms: sample N depends on the recipe, the seed and N only, and none is seen twice."""

from __future__ import annotations

import numpy as np

from minivess.data.phantoms.capillary_bed import draw_capillaries
from minivess.data.phantoms.clutter import draw_clutter
from minivess.data.phantoms.detector import displace_slices, record
from minivess.data.phantoms.dye import fill_with_dye
from minivess.data.phantoms.optics import attenuate, blur, draw_blur, veil
from minivess.data.phantoms.rasteriser import Shapes, rasterise
from minivess.data.phantoms.recipes import Recipe, draw_grid
from minivess.data.phantoms.surface_vessels import draw_surface_vessels
from minivess.geometry import Shape, Spacing

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]

FIELD = 1.5
"""Size in plane of the field that is drawn, in patches. The patch is normalised by the intensities of the field."""

_ARRAYS = 14
"""Memory to draw one field, as a number of float32 arrays of its size. Measured: see docs/benchmarks/pretraining.md."""


class PhantomStream:
    """Batches of random patches of random phantoms, as `PatchSampler` gives them of cases.

    Args:
        recipe: What is drawn.
        patch: Patch size X, Y, Z in voxels.
        batch: Number of patches in a batch, each of another phantom.
        seed: Seed of all random numbers.
    """

    def __init__(self, recipe: Recipe, patch: Shape, *, batch: int, seed: int = 0) -> None:
        self._recipe = recipe
        self._patch = patch
        self._batch = batch
        self._seed = seed

    @property
    def bytes_per_sample(self) -> int:
        """Memory that one thread needs while it draws."""
        x, y, z = self._patch
        return int(_ARRAYS * 4 * FIELD**2 * x * y * (z + z // 2))

    def batch(self, step: int) -> Sample:
        """Return batch number ``step``: image float32, label uint8 and mask bool, each (B, 1, X, Y, Z)."""
        samples = [self.sample(step * self._batch + slot) for slot in range(self._batch)]
        image, label, mask = (np.stack(part)[:, None] for part in zip(*samples, strict=True))
        return image, label, mask

    def sample(self, number: int) -> Sample:
        """Draw sample ``number``: image, label and mask, each (X, Y, Z); mask is False below the last slice."""
        rng = np.random.default_rng((self._seed, number))
        x, y, z = self._patch
        grid = draw_grid(self._recipe, rng)
        slices = min(grid.slices, z + int(rng.integers(0, z // 2 + 1)))
        field = round(FIELD * x), round(FIELD * y), slices
        image, label = draw_field(field, grid.spacing_um, self._recipe, rng)
        image = _normalise(image)
        corner = [int(rng.integers(whole - size + 1)) for whole, size in zip(field[:2], (x, y), strict=True)]
        first = int(rng.integers(max(slices - z, 0) + 1))
        box = slice(corner[0], corner[0] + x), slice(corner[1], corner[1] + y), slice(first, first + z)
        return _turned(*_padded(image[box], label[box], z), rng)


def draw_field(
    shape: Shape, spacing_um: Spacing, recipe: Recipe, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one phantom.

    The label is what an annotator outlines: the vessels as wide and as deep as the optical section shows them.

    Args:
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z.
        recipe: What is drawn.
        rng: Source of all random numbers.

    Returns:
        Image, float32 from 0 to 1, and label, uint8 of 0 and 1, both of ``shape``.
    """
    field_um = np.array(shape) * spacing_um
    parts = draw_surface_vessels(field_um, recipe, rng)
    if rng.random() < recipe.capillaries or not parts:
        parts += draw_capillaries(field_um, spacing_um, recipe, rng)
    shapes, sigma_um = Shapes.joined(parts), draw_blur(recipe, rng)
    depth_um, light = rasterise(shapes, shape, spacing_um)
    label = (rasterise(shapes.seen_through(sigma_um), shape, spacing_um)[0] >= 0).astype(np.uint8)
    fill_with_dye(light, depth_um, spacing_um, recipe, rng)
    clutter = draw_clutter(shape, spacing_um, recipe, rng)
    haze = veil(light, spacing_um, recipe, rng)
    if clutter is not None:
        np.maximum(light, clutter, out=light)
    blur(light, spacing_um, sigma_um)
    light += haze
    attenuate(light, spacing_um[2], recipe, rng)
    displace_slices([light, label], recipe, rng)
    return record(light, recipe, rng), label


def _normalise(image: np.ndarray) -> np.ndarray:
    """Normalise as the volumes of a run are: clip to the 0.5 and 99.5 percentiles, subtract the mean, divide by the deviation."""
    low, high = np.percentile(image[::2, ::2], (0.5, 99.5))
    np.clip(image, low, high, out=image)
    image -= image.mean()
    image /= max(float(image.std()), 1e-6)
    return image


def _padded(image: np.ndarray, label: np.ndarray, slices: int) -> Sample:
    """Pad a volume with too few slices as the patch sampler does: edge values, no label, and a mask that is False there."""
    missing = slices - image.shape[2]
    mask = np.ones(label.shape, dtype=np.bool_)
    if missing <= 0:
        return image, label, mask
    padding = ((0, 0), (0, 0), (missing // 2, missing - missing // 2))
    return np.pad(image, padding, mode="edge"), np.pad(label, padding), np.pad(mask, padding)


def _turned(image: np.ndarray, label: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> Sample:
    """Mirror in plane, and along Z: some stacks are stored from the deepest slice up."""
    flips = tuple(slice(None, None, -1) if rng.random() < chance else slice(None) for chance in (0.5, 0.5, 0.3))
    parts = [np.ascontiguousarray(part[flips]) for part in (image, label, mask)]
    return parts[0], parts[1], parts[2]
