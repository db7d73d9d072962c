"""The baseline that a network has to beat: one intensity threshold, chosen on the training cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minivess.data.store import StoredCase

_LEVELS = np.linspace(-2.0, 6.0, 401, dtype=np.float32)


def choose_threshold(cases: Sequence[StoredCase]) -> float:
    """The threshold on normalised intensity with the best mean Dice over ``cases``; bright is vessel."""
    return float(_LEVELS[np.mean([_dice_by_level(case) for case in cases], axis=0).argmax()])


def apply_threshold(case: StoredCase, threshold: float) -> np.ndarray:
    """(X, Y, Z) mask of 0 and 1; slice by slice, so that no float copy of the volume is held."""
    mask = np.empty(case.image.shape, dtype=np.uint8)
    for z in range(case.image.shape[2]):
        mask[:, :, z] = case.stats.normalise(case.image[:, :, z]) >= threshold
    return mask


def _dice_by_level(case: StoredCase) -> np.ndarray:
    """Dice at every level at once: voxels at or above a level, counted from two histograms."""
    edges = np.append(_LEVELS, np.inf)
    vessel, rest = np.zeros(len(_LEVELS)), np.zeros(len(_LEVELS))
    for z in range(case.image.shape[2]):
        intensity, label = case.stats.normalise(case.image[:, :, z]), case.label[:, :, z] != 0
        vessel += np.histogram(intensity[label], edges)[0]
        rest += np.histogram(intensity[~label], edges)[0]
    true, false = (counts[::-1].cumsum()[::-1] for counts in (vessel, rest))
    return 2 * true / np.maximum(true + false + case.foreground.size, 1)
