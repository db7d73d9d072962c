from __future__ import annotations

import pytest
import torch

from minivess.errors import ConfigError
from minivess.losses.foreground import foreground

LABEL = torch.zeros(2, 1, 4, 5, 3, dtype=torch.uint8)


def logits(channels=2, dtype=torch.float32):
    return torch.randn(2, channels, 4, 5, 3).to(dtype)


class TestForeground:
    def test_probability_equals_the_softmax(self):
        output = logits()
        expected = torch.softmax(output, dim=1)[:, 1:]
        torch.testing.assert_close(foreground(output, LABEL).prob, expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_converted_to_float32(self, dtype):
        view = foreground(logits(dtype=dtype), LABEL)
        assert {view.logit.dtype, view.prob.dtype, view.label.dtype} == {torch.float32}

    def test_a_voxel_of_one_half_is_background(self):
        label = torch.tensor([0.5, 0.51]).view(1, 1, 2, 1, 1)
        assert foreground(torch.zeros(1, 2, 2, 1, 1), label).label.flatten().tolist() == [0, 1]

    @pytest.mark.parametrize("vessel", [torch.tensor(True), torch.tensor(255, dtype=torch.uint8), torch.tensor(1.0)])
    def test_voxels_above_one_half_are_vessel(self, vessel):
        label = torch.zeros(2, 1, 4, 5, 3, dtype=vessel.dtype)
        label[0, 0, 1, 1, 1] = vessel
        assert foreground(logits(), label).label.sum() == 1

    def test_padding_is_empty(self):
        mask = torch.zeros(2, 1, 4, 5, 3, dtype=torch.bool)
        view = foreground(logits() * torch.inf, LABEL + 1, mask)
        assert [tensor.count_nonzero() for tensor in (view.logit, view.prob, view.label)] == [0, 0, 0]


class TestShapes:
    @pytest.mark.parametrize("channels", [1, 3])
    def test_refuses_one_and_three_channels(self, channels):
        with pytest.raises(ConfigError) as caught:
            foreground(logits(channels), LABEL)
        assert str((2, channels, 4, 5, 3)) in caught.value.got

    @pytest.mark.parametrize("shape", [(2, 2, 4, 5, 3), (2, 4, 5, 3), (1, 1, 4, 5, 3), (2, 1, 4, 5, 4)])
    def test_refuses_a_label_or_mask_of_another_shape(self, shape):
        for name, arguments in (("label", (torch.zeros(shape),)), ("mask", (LABEL, torch.zeros(shape)))):
            with pytest.raises(ConfigError) as caught:
                foreground(logits(), *arguments)
            assert name in caught.value.expected
            assert str((2, 1, 4, 5, 3)) in caught.value.expected
            assert str(shape) in caught.value.got
