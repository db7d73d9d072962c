"""Losses whose rank is known in advance, to test whether a comparison gives the right verdict.

`thick_only` is dice_ce on labels without vessels thinner than 3 voxels. It was meant to be worse, but on small phantoms it is
not: they have too few such vessels (docs/benchmarks/statistics.md).
`tversky` with alpha = beta = 0.5 is dice_ce by another formula, so it is equivalent, and only rounding makes its networks
differ. See configs/experiments/planted_phantoms.yaml and docs/benchmarks/statistics.md.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from minivess.losses.registry import build_loss


def _dilate(mask: Tensor) -> Tensor:
    """Dilate a mask in the plane, by one voxel along X and Y."""
    return max_pool3d(mask, (3, 3, 1), stride=1, padding=(1, 1, 0))


class ThickOnly(nn.Module):
    """dice_ce on a label that is opened in the plane: vessels thinner than 3 voxels are removed from it."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = build_loss("dice_ce")

    def forward(self, logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
        eroded = 1 - _dilate((label == 0).float())
        value: Tensor = self.loss(logits, _dilate(eroded), mask)
        return value


def thick_only() -> nn.Module:
    """Build the loss that does not see thin vessels."""
    return ThickOnly()
