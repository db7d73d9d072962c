"""Unknown voxels (mask False) count in no loss, whatever logits and label have there."""

from __future__ import annotations

import math

import pytest
import torch

from minivess.losses.foreground import foreground
from minivess.losses.registry import LOSSES, build_loss
from minivess.losses.skeleton_recall import soft_skeleton_recall, tube

ALL = [*sorted(LOSSES), *(f"scnp_{name}" for name in sorted(LOSSES))]
OPTIONS = [(name, {}) for name in ALL] + [
    (name, {"tube": "volume"}) for name in ("skeleton_recall", "scnp_skeleton_recall")
]
SHAPE = (2, 1, 12, 10, 6)


def known_parts():
    """A mask of each kind: two labelled slices, a box, single voxels, and a sample without any known voxel."""
    slices, box, none = (torch.zeros(SHAPE, dtype=torch.bool) for _ in range(3))
    slices[..., [1, 5]] = True
    box[:, :, 2:9, 3:8, 1:5] = True
    none[1] = box[1]
    scattered = torch.rand(SHAPE, generator=torch.Generator().manual_seed(4)) > 0.4
    return {"slices": slices, "box": box, "scattered": scattered, "one sample without": none}


def vessels(seed):
    """Smooth vessels of several voxels, label 1, some of them 2 as in a label with a mark."""
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool3d(noise, 3, 1, 1)
    return (smooth > 0.1).to(torch.uint8) + (smooth > 0.25).to(torch.uint8)


def batch(seed=0):
    """Logits that segment well, so that the losses that start late also count, with errors."""
    label = vessels(seed)
    noise = torch.randn(2, 2, *SHAPE[2:], generator=torch.Generator().manual_seed(seed + 1))
    right = torch.where(label > 0.5, 3.0, -3.0)
    return torch.cat([-right, right], 1) + 2 * noise, label


def changes(logits, label, known):
    """The same batch with other logits and label values where it is unknown, each of several kinds."""
    unknown, source = known.logical_not(), torch.Generator().manual_seed(9)
    both = unknown.expand_as(logits)
    noise = 50 * torch.randn(logits.shape, generator=source)
    for values in (noise, torch.full_like(noise, math.nan), torch.full_like(noise, math.inf), -logits):
        yield torch.where(both, values, logits), label
    for value in (0, 1, 2, 255):
        yield logits, label.masked_fill(unknown, value)
    yield torch.where(both, noise, logits), torch.where(unknown, 1 - label.clamp_max(1), label)


def value_and_gradient(loss, logits, label, mask):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, label, mask)
    value.backward()
    return value.detach(), leaf.grad


@pytest.mark.parametrize(
    ("name", "options"), OPTIONS, ids=lambda part: part if isinstance(part, str) else "-".join(part)
)
@pytest.mark.parametrize("part", known_parts())
class TestUnknownVoxels:
    def test_change_neither_value_nor_gradient(self, name, options, part):
        known, (logits, label) = known_parts()[part], batch()
        loss = build_loss(name, **options)
        value, gradient = value_and_gradient(loss, logits, label, known)
        assert value.isfinite()
        assert gradient.abs().sum() > 0
        assert not gradient[known.logical_not().expand_as(gradient)].any()
        for other_logits, other_label in changes(logits, label, known):
            other_value, other_gradient = value_and_gradient(loss, other_logits, other_label, known)
            assert torch.equal(value, other_value)
            assert torch.equal(gradient, other_gradient)


@pytest.mark.parametrize("name", ALL)
class TestWithoutAnyKnownVoxel:
    def test_the_loss_is_finite_and_has_no_gradient(self, name):
        logits, label = batch()
        nothing = torch.zeros(SHAPE, dtype=torch.bool)
        value, gradient = value_and_gradient(build_loss(name), logits, label, nothing)
        assert value.isfinite()
        assert not gradient.any()


@pytest.mark.parametrize("name", [name for name in ALL if "skeleton_recall" not in name and "warp" not in name])
class TestEdgeOfTheKnown:
    def test_a_known_box_counts_like_a_patch_of_its_size(self, name):
        known, (logits, label) = known_parts()["box"], batch()
        box = (..., slice(2, 9), slice(3, 8), slice(1, 5))
        whole = build_loss(name)(logits, label, known)
        assert whole.item() == pytest.approx(build_loss(name)(logits[box], label[box]).item(), rel=1e-5)


class TestSkeletonRecall:
    def test_the_tube_is_that_of_the_known_part(self):
        """A vessel along x of which x < 6 is known: a prediction of the tube of this part has the full recall."""
        label = torch.zeros(1, 1, 12, 9, 9)
        label[:, :, 1:11, 3:6, 3:6] = 1
        known = torch.ones_like(label, dtype=torch.bool)
        known[:, :, 6:] = False
        drawn = torch.from_numpy(tube((label.bool() & known)[0, 0].numpy()))
        right = torch.where(drawn, 9.0, -9.0)[None, None]
        view = foreground(torch.cat([-right, right], 1), label, known)
        assert soft_skeleton_recall(view, smooth=1.0).item() == pytest.approx(0, abs=1e-3)
