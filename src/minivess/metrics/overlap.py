"""Overlap of two masks: the Dice similarity coefficient (DSC)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def dsc(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient, ``2 TP / (|P| + |R|)``.

    TP is the number of voxels that both masks contain; |P| and |R| are the numbers of voxels of each. The score of empty masks
    is that of MetricsReloaded (Maier-Hein et al. 2024).

    Every voxel counts the same, so DSC is dominated by thick vessels. `cldice` weights vessels by their length.

    Args:
        prediction: Bool mask of any shape, e.g. (X, Y, Z).
        reference: Bool mask with the same shape.

    Returns:
        0 to 1; 1 if both masks are empty, 0 if one of them is.
    """
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * int(np.count_nonzero(prediction & reference)) / total if total else 1.0
