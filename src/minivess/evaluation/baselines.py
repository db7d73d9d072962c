"""What a network has to beat: a score of every voxel that is not learned, cut at the level that is best on the training cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from minivess.data.array_store import StoredCase

Progress = Callable[[int, int], None]
"""Called after each slice with slices done and slices in all: vesselness takes up to a second for one."""

_VESSEL_SIGMAS_UM = (1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class Baseline:
    """A score and where it may be cut.

    Attributes:
        score: Gives (X, Y) float32 for a slice (X, Y, Z index) of a case, more where vessel is likelier.
        levels: Ascending.
        meaning: Of a level, in words.
    """

    score: Callable[[StoredCase, int], np.ndarray]
    levels: np.ndarray
    meaning: str

    def choose_level(self, cases: Sequence[StoredCase], progress: Progress) -> float:
        """The level with the best mean Dice over ``cases``."""
        total = sum(case.image.shape[2] for case in cases)
        numbers = count(1)
        dice = [self._dice_by_level(case, lambda: progress(next(numbers), total)) for case in cases]
        return float(self.levels[np.mean(dice, axis=0).argmax()])

    def mask(self, case: StoredCase, level: float, progress: Progress) -> np.ndarray:
        """(X, Y, Z) mask of 0 and 1; slice by slice, so that no float copy of the volume is held."""
        mask = np.empty(case.image.shape, dtype=np.uint8)
        for z in range(case.image.shape[2]):
            mask[:, :, z] = self.score(case, z) >= level
            progress(z + 1, case.image.shape[2])
        return mask

    def _dice_by_level(self, case: StoredCase, counted: Callable[[], None]) -> np.ndarray:
        """Dice at every level at once: voxels at or above a level, counted from two histograms."""
        edges = np.append(self.levels, np.inf)
        vessel, rest = np.zeros(len(self.levels)), np.zeros(len(self.levels))
        for z in range(case.image.shape[2]):
            score, label = self.score(case, z), case.label[:, :, z] != 0
            vessel += np.histogram(score[label], edges)[0]
            rest += np.histogram(score[~label], edges)[0]
            counted()
        true, false = (counts[::-1].cumsum()[::-1] for counts in (vessel, rest))
        return 2 * true / np.maximum(true + false + case.foreground.size, 1)


def _intensity(case: StoredCase, z: int) -> np.ndarray:
    return case.stats.normalise(case.image[:, :, z])


def _vesselness(case: StoredCase, z: int) -> np.ndarray:
    """Frangi et al. (MICCAI 1998) in plane, bright ridges, with scikit-image's own parameters.

    In plane, because the slices of two-photon stacks lie two to ten times as far apart as their voxels.
    """
    from skimage.filters import frangi

    sigmas = [sigma / case.stats.spacing_um[0] for sigma in _VESSEL_SIGMAS_UM]
    found: np.ndarray = frangi(_intensity(case, z), sigmas=sigmas, black_ridges=False, mode="reflect")
    return found


BASELINES = {
    "threshold": Baseline(
        _intensity, np.linspace(-2.0, 6.0, 401, dtype=np.float32), "standard deviations above the mean"
    ),
    "frangi": Baseline(_vesselness, np.geomspace(1e-5, 1.0, 401, dtype=np.float32), "vesselness"),
}
