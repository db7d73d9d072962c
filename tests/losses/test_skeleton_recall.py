from __future__ import annotations

import numpy as np
import pytest
import torch

from minivess.errors import ConfigError
from minivess.losses.foreground import Foreground, foreground
from minivess.losses.registry import build_loss
from minivess.losses.skeleton_recall import VolumeTube, soft_skeleton_recall, tube


def rod():
    """A 7x7 rod along x."""
    mask = np.zeros((32, 11, 11), dtype=bool)
    mask[2:30, 2:9, 2:9] = True
    return mask


def view(prob, label):
    prob, label = (torch.from_numpy(array)[None, None].float() for array in (prob, label))
    return Foreground(prob, prob, label, None, label)


class TestTube:
    def test_contains_the_axis_and_two_steps_around_it(self):
        steps = np.abs(np.indices((11, 11)) - 5).sum(axis=0)
        assert np.array_equal(tube(rod())[16], steps <= 2)

    def test_is_within_the_vessel(self):
        thin = np.zeros((20, 7, 7), dtype=bool)
        thin[2:18, 3, 3] = True
        assert np.array_equal(tube(thin), thin)

    def test_vessel_of_even_width_has_a_tube_and_none_with_the_skeleton_of_the_paper(self):
        vessels = np.zeros((20, 7, 14), dtype=bool)
        vessels[2:18, 2:5, 2:5] = vessels[2:18, 2:4, 9:11] = True
        assert tube(vessels)[4:16, :, 9:11].sum() == 12 * 4
        assert not tube(vessels, "lee")[:, :, 9:11].any()

    @pytest.mark.parametrize("size", [(0, 0, 0), (2, 2, 2), (1, 1, 1)])
    def test_blob_that_the_skeleton_of_the_paper_deletes_is_its_own_tube(self, size):
        blob = np.zeros((6, 6, 4), dtype=bool)
        blob[tuple(slice(2, 2 + edge) for edge in size)] = True
        assert np.array_equal(tube(blob, "lee"), blob)


class TestSoftSkeletonRecall:
    def test_is_the_missing_share_of_the_tube(self):
        half = rod()
        half[:16] = False
        voxels, found = tube(rod()).sum(), (tube(rod()) & half).sum()
        assert soft_skeleton_recall(view(half, rod()), smooth=1.0).item() == pytest.approx(
            1 - (found + 1) / (voxels + 1), rel=1e-5
        )

    def test_surface_of_the_vessel_does_not_matter(self):
        assert soft_skeleton_recall(view(tube(rod()), rod()), smooth=1.0) == 0
        assert soft_skeleton_recall(view(np.ones_like(rod()), rod()), smooth=1.0) == 0

    def test_is_zero_for_an_empty_label(self):
        assert soft_skeleton_recall(view(rod(), np.zeros_like(rod())), smooth=1.0) == 0

    def test_tube_of_the_volume_is_the_marked_voxels_that_count(self):
        label = torch.tensor([0, 1, 2, 2, 2]).view(1, 1, 5, 1, 1)
        logits = (
            30.0 * torch.tensor([[-1, -1, 1, -1, 1]]).view(1, 1, 5, 1, 1) * torch.tensor([-1, 1]).view(1, 2, 1, 1, 1)
        )
        found = foreground(logits, label, torch.tensor([1, 1, 1, 1, 0]).view(1, 1, 5, 1, 1))
        assert soft_skeleton_recall(found, 1.0, "volume").item() == pytest.approx(1 - (1 + 1) / (2 + 1))

    def test_volume_keeps_the_centreline_that_a_patch_bends(self):
        """The axis of the rod is at y = 5. A patch that starts at y = 5 moves its skeleton away from the cut."""
        axis = VolumeTube()(rod())[16, 5:, 5]
        assert axis.tolist() == [True, True, True, False, False, False]
        assert tube(rod()[:, 5:])[16, :, 5].tolist() != axis.tolist()

    def test_only_the_tube_of_the_volume_marks_labels_also_with_scnp(self):
        assert build_loss("skeleton_recall").label_mark is None
        assert build_loss("scnp_skeleton_recall").label_mark is None
        assert build_loss("scnp_skeleton_recall", tube="volume").label_mark == VolumeTube()

    def test_refuses_another_tube(self):
        with pytest.raises(ConfigError) as caught:
            build_loss("skeleton_recall", tube="slice")
        assert "'slice'" in caught.value.got

    @pytest.mark.parametrize("smooth", [0, "1"])
    def test_refuses_invalid_options(self, smooth):
        with pytest.raises(ConfigError) as caught:
            build_loss("skeleton_recall", smooth=smooth)
        assert f"smooth={smooth!r}" in caught.value.got
