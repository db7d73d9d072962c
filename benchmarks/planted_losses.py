"""Losses whose rank is known in advance, to test whether a comparison gives the right verdict.

`thick_only` is dice_ce on labels without vessels thinner than `width` voxels: its networks miss thin vessels, so it is worse.
`tversky` with alpha = beta = 0.5 is dice_ce by another formula, so it is equivalent, and only rounding makes its networks
differ. See configs/experiments/planted_phantoms.yaml and docs/benchmarks/statistics.md.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import max_pool3d

from minivess.losses.registry import build_loss


class ThickOnly(nn.Module):
    """dice_ce on a label that is opened in the plane: vessels thinner than ``width`` voxels are removed from it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.loss = build_loss("dice_ce")

    def forward(self, logits: Tensor, label: Tensor, mask: Tensor | None = None) -> Tensor:
        eroded = 1 - self._dilate((label == 0).float())
        value: Tensor = self.loss(logits, self._dilate(eroded), mask)
        return value

    def _dilate(self, mask: Tensor) -> Tensor:
        return max_pool3d(mask, (self.width, self.width, 1), stride=1, padding=(self.width // 2, self.width // 2, 0))


def thick_only(width: int = 11) -> nn.Module:
    """Build the loss that does not see vessels thinner than ``width`` voxels, an odd number."""
    return ThickOnly(width)
