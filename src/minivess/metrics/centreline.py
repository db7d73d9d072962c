"""The centreline of a mask, and clDice: how much of each centreline is inside the other mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.topology.lee_thinning import thin_as_scikit_image


def centreline(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Find the voxels of the mask's skeleton.

    The thinning is that of Lee, Kashyap and Chu 1994 in scikit-image (foreground 26-connected). It ignores the spacing.
    This implementation deletes some tiny blobs completely (a block of 2x2x2, a plate of 6x6x1). If nothing is left of
    the mask, all its voxels are its centreline, so that a perfect prediction still scores 1.

    Args:
        mask: (X, Y, Z) bool.

    Returns:
        Indices of the skeleton's voxels, (N, 3).
    """
    thin = thin_as_scikit_image(mask)
    return thin if len(thin) else np.argwhere(mask)


def centreline_dsc(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    prediction_centreline: NDArray[np.intp],
    reference_centreline: NDArray[np.intp],
) -> float:
    """Centreline Dice (Shit et al., CVPR 2021): harmonic mean of the shares of each centreline in the other mask.

    Args:
        prediction: (X, Y, Z) bool, not empty.
        reference: (X, Y, Z) bool, not empty.
        prediction_centreline: Indices (N, 3) of the centreline of ``prediction``.
        reference_centreline: Indices (N, 3) of the centreline of ``reference``.

    Returns:
        0 to 1; 0 if neither centreline touches the other mask.
    """
    precision = float(reference[tuple(prediction_centreline.T)].mean())
    sensitivity = float(prediction[tuple(reference_centreline.T)].mean())
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0
