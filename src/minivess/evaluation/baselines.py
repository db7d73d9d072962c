"""Baselines: a threshold on a voxel score that is chosen on the training cases, and the network that ships.

The threshold is chosen on the known voxels of their labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from minivess.data.array_store import StoredCase
from minivess.evaluation.phantom_baseline import PhantomNetwork

Progress = Callable[[int, int], None]
"""Called after each slice with the number of finished and of all slices. Vesselness takes up to a second per slice."""

_VESSEL_SIGMAS_UM = (1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Baseline:
    """A voxel score and the thresholds ("levels") that may be chosen for it.

    Attributes:
        score: Function of a case and a slice index along Z. It returns a float32 array (X, Y); a higher score means
            that vessel is more likely.
        levels: The possible levels, ascending.
        meaning: What the number of a level means.
    """

    score: Callable[[StoredCase, int], np.ndarray]
    levels: np.ndarray
    meaning: str

    def choose_level(self, cases: Sequence[StoredCase], progress: Progress) -> float:
        """Return the level with the best mean Dice over ``cases``."""
        total = sum(case.image.shape[2] for case in cases)
        numbers = count(1)
        dice = [self._dice_by_level(case, lambda: progress(next(numbers), total)) for case in cases]
        return float(self.levels[np.mean(dice, axis=0).argmax()])

    def mask(self, case: StoredCase, level: float, progress: Progress) -> np.ndarray:
        """Return the mask (X, Y, Z) of 0 and 1, computed by slices so that no float copy of the volume is needed."""
        mask = np.empty(case.image.shape, dtype=np.uint8)
        for z in range(case.image.shape[2]):
            mask[:, :, z] = self.score(case, z) >= level
            progress(z + 1, case.image.shape[2])
        return mask

    def _dice_by_level(self, case: StoredCase, counted: Callable[[], None]) -> np.ndarray:
        """Return the Dice of every level. The voxels at or above each level are counted from two histograms."""
        edges = np.append(self.levels, np.inf)
        vessel, rest = np.zeros(len(self.levels)), np.zeros(len(self.levels))
        for z in range(case.image.shape[2]):
            score, label = self.score(case, z), case.label[:, :, z]
            vessel += np.histogram(score[label == 1], edges)[0]
            rest += np.histogram(score[label == 0], edges)[0]
            counted()
        true, false = (counts[::-1].cumsum()[::-1] for counts in (vessel, rest))
        return 2 * true / np.maximum(true + false + case.foreground.size, 1)


def _intensity(case: StoredCase, z: int) -> np.ndarray:
    return case.stats.normalise(case.image[:, :, z])


def _vesselness(case: StoredCase, z: int) -> np.ndarray:
    """Frangi vesselness (Frangi et al., MICCAI 1998) of bright ridges in plane, with scikit-image's default parameters.

    It is computed in plane because the slices of two-photon stacks are two to ten times farther apart than their
    voxels.
    """
    from skimage.filters import frangi

    sigmas = [sigma / case.stats.spacing_um[0] for sigma in _VESSEL_SIGMAS_UM]
    found: np.ndarray = frangi(_intensity(case, z), sigmas=sigmas, black_ridges=False, mode="reflect")
    return found


BASELINES: dict[str, Baseline | PhantomNetwork] = {
    "threshold": Baseline(
        _intensity, np.linspace(-2.0, 6.0, 401, dtype=np.float32), "standard deviations above the mean"
    ),
    "frangi": Baseline(_vesselness, np.geomspace(1e-5, 1.0, 401, dtype=np.float32), "vesselness"),
    "phantom": PhantomNetwork(),
}
