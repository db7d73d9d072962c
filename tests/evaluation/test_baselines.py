from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from skimage.filters import frangi

from minivess.data.array_store import Store
from minivess.data.label_values import UNKNOWN
from minivess.evaluation.baselines import BASELINES
from minivess.metrics.overlap import dsc


def _no_progress(done: int, total: int) -> None: ...


class TestBaselines:
    @pytest.mark.parametrize(("name", "factor"), [("threshold", 0.5), ("frangi", 0.2)])
    def test_the_chosen_level_is_the_best_on_the_training_cases(self, name: str, factor: float, store: Store) -> None:
        case, baseline = store.case("phantom02"), BASELINES[name]
        chosen = baseline.choose_level([case], _no_progress)
        scores = {
            level: dsc(baseline.mask(case, level, _no_progress) != 0, case.label != 0)
            for level in (chosen * factor, chosen, chosen / factor)
        }
        assert max(scores, key=lambda level: scores[level]) == chosen
        assert scores[chosen] > 0.3

    def test_the_level_is_that_of_the_best_mean_over_the_cases(self, store: Store) -> None:
        """One image with three labels: the voxels at 0.5, 1 and 1.5 standard deviations and above."""
        case, baseline = store.case("phantom02"), BASELINES["threshold"]
        cases = []
        for level in (0.5, 1.0, 1.5):
            label = baseline.mask(case, level, _no_progress)
            cases.append(replace(case, label=label, foreground=np.flatnonzero(label.ravel(order="F"))))
        low, middle, high = (baseline.choose_level([one], _no_progress) for one in cases)
        assert low < middle < high
        assert baseline.choose_level(cases, _no_progress) == middle

    def test_the_level_does_not_depend_on_unknown_voxels(self, store: Store) -> None:
        """Two of three slices are unknown: their image does not matter, and the level is that of the third."""
        case, baseline = store.case("phantom02"), BASELINES["threshold"]
        label, image = case.label.copy(), case.image.copy()
        unknown = np.arange(label.shape[2]) % 3 > 0
        label[:, :, unknown] = UNKNOWN
        foreground = np.flatnonzero(label.ravel(order="F") == 1)
        sparse = replace(case, label=label, foreground=foreground)
        image[:, :, unknown] = 255 - image[:, :, unknown]
        level = baseline.choose_level([sparse], _no_progress)
        assert baseline.choose_level([replace(sparse, image=image)], _no_progress) == level
        known = replace(case, label=label[:, :, ::3], image=image[:, :, ::3], foreground=foreground)
        assert baseline.choose_level([known], _no_progress) == level

    def test_vesselness_has_its_scales_in_micrometres(self, store: Store) -> None:
        case = store.case("phantom02")
        width_um = case.stats.spacing_um[0]
        image = case.stats.normalise(case.image[:, :, 1])
        sigmas = [1 / width_um, 2 / width_um, 4 / width_um, 8 / width_um]
        expected = frangi(image, sigmas=sigmas, black_ridges=False, mode="reflect")
        assert width_um != 1
        np.testing.assert_allclose(BASELINES["frangi"].score(case, 1), expected)

    def test_the_mask_has_the_voxels_at_or_above_the_level(self, store: Store) -> None:
        case = store.case("phantom01")
        mask = BASELINES["threshold"].mask(case, 1.0, _no_progress)
        np.testing.assert_array_equal(mask, case.stats.normalise(case.image) >= 1.0)

    def test_voxels_at_the_level_are_vessel(self, store: Store) -> None:
        case = store.case("phantom01")
        score = case.stats.normalise(case.image)
        level = float(np.unique(score)[-20])
        assert (score == level).any()
        np.testing.assert_array_equal(BASELINES["threshold"].mask(case, level, _no_progress), score >= level)

    def test_progress_is_reported_after_every_slice(self, store: Store) -> None:
        cases, baseline = [store.case("phantom01"), store.case("phantom02")], BASELINES["threshold"]
        depth, other = (case.image.shape[2] for case in cases)
        reports: list[tuple[int, int]] = []
        baseline.choose_level(cases, lambda *report: reports.append(report))
        assert reports == [(done, depth + other) for done in range(1, depth + other + 1)]
        reports.clear()
        baseline.mask(cases[0], 1.0, lambda *report: reports.append(report))
        assert reports == [(done, depth) for done in range(1, depth + 1)]
