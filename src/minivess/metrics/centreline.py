"""Centrelines of a mask, and clDice: how much of each centreline is inside the other mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minivess.topology.lee_thinning import thin_as_scikit_image
from minivess.topology.packed import indices, pack
from minivess.topology.thinning import thin


def centreline(mask: NDArray[np.bool_], spacing_um: Sequence[float]) -> NDArray[np.int32]:
    """Find the voxels of the complete centreline: every piece of the mask keeps at least one voxel.

    Args:
        mask: (X, Y, Z) bool.
        spacing_um: Voxel size along X, Y and Z, in micrometres.

    Returns:
        Indices of the voxels, (N, 3).
    """
    return thin(mask, spacing_um)


def lee_skeleton(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Find the voxels of the skeleton on which published clDice values rest. It ignores the spacing.

    The thinning is that of Lee, Kashyap and Chu 1994 in scikit-image (foreground 26-connected). It deletes whole
    vessels: nothing is left of a straight tube of 2x2 or 4x4 voxels (scikit-image issues 3757 and 6513). If nothing is
    left of the mask, all its voxels are its skeleton, so that a perfect prediction still scores 1.

    Args:
        mask: (X, Y, Z) bool.

    Returns:
        Indices of the voxels, (N, 3).
    """
    left = thin_as_scikit_image(mask)
    return left if len(left) else indices(pack(mask))


def cldice(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    prediction_line: NDArray[np.integer],
    reference_line: NDArray[np.integer],
) -> float:
    """Centreline Dice (Shit et al., CVPR 2021): harmonic mean of the shares of each line in the other mask.

    Args:
        prediction: (X, Y, Z) bool, not empty.
        reference: (X, Y, Z) bool, not empty.
        prediction_line: Indices (N, 3) of the centreline or skeleton of ``prediction``.
        reference_line: Indices (N, 3) of the centreline or skeleton of ``reference``.

    Returns:
        0 to 1; 0 if neither line touches the other mask.
    """
    precision = float(reference[tuple(prediction_line.T)].mean())
    sensitivity = float(prediction[tuple(reference_line.T)].mean())
    total = precision + sensitivity
    return 2 * precision * sensitivity / total if total else 0.0
