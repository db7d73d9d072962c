"""A loss of one's own: cross-entropy and Tversky (Salehi et al. 2017), which prices a missed voxel higher than a false one."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from minivess.losses.compound import CompoundLoss
from minivess.losses.foreground import Foreground
from minivess.losses.region import cross_entropy


def tversky(miss: float = 0.7) -> nn.Module:
    """The function that an experiment names; its arguments are the loss's options.

    Args:
        miss: Price of a missed voxel, 0 to 1; that of a false one is the rest. With 0.5 it is soft Dice.
    """
    return CompoundLoss([(1.0, cross_entropy), (1.0, partial(tversky_term, miss=miss))])


def tversky_term(view: Foreground, miss: float, smooth: float = 1e-5) -> Tensor:
    """One minus the Tversky index of the foreground over the whole batch."""
    found = (view.prob * view.label).sum()
    missed = view.label.sum() - found
    false = view.prob.sum() - found
    return 1 - (found + smooth) / (found + miss * missed + (1 - miss) * false + smooth)
