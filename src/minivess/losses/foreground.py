"""What a loss looks at: the foreground of a two-channel network output, its label, and which voxels count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from minivess.errors import ConfigError


@dataclass(frozen=True)
class Foreground:
    """Foreground of a batch, all tensors ``(B, 1, X, Y, Z)`` and at least float32.

    Attributes:
        logit: Foreground minus background logit, so ``prob = sigmoid(logit)`` is the softmax of the two; 0 in padding.
        prob: Foreground probability, 0 in padding.
        label: 1 in the vessel, 0 elsewhere and in padding.
        mask: Bool, False in padding; None where every voxel counts.
    """

    logit: Tensor
    prob: Tensor
    label: Tensor
    mask: Tensor | None


def foreground(logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Foreground:
    """Checks the shapes and reduces a two-channel output to its foreground.

    Half precision is raised to float32 here and everything after is elementwise or a sum, which autocast leaves alone:
    a loss needs no autocast block of its own.

    Args:
        logits: ``(B, 2, X, Y, Z)``, any floating type.
        label: ``(B, 1, X, Y, Z)``, integer, bool or float; the vessel is what lies above 0.5.
        mask: ``(B, 1, X, Y, Z)``, False in padding, which counts nowhere and gets no gradient.

    Raises:
        ConfigError: If a shape is another. With one channel a softmax is constant and its gradient exactly zero.
    """
    _check_shapes(logits, label, mask)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logit = precise[:, 1:] - precise[:, :1]
    vessel = label > 0.5
    if mask is None:
        return Foreground(logit, torch.sigmoid(logit), vessel.to(logit.dtype), None)
    counts = mask.bool()
    logit = logit.masked_fill(counts.logical_not(), 0)
    return Foreground(logit, torch.sigmoid(logit) * counts, (vessel & counts).to(logit.dtype), counts)


def _check_shapes(logits: Tensor, label: Tensor, mask: Tensor | None) -> None:
    if logits.ndim != 5 or logits.shape[1] != 2:
        raise ConfigError(
            "logits (B, 2, X, Y, Z): background and foreground",
            f"logits of shape {tuple(logits.shape)}",
            "give the network two output channels and no activation at its end",
        )
    wanted = (logits.shape[0], 1, *logits.shape[2:])
    for name, tensor in (("label", label), ("mask", mask)):
        if tensor is not None and tuple(tensor.shape) != wanted:
            raise ConfigError(
                f"a {name} of shape {wanted}, one channel on the voxels of the logits",
                f"shape {tuple(tensor.shape)}",
                f"give the {name} one channel, not one-hot, and the same patch as the image",
            )
