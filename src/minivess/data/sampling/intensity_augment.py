"""Random augmentation that keeps the meaning of a patch: mirroring and changes of intensity.

All random numbers come from one generator. Rates and ranges follow nnU-Net (Isensee et al. 2021).
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d


def draw_flips(rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """Draw an index that mirrors each axis with a probability of one half."""
    x, y, z = (slice(None, None, -1) if rng.random() < 0.5 else slice(None) for _ in range(3))
    return x, y, z


def change_intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply noise, in-plane blur, brightness, contrast, lower in-plane resolution and gamma, each at its own rate.

    Args:
        image: Normalised patch (X, Y, Z), float32; it is overwritten. Fastest if X is its fastest axis in memory.
        rng: Source of all random numbers.

    Returns:
        The changed patch, with the same axis order in memory.
    """
    if rng.random() < 0.1:
        noise = rng.standard_normal(image.size, np.float32)
        noise *= np.float32(np.sqrt(rng.uniform(0.0, 0.1)))
        image += noise.reshape(image.shape, order="F")
    if rng.random() < 0.2:
        sigma = rng.uniform(0.5, 1.0)
        for axis in (0, 1):
            gaussian_filter1d(image, sigma, axis=axis, output=image)
    if rng.random() < 0.15:
        image *= np.float32(rng.uniform(0.75, 1.25))
    if rng.random() < 0.15:
        _contrast(image, float(rng.uniform(0.75, 1.25)))
    if rng.random() < 0.125:
        image = _lower_resolution(image, float(rng.uniform(0.5, 1.0)))
    if rng.random() < 0.3:
        _gamma(image, float(rng.uniform(0.7, 1.5)))
    return image


def _contrast(image: np.ndarray, factor: float) -> None:
    """Scale the intensities about their mean, then clip them to their previous range."""
    low, high, mean = image.min(), image.max(), image.mean()
    image -= mean
    image *= np.float32(factor)
    image += mean
    np.clip(image, low, high, out=image)


def _lower_resolution(image: np.ndarray, share: float) -> np.ndarray:
    """Reduce each in-plane axis to ``share`` of its voxels (nearest voxel), then enlarge it again (linear)."""
    turned = image.T
    for axis in (1, 2):
        size = turned.shape[axis]
        coarse = max(round(size * share), 1)
        picked = turned.take(((np.arange(coarse) + 0.5) * (size / coarse)).astype(np.intp), axis=axis)
        place = np.clip((np.arange(size) + 0.5) * (coarse / size) - 0.5, 0, coarse - 1)
        before = place.astype(np.intp)
        part = (place - before).astype(np.float32).reshape(-1, *(1,) * (2 - axis))
        turned = picked.take(before, axis=axis)
        rise = picked.take(np.minimum(before + 1, coarse - 1), axis=axis)
        rise -= turned
        rise *= part
        turned += rise
    return turned.T


def _gamma(image: np.ndarray, gamma: float) -> None:
    """Apply a gamma curve between the extreme intensities, then restore mean and standard deviation."""
    low, span = image.min(), np.ptp(image)
    if span == 0:
        return
    mean, std = image.mean(), image.std()
    image -= low
    image /= span
    np.power(image, np.float32(gamma), out=image)
    image -= image.mean()
    image *= std / max(float(image.std()), 1e-6)
    image += mean
