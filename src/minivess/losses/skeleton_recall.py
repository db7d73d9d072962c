"""Skeleton recall: share of the label's centreline that is found (Kirchhoff et al., ECCV 2024, arXiv 2404.03010)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivess.losses.foreground import Foreground

TUBE_VOXELS = 2


def soft_skeleton_recall(view: Foreground, smooth: float) -> Tensor:
    """``1 - (sum(p t) + smooth) / (sum(t) + smooth)``: soft skeleton recall loss over the whole batch.

    p is the foreground probability and t the `tube` around the label's skeleton. The tube is computed from the label of
    the patch at each call. The authors do the same: their transform is the last one before the network, after the
    augmentation.

    Args:
        view: Foreground of the batch.
        smooth: Added to the numerator and denominator, so that an empty tube counts as found.

    Returns:
        A scalar in [0, 1); 0 if the label has no vessel.
    """
    tube = _tubes(view.label > 0.5)
    found = (view.prob * tube).sum()
    return 1 - (found + smooth) / (tube.sum() + smooth)


def tube(label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate the skeleton of a mask (Lee et al. 1994) by `TUBE_VOXELS` steps along the axes, within the mask.

    The thinning deletes some tiny blobs completely. If nothing is left of the mask, the mask itself is the tube.

    Args:
        label: (X, Y, Z) bool.

    Returns:
        (X, Y, Z) bool, a subset of ``label``.
    """
    from scipy.ndimage import binary_dilation
    from skimage.morphology import skeletonize

    line = skeletonize(label, method="lee").astype(bool)
    if not line.any():
        return label.copy()
    return binary_dilation(line, iterations=TUBE_VOXELS) & label


@torch.library.custom_op("minivess::skeleton_tubes", mutates_args=(), schema="(Tensor label) -> Tensor")
def _tubes(label: Tensor) -> Tensor:
    """Tubes of bool labels (B, 1, X, Y, Z), always computed on the CPU."""
    return torch.from_numpy(np.stack([tube(sample) for sample in label[:, 0].cpu().numpy()])[:, None]).to(label.device)


@_tubes.register_fake
def _(label: Tensor) -> Tensor:
    return torch.empty_like(label)
