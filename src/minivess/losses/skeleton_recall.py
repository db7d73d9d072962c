"""Skeleton recall: share of the label's centreline that is found (Kirchhoff et al., ECCV 2024, arXiv 2404.03010)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from minivess.losses.foreground import Foreground

TUBE_VOXELS = 2
TubeOf = Literal["patch", "volume"]


def soft_skeleton_recall(view: Foreground, smooth: float, tube_of: TubeOf = "patch") -> Tensor:
    """``1 - (sum(p t) + smooth) / (sum(t) + smooth)``: soft skeleton recall loss over the whole batch.

    p is the foreground probability and t the `tube` around the label's skeleton.

    Args:
        view: Foreground of the batch.
        smooth: Added to the numerator and denominator, so that an empty tube counts as found.
        tube_of: With "patch", the tube is drawn from the label of the patch at each call. The authors do the same:
            their transform is the last one before the network, after the augmentation. With "volume", it is the marked
            voxels of the label (see `VolumeTube`).

    Returns:
        A scalar in [0, 1); 0 if there is no tube.
    """
    tube = _tubes(view.label > 0.5) if tube_of == "patch" else view.marked
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


@dataclass(frozen=True)
class VolumeTube:
    """The `tube` of a whole label. It is drawn once per volume, and cut and transformed with the label.

    At the border of a patch, a vessel that continues beyond it keeps its centreline. The skeleton of the patch alone
    bends there, and is another one wherever the patch cuts a thick vessel.

    Attributes:
        name: Name of the drawing. Change it when the drawing changes, so that volumes are drawn again.
    """

    name: str = "tube-lee-1"

    def __call__(self, label: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return tube(label)


@torch.library.custom_op("minivess::skeleton_tubes", mutates_args=(), schema="(Tensor label) -> Tensor")
def _tubes(label: Tensor) -> Tensor:
    """Tubes of bool labels (B, 1, X, Y, Z), always computed on the CPU."""
    return torch.from_numpy(np.stack([tube(sample) for sample in label[:, 0].cpu().numpy()])[:, None]).to(label.device)


@_tubes.register_fake
def _(label: Tensor) -> Tensor:
    return torch.empty_like(label)
