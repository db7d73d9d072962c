"""Example of your own loss: cross-entropy and Tversky loss (Salehi et al. 2017); a missed voxel can cost more."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from minivess.losses.compound import CompoundLoss
from minivess.losses.foreground import Foreground
from minivess.losses.region import cross_entropy


def tversky(miss: float = 0.7) -> nn.Module:
    """Build the loss. The experiment contains the name of this function; its arguments are the options of the loss.

    Args:
        miss: Weight of a missed voxel, 0 to 1. A false voxel has the weight 1 - miss. With 0.5 it is soft Dice.
    """
    return CompoundLoss([(1.0, cross_entropy), (1.0, partial(tversky_term, miss=miss))])


def tversky_term(view: Foreground, miss: float, smooth: float = 1e-5) -> Tensor:
    """``1 - TP / (TP + miss FN + (1 - miss) FP)``: one minus the Tversky index over the whole batch."""
    found = (view.prob * view.label).sum()
    missed = view.label.sum() - found
    false = view.prob.sum() - found
    return 1 - (found + smooth) / (found + miss * missed + (1 - miss) * false + smooth)
