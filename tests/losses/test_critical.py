from __future__ import annotations

import pytest
import torch

from minivess.errors import ConfigError
from minivess.losses.critical import critical_cross_entropy
from minivess.losses.foreground import foreground
from minivess.losses.region import cross_entropy
from minivess.losses.registry import build_loss


def rod(*without):
    """A 3x3 rod of 27 slices along x, as (1, 1, 31, 9, 9). The slices ``without`` are empty."""
    mask = torch.zeros(1, 1, 31, 9, 9)
    mask[:, :, 2:29, 3:6, 3:6] = 1
    mask[:, :, list(without)] = 0
    return mask


def view(prediction, label=None, confidence=5.0):
    logits = torch.cat([-prediction.mul(2).sub(1), prediction.mul(2).sub(1)], dim=1) * confidence
    return foreground(logits, rod() if label is None else label)


class TestCriticalCrossEntropy:
    def test_value_for_a_gap_of_three_slices(self):
        gap, everywhere = view(rod(14, 15, 16)), cross_entropy(view(rod(14, 15, 16))).item()
        dice = 2 * 216 / (216 + 243)
        share = (dice - 0.5) / 0.5
        axis_and_wall = 3 + 9 - 1
        expected = (1 - share) * everywhere + share * axis_and_wall * 10 / 243
        assert critical_cross_entropy(gap, strength=1, onset=0.5).item() == pytest.approx(expected, rel=0.01)

    def test_strength_only_scales_the_critical_points(self):
        everywhere = cross_entropy(view(torch.zeros_like(rod()))).item()
        nothing, gap = view(torch.zeros_like(rod())), view(rod(14, 15, 16))
        assert critical_cross_entropy(nothing, strength=30, onset=0.5).item() == everywhere
        once, twice, thrice = (critical_cross_entropy(gap, strength, onset=0.5).item() for strength in (1, 2, 3))
        assert thrice - twice == pytest.approx(twice - once) != 0

    def test_equals_cross_entropy_before_the_network_segments(self):
        for prediction in (torch.zeros_like(rod()), torch.ones_like(rod()), 1 - rod()):
            before = view(prediction)
            assert critical_cross_entropy(before, strength=1, onset=0.5) == cross_entropy(before)

    def test_critical_points_count_from_the_onset(self):
        half = view(rod(*range(2, 20)))
        assert critical_cross_entropy(half, strength=1, onset=0.9) == cross_entropy(half)
        assert critical_cross_entropy(half, strength=1, onset=0.1) != cross_entropy(half)

    def test_gradient_is_largest_in_the_gap(self):
        logits = torch.cat([-rod(15), rod(15)], dim=1).mul(10).requires_grad_()
        critical_cross_entropy(foreground(logits, rod()), strength=1, onset=0.5).backward()
        strength = logits.grad[:, 1:].abs()
        assert strength[:, :, 15, 3:6, 3:6].min() > 20 * strength[rod(15) == 1].max()

    def test_each_sample_is_warped_separately(self):
        both = torch.cat([rod(15), rod()])
        twice = critical_cross_entropy(view(both, torch.cat([rod(), rod()])), strength=1, onset=0.0)
        assert twice > critical_cross_entropy(
            view(torch.cat([rod(), rod()]), torch.cat([rod(), rod()])), strength=1, onset=0.0
        )


class TestWarpLoss:
    @pytest.mark.parametrize("options", [{"strength": 0}, {"strength": "1"}, {"onset": 1}, {"onset": -0.1}])
    def test_refuses_invalid_options(self, options):
        ((option, value),) = options.items()
        with pytest.raises(ConfigError) as caught:
            build_loss("warp", **options)
        assert f"{option}={value}" in caught.value.got

    def test_converges_from_an_empty_and_from_a_full_prediction(self):
        for start in (-6.0, 6.0):
            logits = torch.zeros(1, 2, 31, 9, 9)
            logits[:, 1] = start
            logits.requires_grad_()
            optimizer, loss = torch.optim.Adam([logits], lr=0.5), build_loss("warp")
            for _ in range(40):
                optimizer.zero_grad()
                loss(logits, rod()).backward()
                optimizer.step()
            assert torch.equal(logits.argmax(1, keepdim=True), rod().long())
