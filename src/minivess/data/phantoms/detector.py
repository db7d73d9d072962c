"""The detector and the scan: photon and read noise, gain, saturation, stripes, displaced slices, inverted contrast."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from minivess.data.phantoms.recipes import Recipe, log_uniform

_SATURATED, _UNSATURATED = (1.0, 2.5), (0.2, 1.0)
"""Grey value of bright vessels, as a share of the range of the detector."""


def displace_slices(parts: list[np.ndarray], recipe: Recipe, rng: np.random.Generator) -> None:
    """Shift slices in plane in place, the same way in all ``parts``: the animal moved between two slices."""
    if rng.random() >= recipe.motion:
        return
    reach = rng.uniform(0.5, 3.0)
    for k in range(parts[0].shape[2]):
        if rng.random() < 0.5:
            shift = tuple(int(value) for value in np.rint(rng.normal(0, reach, size=2)))
            for part in parts:
                part[:, :, k] = np.roll(part[:, :, k], shift, axis=(0, 1))


def record(light: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Record the light of a field.

    Args:
        light: Brightness, near 1 in a vessel, float32 ``(X, Y, Z)``; it is overwritten.
        recipe: Ranges.
        rng: Source of all random numbers.

    Returns:
        Grey values, float32 with that shape, in steps of the detector (8, 12 or 16 bits), scaled to 0 to 1.
    """
    if rng.random() < recipe.stripes:
        _add_stripes(light, rng)
    image = _count_photons(light, log_uniform(rng, recipe.photons), recipe, rng)
    bright = float(np.percentile(image[::3, ::3], 99.8))
    gain = rng.uniform(*(_SATURATED if rng.random() < recipe.saturation else _UNSATURATED))
    image *= np.float32(gain / max(bright, 1e-6))
    offset = rng.uniform(0.0, 0.06)
    if rng.random() < recipe.dark_offset:
        offset = -float(np.percentile(image[::3, ::3], rng.uniform(5, 60)))
    image += np.float32(offset)
    levels = float(rng.choice([255, 255, 4095, 65535]))
    np.clip(image, 0.0, 1.0, out=image)
    np.rint(image * np.float32(levels), out=image)
    image /= np.float32(levels)
    if rng.random() < 0.3:
        np.power(image, np.float32(rng.uniform(0.6, 1.5)), out=image)
    if rng.random() < recipe.inverted:
        np.subtract(1.0, image, out=image)
    return image


def _count_photons(light: np.ndarray, photons: float, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Add shot noise and read noise.

    The square root of a Poisson number has a nearly constant deviation of 1/2 (Anscombe 1948). Drawing it there takes
    a fifth of the time of Poisson numbers, and keeps mean, deviation and skewness.
    """
    noise = rng.standard_normal(light.shape, dtype=np.float32)
    if rng.random() < recipe.smoothed_noise:
        for axis, most in enumerate((2.0, 1.0, 0.5)):
            sigma = rng.uniform(0.0, most)
            if sigma > 0.25:
                ndimage.gaussian_filter1d(noise, sigma, axis=axis, output=noise, truncate=3.0)
        noise *= np.float32(rng.uniform(0.2, 0.8)) / max(float(noise[::4, ::4].std()), 1e-6)
    read = log_uniform(rng, recipe.read_noise)
    root = np.sqrt(np.maximum(light, 0.0) * np.float32(photons) + np.float32(0.375 + (read * photons) ** 2))
    root += 0.5 * noise
    np.square(root, out=root)
    root -= np.float32(0.375 + (read * photons) ** 2)
    root /= np.float32(photons)
    return root


def _add_stripes(light: np.ndarray, rng: np.random.Generator) -> None:
    """Bright and dark scan lines, or two stitched fields with different brightness."""
    if rng.random() < 0.6:
        lines = 1 + rng.uniform(0.02, 0.15) * rng.standard_normal((1, *light.shape[1:]), dtype=np.float32)
        light *= np.maximum(lines, 0.1)
    else:
        place, axis = int(rng.integers(light.shape[0])), int(rng.integers(2))
        side = light[place:] if axis == 0 else light[:, place:]
        side *= np.float32(rng.uniform(0.5, 1.6))
