"""Unknown voxels count in no metric, whatever prediction and reference have there."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from minivess.errors import ConfigError, DataError
from minivess.metrics.case import score_case
from minivess.metrics.reference import Reference
from minivess.metrics.surface import border

SPACING_UM = (1.0, 1.5, 2.5)
UNKNOWN = 255


def vessels(rng, shape=(18, 16, 12)):
    smooth = uniform_filter(rng.standard_normal(shape), 3)
    return (smooth > rng.uniform(0.05, 0.25)).astype(np.uint8)


def known_part(kind, rng, shape=(18, 16, 12)):
    known = np.zeros(shape, bool)
    if kind == "slices":
        known[:, :, rng.integers(4) :: 5] = True
    elif kind == "box":
        x, y, z = rng.integers(1, 6, 3)
        known[x : x + 9, y : y + 8, z : z + 5] = True
    elif kind == "voxels":
        known = rng.random(shape) > 0.5
    else:
        known[tuple(rng.integers(shape))] = True
    return known


class TestBlindness:
    @settings(deadline=None, max_examples=60)
    @given(seed=st.integers(0, 10**6), kind=st.sampled_from(["slices", "box", "voxels", "one voxel"]))
    def test_no_metric_changes_with_what_unknown_voxels_hold(self, seed, kind):
        rng = np.random.default_rng(seed)
        prediction, label, known = vessels(rng), vessels(rng), known_part(kind, rng)
        reference = np.where(known, label, UNKNOWN)
        scores = score_case(prediction, reference, SPACING_UM, ignore_value=UNKNOWN)
        for hidden in (0, 1, UNKNOWN, vessels(rng), 1 - label):
            seen = np.where(known, prediction, hidden)
            assert score_case(seen, reference, SPACING_UM, ignore_value=UNKNOWN) == scores
            other = Reference.of(np.where(known, label, hidden), SPACING_UM, known)
            assert score_case(prediction, other) == scores

    @settings(deadline=None, max_examples=20)
    @given(seed=st.integers(0, 10**6), kind=st.sampled_from(["slices", "box", "voxels", "one voxel"]))
    def test_a_prediction_that_is_right_where_it_is_known_is_perfect(self, seed, kind):
        rng = np.random.default_rng(seed)
        label, known = vessels(rng), known_part(kind, rng)
        scores = score_case(np.where(known, label, vessels(rng)), np.where(known, label, 7), SPACING_UM, ignore_value=7)
        assert (scores.cldice, scores.dsc, scores.centreline_dsc, scores.normalised_surface_distance) == (1, 1, 1, 1)
        assert (scores.measured_masd, scores.hausdorff_95, scores.betti0_error, scores.betti1_error) == (0, 0, 0, 0)

    @pytest.mark.parametrize("ignore_value", [255, -1])
    def test_without_unknown_voxels_nothing_changes(self, ignore_value):
        rng = np.random.default_rng(3)
        prediction, label = vessels(rng), vessels(rng).astype(np.int16)
        plain = score_case(prediction, label, SPACING_UM)
        assert score_case(prediction, label, SPACING_UM, ignore_value=ignore_value) == plain


class TestByHand:
    def test_dice_and_volumes_of_the_known_slice(self):
        prediction, label = np.zeros((2, 6, 5, 4), np.uint8)
        prediction[1:5, 2, 1], label[2:4, 2, 1] = 1, 1
        prediction[:, 0, 3] = 1  # a false vessel in an unknown slice
        label[:, :, [0, 2, 3]] = UNKNOWN
        scores = score_case(prediction, label, (1, 1, 1), ignore_value=UNKNOWN)
        assert (scores.foreground_voxels, scores.reference_voxels) == (4, 2)
        assert scores.dsc == pytest.approx(2 * 2 / 6)

    def test_a_case_without_known_foreground_counts_as_an_empty_label(self):
        prediction, label = np.zeros((2, 6, 5, 4), np.uint8)
        label[:3], label[3] = UNKNOWN, 0
        prediction[:3] = 1
        assert score_case(prediction, label, (1, 1, 1), ignore_value=UNKNOWN).empty == "both"
        prediction[4, 1, 1] = 1
        scores = asdict(score_case(prediction, label, (1, 1, 1), ignore_value=UNKNOWN))
        assert (scores["empty"], scores["dsc"], scores["cldice"]) == ("reference", 0, 0)

    def test_a_label_without_any_known_voxel_is_refused(self):
        with pytest.raises(DataError, match="known voxel"):
            score_case(np.ones((3, 3, 3), bool), np.full((3, 3, 3), 255), (1, 1, 1), ignore_value=255)

    def test_a_reference_knows_its_unknown_voxels_itself(self):
        label = Reference.of(np.ones((3, 3, 3), bool), (1, 1, 1))
        with pytest.raises(ConfigError, match="ignore_value"):
            score_case(np.ones((3, 3, 3), bool), label, ignore_value=255)


class TestBorder:
    def test_the_cut_is_no_surface(self):
        """A bar of 3 x 3 voxels along z of which one slice is known: its border there are the 8 voxels around its centre."""
        bar = np.zeros((7, 7, 5), bool)
        bar[2:5, 2:5] = True
        known = np.zeros_like(bar)
        known[:, :, 2] = True
        found = Reference.of(bar, (1, 1, 1), known).border.tolist()
        assert len(found) == 8
        assert [3, 3, 2] not in found

    def test_known_voxels_that_are_all_inside_a_vessel_are_the_border(self):
        bar = np.ones((7, 7, 7), bool)
        known = np.zeros_like(bar)
        known[2:5, 2:5, 2:5] = True
        assert len(border(bar & known, ~known)) == 26
