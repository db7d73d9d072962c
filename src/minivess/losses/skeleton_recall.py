"""Skeleton recall: how much of the label's centreline is found (Kirchhoff et al., ECCV 2024, arXiv 2404.03010)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivess.losses.foreground import Foreground

TUBE_VOXELS = 2


def soft_skeleton_recall(view: Foreground, smooth: float) -> Tensor:
    """One minus the share of the tubes around the label's skeletons that is found, over the batch; 0 where there are none.

    The tube is that of the patch, made from its label at each call, as the authors do: their transform is the last
    one before the network, after the augmentation.

    Args:
        view: What the loss looks at.
        smooth: Added to numerator and denominator, so that an empty tube counts as found.
    """
    tube = _tubes(view.label > 0.5)
    found = (view.prob * tube).sum()
    return 1 - (found + smooth) / (tube.sum() + smooth)


def tube(label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The skeleton of a mask (X, Y, Z) by Lee et al. 1994, dilated by `TUBE_VOXELS` steps along the axes, within the mask.

    That thinning deletes some tiny blobs altogether; a mask of which nothing is left is its own tube.
    """
    from scipy.ndimage import binary_dilation
    from skimage.morphology import skeletonize

    line = skeletonize(label, method="lee").astype(bool)
    if not line.any():
        return label.copy()
    return binary_dilation(line, iterations=TUBE_VOXELS) & label


@torch.library.custom_op("minivess::skeleton_tubes", mutates_args=(), schema="(Tensor label) -> Tensor")
def _tubes(label: Tensor) -> Tensor:
    """Tubes of bool labels (B, 1, X, Y, Z), on the CPU whatever their device."""
    return torch.from_numpy(np.stack([tube(sample) for sample in label[:, 0].cpu().numpy()])[:, None]).to(label.device)


@_tubes.register_fake
def _(label: Tensor) -> Tensor:
    return torch.empty_like(label)
