"""Homotopy warping: deform a mask towards another one and keep its topology (Hu, NeurIPS 2022, arXiv 2112.07812)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_cdt

from minivess.errors import ConfigError
from minivess.topology.simple_points import flip_simple_points


def warp(mask: NDArray[np.bool_], towards: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flip simple points of ``mask`` to their values in ``towards`` until no voxel that differs is simple.

    The result has the same number of pieces (6-connected foreground), tunnels and cavities (26-connected background) as
    ``mask``. Voxels outside the array count as background.

    As in the authors' code, the voxels that differ are visited in the order of their distance to the border of
    ``mask``, the nearest first; extra and missing voxels are treated in the same way. The voxels that cannot be flipped
    are then a thin line in the middle of a false bridge, or a thin wall between two vessels that must not touch. Two
    details differ from the authors' code: the distance is counted along the axes (city block), which takes a tenth of
    the time, and passes are repeated until no voxel changes.

    Args:
        mask: (X, Y, Z) bool; not changed.
        towards: (X, Y, Z) bool, with the shape of ``mask``.

    Returns:
        A new (X, Y, Z) bool mask. An empty mask stays empty. A mask that fills the array changes only where background
        can enter from outside.

    Raises:
        ConfigError: The arguments are not two bool masks with the same shape (X, Y, Z).
    """
    if mask.ndim != 3 or mask.shape != towards.shape or not mask.dtype == towards.dtype == np.bool_:
        got = " and ".join(f"{array.dtype} {array.shape}" for array in (mask, towards))
        raise ConfigError(
            "two bool masks with the same shape (X, Y, Z)",
            got,
            "apply a threshold, and drop the batch and channel axes",
        )
    warped = np.pad(np.ascontiguousarray(mask), 1)
    candidates = np.flatnonzero(warped != np.pad(towards, 1))
    order = np.argsort(_depth(warped).ravel()[candidates], kind="stable")
    flip_simple_points(warped, candidates[order])
    return np.ascontiguousarray(warped[1:-1, 1:-1, 1:-1])


def critical_points(prediction: NDArray[np.bool_], label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find voxels where the topology is wrong: ``(warp(g, p) != p) | (warp(p, g) != g)``, prediction p, label g.

    These are the errors of the prediction that warping cannot remove. An error at the surface of a vessel is not
    critical. A gap, a false bridge, a missed vessel and an invented vessel are critical.

    Args:
        prediction: (X, Y, Z) bool.
        label: (X, Y, Z) bool, with the shape of ``prediction``.

    Returns:
        (X, Y, Z) bool mask, a subset of ``prediction != label``.

    Raises:
        ConfigError: The arguments are not two bool masks with the same shape (X, Y, Z).
    """
    return (warp(label, prediction) != prediction) | (warp(prediction, label) != label)


def _depth(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """City-block distance of every voxel to the nearest voxel of the other value; constant if all values are equal."""
    return np.where(mask, *(distance_transform_cdt(side, metric="taxicab") for side in (mask, ~mask)))
