from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from minivess.errors import ConfigError
from minivess.losses.foreground import foreground
from minivess.losses.topology import cb_dice, centreline_cross_entropy, soft_cldice

REFERENCE = Path(__file__).parents[1] / "reference"
GOLDEN, GOLDEN_2 = (np.load(REFERENCE / name) for name in ("losses.npz", "losses2.npz"))


def golden(case, name, values=GOLDEN):
    return torch.from_numpy(np.asarray(values[f"c{case}_{name}"]))


def assert_gradient(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6 * expected.abs().max().item())


def rod_thinned_and_broken():
    """A 3x3 rod 27 voxels long, the rod without one of its edges, and the rod with a gap of 3: both lack 27 voxels."""
    rod = torch.zeros(1, 1, 31, 9, 9)
    rod[:, :, 2:29, 3:6, 3:6] = 1
    thinned, broken = rod.clone(), rod.clone()
    thinned[:, :, :, 3, 3] = 0
    broken[:, :, 14:17] = 0
    return rod, thinned, broken


def as_logits(mask):
    return torch.cat([4 - 8 * mask, 8 * mask - 4], dim=1)


class TestSoftClDice:
    @pytest.mark.parametrize("iterations", [3, 10])
    @pytest.mark.parametrize("case", range(3))
    def test_value_and_gradient_equal_the_authors_code(self, case, iterations):
        prob = torch.softmax(golden(case, "logits"), 1)[:, 1:].requires_grad_()
        loss = soft_cldice(prob, golden(case, "label"), iterations)
        loss.backward()
        assert loss.item() == pytest.approx(golden(case, f"softcldice_it{iterations}_smooth1").item(), rel=1e-5)
        assert_gradient(prob.grad, golden(case, f"softcldice_it{iterations}_grad_prob"))

    def test_gap_costs_more_than_as_many_voxels_along_an_edge(self):
        rod, thinned, broken = rod_thinned_and_broken()
        assert soft_cldice(rod, rod) == 0
        assert soft_cldice(broken, rod) > soft_cldice(thinned, rod) + 0.05

    def test_is_zero_for_an_empty_and_a_full_patch(self):
        for patch in (torch.zeros(1, 1, 6, 6, 4), torch.ones(1, 1, 6, 6, 4)):
            assert soft_cldice(patch, patch) == 0

    @pytest.mark.parametrize("shape", [(2, 2, 8, 8, 4), (2, 8, 8, 4), (2, 1, 8, 8, 5)])
    def test_refuses_other_shapes(self, shape):
        with pytest.raises(ConfigError) as caught:
            soft_cldice(torch.zeros(shape), torch.zeros(2, 1, 8, 8, 4))
        assert str(shape) in caught.value.got


class TestCentrelineCrossEntropy:
    @pytest.mark.parametrize("iterations", [3, 10])
    @pytest.mark.parametrize("case", range(3))
    def test_value_and_gradient_equal_the_authors_code(self, case, iterations):
        logits = golden(case, "logits", GOLDEN_2).requires_grad_()
        value = centreline_cross_entropy(foreground(logits, golden(case, "label", GOLDEN_2)), iterations)
        value.backward()
        assert value.item() == pytest.approx(golden(case, f"clce_it{iterations}", GOLDEN_2).item(), rel=1e-5)
        assert_gradient(logits.grad, golden(case, f"clce_it{iterations}_grad_logits", GOLDEN_2))

    def test_counts_both_centrelines_by_hand(self):
        """The centreline of the rod is 25 voxels long and has a gap of 3 in the prediction, whose rods lack 2 more."""
        rod, _, broken = rod_thinned_and_broken()
        value = centreline_cross_entropy(foreground(as_logits(broken), rod), 1)
        missed, found = (math.log1p(math.exp(logit)) for logit in (8, -8))
        assert value.item() == pytest.approx((3 * missed + 22 * found + 20 * found) / rod.numel(), rel=0.01)

    def test_mean_is_over_the_voxels_that_count(self):
        rod, _, broken = rod_thinned_and_broken()
        mask = torch.ones_like(rod)
        mask[..., 7:] = 0
        cropped = centreline_cross_entropy(foreground(as_logits(broken)[..., :7], rod[..., :7]), 3)
        torch.testing.assert_close(centreline_cross_entropy(foreground(as_logits(broken), rod, mask), 3), cropped)


class TestCbDice:
    @pytest.mark.parametrize("case", range(3))
    def test_value_and_gradient_equal_the_authors_code(self, case):
        logits = golden(case, "logits").requires_grad_()
        value = cb_dice(logits, golden(case, "label"))
        value.backward()
        assert value.item() == pytest.approx(golden(case, "cbdice_it10_smooth1").item(), rel=1e-5)
        assert_gradient(logits.grad, golden(case, "cbdice_grad_logits"))

    def test_gap_costs_more_than_as_many_voxels_along_an_edge(self):
        rod, thinned, broken = rod_thinned_and_broken()
        assert cb_dice(as_logits(rod), rod).item() == pytest.approx(-1, abs=1e-3)
        assert cb_dice(as_logits(broken), rod) > cb_dice(as_logits(thinned), rod) + 0.05

    def test_as_many_iterations_as_the_radius_are_enough(self):
        """The axis of a 3x3 rod is 2 voxels from the background, and one erosion reaches it."""
        rod, _, broken = rod_thinned_and_broken()
        assert cb_dice(as_logits(broken), rod, iterations=1) == cb_dice(as_logits(broken), rod, iterations=10)

    def test_is_minus_one_for_an_empty_and_a_full_patch(self):
        for patch in (torch.zeros(1, 1, 6, 6, 4), torch.ones(1, 1, 6, 6, 4)):
            assert cb_dice(as_logits(patch), patch) == -1

    def test_refuses_one_channel(self):
        with pytest.raises(ConfigError) as caught:
            cb_dice(torch.zeros(1, 1, 8, 8, 4), torch.zeros(1, 1, 8, 8, 4))
        assert str((1, 1, 8, 8, 4)) in caught.value.got
