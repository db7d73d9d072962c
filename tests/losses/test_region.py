from __future__ import annotations

from math import log

import pytest
import torch

from minivess.losses.foreground import foreground
from minivess.losses.region import cross_entropy, soft_dice, soft_focal_tversky, soft_tversky


def batch():
    """Two samples of two voxels: probability 0.5 everywhere, and one vessel voxel in total."""
    label = torch.tensor([1, 0, 0, 0]).view(2, 1, 2, 1, 1)
    return torch.zeros(2, 2, 2, 1, 1), label


class TestCrossEntropy:
    def test_is_the_mean_over_voxels(self):
        assert cross_entropy(foreground(*batch())).item() == pytest.approx(log(2))

    def test_equals_two_channel_cross_entropy(self):
        logits, label = torch.randn(2, 2, 4, 4, 4), torch.randint(0, 2, (2, 1, 4, 4, 4))
        expected = torch.nn.functional.cross_entropy(logits, label[:, 0])
        torch.testing.assert_close(cross_entropy(foreground(logits, label)), expected)

    def test_is_the_mean_over_the_voxels_that_count(self):
        logits, label = batch()
        mask = torch.tensor([True, True, False, False]).view(2, 1, 2, 1, 1)
        assert cross_entropy(foreground(logits, label, mask)).item() == pytest.approx(log(2))

    def test_is_zero_if_no_voxel_counts(self):
        logits, label = batch()
        assert cross_entropy(foreground(logits, label, torch.zeros_like(label).bool())) == 0


class TestSoftDice:
    def test_sums_over_the_batch(self):
        expected = 1 - 2 * 0.5 / (4 * 0.5 + 1)
        assert soft_dice(foreground(*batch())).item() == pytest.approx(expected, rel=1e-4)

    def test_smooth_is_added_above_and_below(self):
        assert soft_dice(foreground(*batch()), smooth=1.0).item() == pytest.approx(1 - (2 * 0.5 + 1) / (3 + 1))

    def test_ignores_padding(self):
        logits, label = batch()
        mask = torch.tensor([True, True, False, False]).view(2, 1, 2, 1, 1)
        assert soft_dice(foreground(logits, label, mask)).item() == pytest.approx(1 - 2 * 0.5 / 2, rel=1e-4)

    def test_is_zero_if_both_are_empty(self):
        logits, label = batch()
        assert soft_dice(foreground(logits, label, torch.zeros_like(label).bool())) == 0


class TestSoftTversky:
    """In `batch`, TP is 0.5, FP is 3 times 0.5 and FN is 0.5."""

    def test_weighs_false_positives_by_alpha_and_false_negatives_by_beta(self):
        expected = 1 - 0.5 / (0.5 + 0.3 * 1.5 + 0.7 * 0.5)
        assert soft_tversky(foreground(*batch()), 0.3, 0.7).item() == pytest.approx(expected, rel=1e-4)

    def test_is_soft_dice_if_both_weights_are_a_half(self):
        logits, label = torch.randn(2, 2, 4, 4, 4), torch.randint(0, 2, (2, 1, 4, 4, 4))
        view = foreground(logits, label)
        torch.testing.assert_close(soft_tversky(view, 0.5, 0.5), soft_dice(view, 2e-5))

    def test_focal_is_a_power_of_it(self):
        view = foreground(*batch())
        expected = soft_tversky(view, 0.3, 0.7).item() ** 0.75
        assert soft_focal_tversky(view, 0.3, 0.7, 4 / 3).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("gamma", [0.5, 4 / 3, 3.0])
    def test_focal_has_a_finite_gradient_at_zero(self, gamma):
        logits, label = batch()
        nothing = foreground(logits.requires_grad_(), label, torch.zeros_like(label))
        value = soft_focal_tversky(nothing, 0.3, 0.7, gamma)
        value.backward()
        assert value == 0
        assert logits.grad.isfinite().all()
