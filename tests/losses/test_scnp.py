from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.errors import ConfigError
from minivess.losses import LOSSES, build_loss
from minivess.losses.scnp import SameClassNeighbourPenalty, worst_same_class_neighbour

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "losses2.npz")
REGION_LOSSES = {"dice_ce", "tversky", "focal_tversky"}


def golden(case, name):
    return torch.from_numpy(np.asarray(GOLDEN[f"c{case}_{name}"]))


def their_ce_and_dice(logits, label):
    """The authors' loss: cross-entropy, and the negative Dice per sample and channel."""
    classes = torch.cat([1 - label, label], 1).float()
    prob, axes = logits.softmax(1), (2, 3, 4)
    entropy = -(classes * logits.log_softmax(1)).sum(1).mean()
    dice = (2 * (prob * classes).sum(axes) + 1e-5) / (prob.sum(axes) + classes.sum(axes) + 1e-5)
    return entropy - dice.mean()


def line(values):
    """A channel along x, as a batch of one."""
    return torch.tensor(values).view(1, 1, -1, 1, 1)


def random_batch(seed, shape=(2, 2, 7, 6, 4)):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=source), torch.rand(2, 1, *shape[2:], generator=source) > 0.5


class TestValue:
    def test_worst_neighbour_of_the_same_class_by_hand(self):
        background, vessel = [5.0, 4, 3, 2, 1], [0.0, 6, 7, 8, 9]
        worst = worst_same_class_neighbour(torch.cat([line(background), line(vessel)], 1), line([0, 0, 1, 1, 0]))
        assert worst[0, 0].flatten().tolist() == [4, 4, 3, 3, 1]  # lowest of the background, highest of the vessel
        assert worst[0, 1].flatten().tolist() == [6, 6, 7, 7, 9]  # the last voxel has no neighbour of its class

    @pytest.mark.parametrize("case", range(3))
    def test_equals_the_authors_code(self, case):
        logits = golden(case, "logits").requires_grad_()
        worst = worst_same_class_neighbour(logits, golden(case, "label"))
        assert torch.equal(worst, golden(case, "scnp_logits"))
        value = their_ce_and_dice(worst, golden(case, "label"))
        value.backward()
        assert value.item() == pytest.approx(golden(case, "scnp_ce_dice").item(), rel=1e-5)
        expected = golden(case, "scnp_grad_logits")
        torch.testing.assert_close(logits.grad, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())

    def test_half_precision_is_computed_in_float32(self):
        logits, label = random_batch(0)
        halved = logits.bfloat16()
        worst = worst_same_class_neighbour(halved, label)
        assert torch.equal(worst, worst_same_class_neighbour(halved.float(), label))

    def test_nan_reaches_its_neighbours(self):
        logits = torch.zeros(1, 2, 5, 1, 1)
        logits[0, :, 2] = torch.nan
        worst = worst_same_class_neighbour(logits, torch.zeros(1, 1, 5, 1, 1))
        assert worst[0, 1].isnan().flatten().tolist() == [False, True, True, True, False]

    @pytest.mark.parametrize("shape", [(1, 1, 5, 5, 5), (1, 2, 5, 5, 4)])
    def test_refuses_other_shapes(self, shape):
        with pytest.raises(ConfigError):
            worst_same_class_neighbour(torch.zeros(shape), torch.zeros(1, 1, 5, 5, 5))


class TestGradient:
    def test_passes_gradcheck_with_padding(self):
        logits, label = random_batch(1, (2, 2, 4, 3, 4))
        leaf = logits.double().requires_grad_()
        mask = torch.rand(label.shape, generator=torch.Generator().manual_seed(2)) > 0.3
        assert torch.autograd.gradcheck(lambda z: worst_same_class_neighbour(z, label, mask), leaf)

    def test_of_voxels_that_tie_the_first_gets_it(self):
        logits = torch.zeros(1, 2, 3, 1, 1, requires_grad=True)
        worst_same_class_neighbour(logits, torch.ones(1, 1, 3, 1, 1))[:, 1].sum().backward()
        assert logits.grad[0, 1].flatten().tolist() == [2, 1, 0]

    def test_keeps_no_image_but_logits_and_label(self):
        (logits, label), kept = random_batch(3), []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.nbytes), lambda _: None):
            worst_same_class_neighbour(logits.requires_grad_() * 1, label)
        assert sorted(kept) == [label.numel(), logits.nbytes]


class TestPadding:
    @settings(deadline=None, max_examples=10)
    @given(st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 3))
    def test_equals_that_of_the_cropped_patch(self, seed, before, after):
        logits, label = random_batch(seed)
        margin = (before, after, after, before, 1, 2)
        mask = F.pad(torch.ones_like(label), margin)
        padded = worst_same_class_neighbour(F.pad(logits, margin, value=9.0), F.pad(label, margin, value=True), mask)
        expected = F.pad(worst_same_class_neighbour(logits, label), margin, value=9.0)
        assert torch.equal(padded, expected)


class TestSameClassNeighbourPenalty:
    def test_acts_in_training_only(self):
        loss, batch = SameClassNeighbourPenalty(build_loss("dice_ce")), random_batch(4)
        assert loss(*batch) > build_loss("dice_ce")(*batch)
        assert loss.eval()(*batch) == build_loss("dice_ce")(*batch)

    @pytest.mark.parametrize("name", LOSSES)
    def test_is_built_by_name_before_each_loss(self, name):
        logits, label = random_batch(5)
        expected = build_loss(name)(worst_same_class_neighbour(logits, label), label)
        assert torch.equal(build_loss(f"scnp_{name}")(logits, label), expected)

    @pytest.mark.parametrize("name", sorted(LOSSES))
    def test_gap_in_a_thin_vessel_costs_more_than_a_shorter_end(self, name):
        """Without SCNP, the region losses make no difference. The gap spoils two more voxels, the end one."""
        vessel = torch.zeros(1, 1, 20, 5, 5)
        vessel[:, :, 2:18, 2, 2] = 1
        broken, short = vessel.clone(), vessel.clone()
        broken[:, :, 9:10], short[:, :, 2:3] = 0, 0
        loss, plain = build_loss(f"scnp_{name}"), build_loss(name)
        values = [loss(torch.cat([-10 * found + 5, 10 * found - 5], 1), vessel) for found in (broken, short)]
        assert values[0] > values[1] + 0.01
        if name in REGION_LOSSES:
            both = [plain(torch.cat([-10 * found + 5, 10 * found - 5], 1), vessel) for found in (broken, short)]
            torch.testing.assert_close(*both)
