from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from minivess.errors import ConfigError
from minivess.losses.blindness import require_blind
from minivess.losses.registry import LOSSES, build_loss

PATCH = (16, 12, 6)


class IgnoresTheMask(torch.nn.Module):
    def forward(self, logits, label, mask=None):
        return F.cross_entropy(logits, label[:, 0].long())


class DetachesUnknown(torch.nn.Module):
    """No gradient from unknown voxels, but their label changes the value."""

    def forward(self, logits, label, mask=None):
        logits = torch.where(mask, logits, logits.detach())
        return F.cross_entropy(logits, label[:, 0].long())


class TestRequireBlind:
    @pytest.mark.parametrize("name", [*sorted(LOSSES), "scnp_cbdice"])
    def test_every_loss_of_minivess_passes(self, name):
        require_blind(build_loss(name), name, PATCH)

    @pytest.mark.parametrize(("loss", "got"), [(IgnoresTheMask(), "gradient"), (DetachesUnknown(), "value")])
    def test_a_loss_that_sees_unknown_voxels_is_refused_by_name(self, loss, got):
        with pytest.raises(ConfigError, match=f"mine: .*{got}"):
            require_blind(loss, "mine", PATCH)
