"""How much of a mask, and of its centreline, lies inside another mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize


def dsc(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Dice similarity coefficient, 2 TP / (|P| + |R|), of two bool masks of one shape; 1 where both are empty."""
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2 * int(np.count_nonzero(prediction & reference)) / total if total else 1.0


def centreline(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Voxels of the mask's skeleton, as indices of shape (N, 3).

    Thinning by Lee, Kashyap and Chu 1994 in scikit-image (foreground 26-connected), in voxels: it knows no spacing.
    That implementation deletes some tiny blobs altogether (a block of 2x2x2, a plate of 6x6x1); a mask of which nothing
    is left is taken as its own centreline, so that a perfect prediction of it still scores 1.
    """
    thin = np.argwhere(skeletonize(mask, method="lee"))
    return thin if len(thin) else np.argwhere(mask)


def centreline_dsc(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    prediction_centreline: NDArray[np.intp],
    reference_centreline: NDArray[np.intp],
) -> float:
    """Centreline Dice (Shit et al., CVPR 2021): harmonic mean of the shares of each centreline inside the other mask.

    Neither mask may be empty. Where the two never meet it is 0.
    """
    precision = float(reference[tuple(prediction_centreline.T)].mean())
    sensitivity = float(prediction[tuple(reference_centreline.T)].mean())
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0
