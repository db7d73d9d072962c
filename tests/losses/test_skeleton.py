from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minivess.errors import ConfigError
from minivess.losses.skeleton import soft_skeleton

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "losses.npz")
CASES = [(case, iterations) for case in range(3) for iterations in (3, 10)]


def pooled_skeleton(image, iterations):
    """The authors' formula with pooling layers and the gradient of autograd."""

    def erode(x):
        x_, y_, z_ = (-F.max_pool3d(-x, k, 1, [n // 2 for n in k]) for k in ((3, 1, 1), (1, 3, 1), (1, 1, 3)))
        return torch.minimum(torch.minimum(x_, y_), z_)

    skeleton = torch.zeros_like(image)
    for _ in range(iterations + 1):
        eroded = erode(image)
        thin = F.relu(image - F.max_pool3d(eroded, 3, 1, 1))
        skeleton = skeleton + F.relu(thin - skeleton * thin)
        image = eroded
    return skeleton


def gradient(function, image, weight):
    leaf = image.clone().requires_grad_()
    (function(leaf) * weight).sum().backward()
    return leaf.grad


def rod():
    image = torch.zeros(1, 1, 13, 7, 7)
    image[:, :, 2:11, 2:5, 2:5] = 1
    return image


class TestValue:
    def test_skeleton_of_a_three_by_three_rod_is_its_axis(self):
        skeleton = soft_skeleton(rod(), 3)
        assert torch.equal(skeleton.nonzero()[:, 2:], torch.tensor([[x, 3, 3] for x in range(3, 10)]))
        assert skeleton.sum() == 7

    @pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
    def test_constant_image_has_no_skeleton(self, value):
        assert soft_skeleton(torch.full((2, 1, 5, 6, 4), value), 3).count_nonzero() == 0

    @pytest.mark.parametrize(("case", "iterations"), CASES)
    def test_equals_the_authors_code(self, case, iterations):
        prob = torch.softmax(torch.from_numpy(GOLDEN[f"c{case}_logits"]), 1)[:, 1:]
        label = torch.from_numpy(GOLDEN[f"c{case}_label"])
        expected = torch.from_numpy(GOLDEN[f"c{case}_softskel_pred_it{iterations}"])
        torch.testing.assert_close(soft_skeleton(prob, iterations), expected, rtol=1e-5, atol=1e-7)
        assert np.array_equal(soft_skeleton(label, iterations), GOLDEN[f"c{case}_softskel_label_it{iterations}"])

    def test_binary_image_gives_the_same_in_int8(self):
        image = torch.rand(2, 1, 9, 8, 4, generator=torch.Generator().manual_seed(0)) > 0.2
        skeleton = soft_skeleton(image, 3)
        assert skeleton.dtype == torch.int8
        assert torch.equal(skeleton.float(), soft_skeleton(image.float(), 3))

    def test_half_precision_is_computed_in_float32(self):
        image = rod().to(torch.bfloat16)
        assert soft_skeleton(image, 3).dtype == torch.float32

    @pytest.mark.parametrize(("shape", "iterations"), [((5, 5, 5), 3), ((1, 1, 5, 5, 5), -1)])
    def test_refuses_invalid_shape_and_iterations(self, shape, iterations):
        with pytest.raises(ConfigError) as caught:
            soft_skeleton(torch.zeros(shape), iterations)
        assert str(shape) in caught.value.got
        assert str(iterations) in caught.value.got


class TestGradient:
    def test_passes_gradcheck(self):
        image = torch.rand(2, 1, 5, 4, 4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: soft_skeleton(x, 3), image)

    def test_passes_gradcheck_with_padding(self):
        image = torch.rand(1, 1, 5, 4, 4, dtype=torch.float64, requires_grad=True)
        mask = torch.rand(1, 1, 5, 4, 4) > 0.3
        assert torch.autograd.gradcheck(lambda x: soft_skeleton(x, 2, mask), image)

    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10**6), st.integers(2, 8), st.integers(1, 5))
    def test_equals_pooling_layers_if_voxels_tie(self, seed, levels, iterations):
        source = torch.Generator().manual_seed(seed)
        image = torch.randint(0, levels + 1, (2, 1, 6, 7, 4), generator=source) / levels
        weight = torch.rand(image.shape, generator=source)
        ours = gradient(lambda x: soft_skeleton(x, iterations), image, weight)
        theirs = gradient(lambda x: pooled_skeleton(x, iterations), image, weight)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)

    def test_is_bitwise_reproducible(self):
        image, weight = torch.rand(2, 1, 24, 24, 8), torch.rand(2, 1, 24, 24, 8)
        first, second = (gradient(lambda x: soft_skeleton(x, 10), image, weight) for _ in range(2))
        assert torch.equal(first, second)

    def test_keeps_two_images_for_the_backward_pass(self):
        image, kept = torch.rand(2, 1, 12, 12, 4, requires_grad=True), []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()), lambda _: None):
            soft_skeleton(image * 1, 10)
        assert kept == [image.numel()] * 2


class TestPadding:
    @settings(deadline=None, max_examples=15)
    @given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 3))
    def test_padding_is_treated_like_the_outside_of_the_image(self, seed, before, after):
        source = torch.Generator().manual_seed(seed)
        image, weight = torch.rand(2, 2, 1, 8, 7, 4, generator=source)
        margin = (before, after, after, before, 1, 2)
        padded, mask = F.pad(image, margin, value=0.7), F.pad(torch.ones_like(image), margin).bool()
        torch.testing.assert_close(soft_skeleton(padded, 3, mask), F.pad(soft_skeleton(image, 3), margin))
        ours = gradient(lambda x: soft_skeleton(x, 3, mask), padded, F.pad(weight, margin, value=1.0))
        torch.testing.assert_close(ours, F.pad(gradient(lambda x: soft_skeleton(x, 3), image, weight), margin))
