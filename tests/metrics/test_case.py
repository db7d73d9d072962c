from __future__ import annotations

import json
import math
from math import isfinite
from pathlib import Path

import numpy as np
import pytest

from minivess.errors import ConfigError, DataError
from minivess.json_files import from_plain, to_plain
from minivess.metrics.case import CaseMetrics, score_case
from minivess.metrics.reference import Reference

GOLDEN = Path(__file__).parents[1] / "reference" / "metrics.npz"
SPACING_UM = (1.0, 1.0, 2.0)


def golden_case(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, float]]:
    """Masks, spacing and values of MetricsReloaded. For three cases, the stored depth is that before cropping."""
    with np.load(GOLDEN) as stored:
        case = {key.removeprefix(f"m{number}_"): stored[key] for key in stored if key.startswith(f"m{number}_")}
    width, height = case["shape"][:2]
    pred, ref = (np.unpackbits(case[name]).reshape(width, height, -1) for name in ("pred", "ref"))
    return pred, ref, case["spacing"], {key: float(value) for key, value in case.items() if value.ndim == 0}


def line(length: int, shape: tuple[int, int, int] = (10, 6, 3)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[:length, 2, 1] = True
    return mask


class TestGoldenValues:
    @pytest.mark.parametrize("number", range(6))
    def test_equal_to_metrics_reloaded(self, number: int):
        prediction, reference, spacing, expected = golden_case(number)
        scores = score_case(prediction, reference, spacing, tolerance_um=2.0)
        assert scores.dsc == pytest.approx(expected["dsc"], abs=1e-6)
        assert scores.centreline_dsc == pytest.approx(expected["centreline_dsc"], abs=1e-6)
        assert scores.measured_masd == pytest.approx(expected["measured_masd"], abs=1e-6)
        assert scores.normalised_surface_distance == pytest.approx(expected["normalised_surface_distance"], abs=1e-6)
        assert scores.hausdorff_95 == pytest.approx(expected["measured_hausdorff_distance_perc"], abs=1e-6)


class TestScoreCase:
    @pytest.mark.parametrize("tolerance_um", [math.nan, math.inf, 0.0, -1.0])
    def test_a_tolerance_that_is_no_length_is_refused(self, tolerance_um: float):
        with pytest.raises(ConfigError, match="tolerance"):
            score_case(line(8), line(8), SPACING_UM, tolerance_um=tolerance_um)

    def test_scores_of_a_perfect_prediction(self):
        scores = score_case(line(8), line(8), SPACING_UM)
        assert (scores.cldice, scores.dsc, scores.centreline_dsc, scores.normalised_surface_distance) == (1, 1, 1, 1)
        assert (scores.measured_masd, scores.hausdorff_95, scores.betti0_error, scores.betti1_error) == (0, 0, 0, 0)
        assert scores.empty == ""

    def test_a_missed_vessel_of_even_width_lowers_cldice_and_not_centreline_dsc(self):
        reference = np.zeros((40, 10, 7), bool)
        reference[:, 1:3, 2:4] = reference[:, 5:8, 2:5] = True  # two vessels of the same length, one is missed
        prediction = reference.copy()
        prediction[:, 1:3] = False
        scores = score_case(prediction, reference, (1, 1, 5))
        assert scores.centreline_dsc == 1
        assert scores.cldice == pytest.approx(2 / 3, abs=0.02)

    def test_one_voxel_two_slices_off_is_measured_in_both_units(self):
        prediction, reference = np.zeros((3, 3, 4), bool), np.zeros((3, 3, 4), bool)
        prediction[1, 1, 1] = reference[1, 1, 3] = True
        scores = score_case(prediction, reference, (1, 1, 5))
        assert (scores.measured_masd, scores.hausdorff_95, scores.measured_masd_voxel) == (10, 10, 2)
        assert (scores.cldice, scores.dsc, scores.centreline_dsc, scores.normalised_surface_distance) == (0, 0, 0, 0)

    @pytest.mark.parametrize(("tolerance_um", "share"), [(9.9, 0), (10, 1)])
    def test_a_distance_of_10_um_is_within_a_tolerance_of_10_um(self, tolerance_um: float, share: float):
        prediction, reference = np.zeros((3, 3, 4), bool), np.zeros((3, 3, 4), bool)
        prediction[1, 1, 1] = reference[1, 1, 3] = True
        scores = score_case(prediction, reference, (1, 1, 5), tolerance_um)
        assert (scores.normalised_surface_distance, scores.tolerance_um) == (share, tolerance_um)

    def test_gap_is_a_betti0_error_and_filled_ring_a_betti1_error(self):
        ring = np.zeros((5, 5, 3), bool)
        ring[1:4, 1:4, 1] = True
        disc = ring.copy()
        ring[2, 2, 1] = False
        assert score_case(disc, ring, SPACING_UM).betti1_error == 1
        broken = line(9)
        broken[4] = False
        assert score_case(broken, line(9), SPACING_UM).betti0_error == 1

    def test_volumes_are_reported(self):
        scores = score_case(line(4), line(8), (0.5, 0.5, 2))
        assert (scores.foreground_voxels, scores.reference_voxels, scores.voxel_um3) == (4, 8, 0.5)

    def test_swapping_the_masks_changes_no_score(self):
        prediction, reference, spacing, _ = golden_case(3)
        one, other = (
            to_plain(score_case(*pair, spacing)) for pair in ((prediction, reference), (reference, prediction))
        )
        assert one.pop("foreground_voxels") == other.pop("reference_voxels")
        assert one.pop("reference_voxels") == other.pop("foreground_voxels")
        assert one == pytest.approx(other)

    def test_padding_around_both_changes_no_score(self):
        prediction, reference, spacing, _ = golden_case(3)
        padded = (np.pad(mask, ((3, 0), (0, 2), (1, 4))) for mask in (prediction, reference))
        assert score_case(*padded, spacing) == score_case(prediction, reference, spacing)

    def test_a_prepared_reference_gives_the_same_scores(self):
        prediction, label, spacing, _ = golden_case(3)
        assert score_case(prediction, Reference.of(label, spacing)) == score_case(prediction, label, spacing)


class TestEmptyMasks:
    nothing = np.zeros((10, 6, 3), bool)

    def test_two_empty_masks_have_perfect_scores(self):
        scores = score_case(self.nothing, self.nothing, SPACING_UM)
        assert (scores.cldice, scores.dsc, scores.centreline_dsc, scores.normalised_surface_distance) == (1, 1, 1, 1)
        assert (scores.measured_masd, scores.measured_masd_voxel, scores.hausdorff_95) == (0, 0, 0)
        assert scores.empty == "both"

    @pytest.mark.parametrize("which", ["prediction", "reference"])
    def test_one_empty_mask_has_the_volumes_diagonal_as_distance(self, which: str):
        prediction, reference = (self.nothing, line(8)) if which == "prediction" else (line(8), self.nothing)
        scores = score_case(prediction, reference, SPACING_UM)
        assert (scores.cldice, scores.dsc, scores.centreline_dsc, scores.normalised_surface_distance) == (0, 0, 0, 0)
        assert scores.measured_masd == scores.hausdorff_95 == pytest.approx((10**2 + 6**2 + (3 * 2) ** 2) ** 0.5)
        assert scores.measured_masd_voxel == pytest.approx((10**2 + 6**2 + 3**2) ** 0.5)
        assert (scores.empty, scores.betti0_error) == (which, 1)

    def test_no_score_is_ever_nan(self):
        for prediction in (self.nothing, line(1), ~self.nothing):
            for reference in (self.nothing, line(1), ~self.nothing):
                scores = to_plain(score_case(prediction, reference, SPACING_UM))
                assert all(isfinite(value) for name, value in scores.items() if name != "empty")


class TestRefusals:
    def test_different_shapes_are_refused(self):
        with pytest.raises(DataError) as caught:
            score_case(line(4), line(4, (10, 6, 4)), SPACING_UM)
        assert "(10, 6, 3)" in caught.value.got
        assert "(10, 6, 4)" in caught.value.got

    def test_label_without_spacing_is_refused(self):
        with pytest.raises(DataError) as caught:
            score_case(line(4), line(4))
        assert "spacing_um" in caught.value.cure

    def test_spacing_other_than_that_of_the_reference_is_refused(self):
        with pytest.raises(DataError) as caught:
            score_case(line(4), Reference.of(line(4), SPACING_UM), (1, 1, 1))
        assert "(1, 1, 1)" in caught.value.got
        assert str(SPACING_UM) in caught.value.got


class TestJson:
    def test_round_trip(self):
        scores = score_case(line(4), line(8), SPACING_UM)
        assert from_plain(CaseMetrics, json.loads(json.dumps(to_plain(scores)))) == scores

    def test_scores_of_an_older_version_have_no_cldice(self):
        values = to_plain(score_case(line(4), line(8), SPACING_UM))
        assert next(iter(values)) == "cldice"
        del values["cldice"]
        assert from_plain(CaseMetrics, values).cldice is None

    def test_a_missing_field_is_named(self):
        values = to_plain(score_case(line(4), line(8), SPACING_UM))
        del values["dsc"]
        with pytest.raises(ValueError, match="dsc"):
            from_plain(CaseMetrics, values)
