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
Skeleton = Literal["complete", "lee"]


def soft_skeleton_recall(
    view: Foreground, smooth: float, tube_of: TubeOf = "patch", skeleton: Skeleton = "complete"
) -> Tensor:
    """``1 - (sum(p t) + smooth) / (sum(t) + smooth)``: soft skeleton recall loss over the whole batch.

    p is the foreground probability and t the `tube` around the label's skeleton.

    Args:
        view: Foreground of the batch.
        smooth: Added to the numerator and denominator, so that an empty tube counts as found.
        tube_of: With "patch", the tube is drawn from the label of the patch at each call. The authors do the same:
            their transform is the last one before the network, after the augmentation. With "volume", it is the marked
            voxels of the label (see `VolumeTube`).
        skeleton: See `tube`; used with "patch".

    Returns:
        A scalar in [0, 1); 0 if there is no tube.
    """
    tube = _tubes(view.label > 0.5, skeleton) if tube_of == "patch" else view.marked
    found = (view.prob * tube).sum()
    return 1 - (found + smooth) / (tube.sum() + smooth)


def tube(label: NDArray[np.bool_], skeleton: Skeleton = "complete") -> NDArray[np.bool_]:
    """Dilate the skeleton of a mask by `TUBE_VOXELS` steps along the axes, within the mask.

    Args:
        label: (X, Y, Z) bool.
        skeleton: "complete" is the centreline of `minivess.topology.thinning`, which every piece of the mask has. "lee"
            is the skeleton of the paper (Lee et al. 1994, in scikit-image). It deletes whole vessels of an even width;
            if nothing is left of the mask, the mask itself is the tube.

    Returns:
        (X, Y, Z) bool, a subset of ``label``.
    """
    from scipy.ndimage import binary_dilation

    from minivess.topology.lee_thinning import thin_as_scikit_image
    from minivess.topology.thinning import thin

    voxels = thin(label) if skeleton == "complete" else thin_as_scikit_image(label)
    if not len(voxels):
        return label.copy()
    line = np.zeros_like(label)
    line[tuple(voxels.T)] = True
    return binary_dilation(line, iterations=TUBE_VOXELS) & label


@dataclass(frozen=True)
class VolumeTube:
    """The `tube` of a whole label. It is drawn once per volume, and cut and transformed with the label.

    At the border of a patch, a vessel that continues beyond it keeps its centreline. The skeleton of the patch alone
    bends there, and is another one wherever the patch cuts a thick vessel.

    Attributes:
        skeleton: See `tube`.
    """

    skeleton: Skeleton = "complete"

    @property
    def name(self) -> str:
        """Name of the drawing. Change it when the drawing changes, so that volumes are drawn again."""
        return f"tube-{self.skeleton}-1"

    def __call__(self, label: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return tube(label, self.skeleton)


@torch.library.custom_op("minivess::skeleton_tubes", mutates_args=(), schema="(Tensor label, str skeleton) -> Tensor")
def _tubes(label: Tensor, skeleton: Skeleton) -> Tensor:
    """Tubes of bool labels (B, 1, X, Y, Z), always computed on the CPU."""
    tubes = [tube(sample, skeleton) for sample in label[:, 0].cpu().numpy()]
    return torch.from_numpy(np.stack(tubes)[:, None]).to(label.device)


@_tubes.register_fake
def _(label: Tensor, skeleton: Skeleton) -> Tensor:
    return torch.empty_like(label)
