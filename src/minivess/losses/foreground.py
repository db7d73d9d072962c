"""The input of every loss term: foreground of a two-channel output, label, and mask of the voxels that count.

Padding and unknown voxels of the label do not count. Their logits and labels are replaced by 0 here, before any term
sees them, so they affect neither the value nor a gradient. A term that looks at neighbours treats them like voxels
outside the image: docs/reference/losses-and-metrics.md says what that means for each loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from minivess.errors import ConfigError


@dataclass(frozen=True)
class Foreground:
    """Foreground of a batch. All tensors are ``(B, 1, X, Y, Z)``; all but the mask are at least float32.

    Attributes:
        logit: Foreground logit minus background logit, 0 where the mask is False. ``sigmoid(logit)`` equals the softmax of the two.
        prob: Foreground probability, 0 where the mask is False.
        label: 1 in the vessel, 0 elsewhere and where the mask is False.
        mask: Bool, False in padding and in unknown voxels; None if every voxel counts.
        given: The label as it was passed, with all its values.
    """

    logit: Tensor
    prob: Tensor
    label: Tensor
    mask: Tensor | None
    given: Tensor

    @property
    def marked(self) -> Tensor:
        """Bool, True where the label that was passed is 2 and the voxel counts."""
        marked = self.given > 1.5
        return marked if self.mask is None else marked & self.mask


def foreground(logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Foreground:
    """Check the shapes and reduce a two-channel network output to its foreground.

    Half precision is converted to float32 here. All later operations are elementwise or sums, which autocast does not
    change, so a loss needs no autocast block.

    Args:
        logits: ``(B, 2, X, Y, Z)``, any floating type. Channel 0 is background, channel 1 is foreground.
        label: ``(B, 1, X, Y, Z)``, integer, bool or float; a voxel is vessel if its value is above 0.5. 2 is a
            vessel voxel that the `label_mark` of a loss has marked.
        mask: ``(B, 1, X, Y, Z)``, False in padding and in unknown voxels, which count in no loss and get no gradient.
            None: every voxel counts.

    Returns:
        The foreground, with tensors of shape ``(B, 1, X, Y, Z)``.

    Raises:
        ConfigError: A shape is not as above. One channel is refused because the softmax of one channel is constant and
            its gradient is exactly zero.
    """
    check_shapes(logits, label, mask)
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logit = precise[:, 1:] - precise[:, :1]
    vessel = label > 0.5
    if mask is None:
        return Foreground(logit, torch.sigmoid(logit), vessel.to(logit.dtype), None, label)
    counts = mask.bool()
    logit = logit.masked_fill(counts.logical_not(), 0)
    return Foreground(logit, torch.sigmoid(logit) * counts, (vessel & counts).to(logit.dtype), counts, label)


def check_shapes(logits: Tensor, label: Tensor, mask: Tensor | None) -> None:
    """Raise a `ConfigError` unless the shapes are those that `foreground` takes."""
    if logits.ndim != 5 or logits.shape[1] != 2:
        raise ConfigError(
            "logits of shape (B, 2, X, Y, Z) with the channels background and foreground",
            f"logits of shape {tuple(logits.shape)}",
            "give the network two output channels and no final activation",
        )
    wanted = (logits.shape[0], 1, *logits.shape[2:])
    for name, tensor in (("label", label), ("mask", mask)):
        if tensor is not None and tuple(tensor.shape) != wanted:
            raise ConfigError(
                f"a {name} of shape {wanted}: one channel, and the voxels of the logits",
                f"shape {tuple(tensor.shape)}",
                f"pass a {name} with one channel (not one-hot) for the same patch as the image",
            )
