"""Baseline without labels: the network that ships with minivess, as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from minivess.data.array_store import StoredCase
from minivess.geometry import patch_for
from minivess.models.shipped import SHIPPED

_OVERLAP = 0.5


class PhantomNetwork:
    """Segments with the network that ships. It runs on the CPU, so that it needs no GPU memory that the plan has given."""

    meaning = "vessel probability of the network that ships with minivess, which has seen no label"

    def choose_level(self, cases: Sequence[StoredCase], progress: Callable[[int, int], None]) -> float:
        """Return a probability of one half. The training cases are not read: nothing is fitted to labels."""
        return 0.5

    def mask(self, case: StoredCase, level: float, progress: Callable[[int, int], None]) -> np.ndarray:
        """Return the mask (X, Y, Z) of 0 and 1: the voxels with at least this vessel probability."""
        from minivess.inference.predict_volume import predict_volume  # imports torch, which the command line must not
        from minivess.models.weights import load_network, read_saved

        found = predict_volume(
            load_network(SHIPPED),
            case.image,
            patch_for(read_saved(SHIPPED).network.patches, case.stats.shape[2]),
            _OVERLAP,
            normalise=case.stats.normalise,
            probabilities=True,
            progress=lambda share: progress(round(100 * share), 100),
        )
        return (found >= level).astype(np.uint8)
