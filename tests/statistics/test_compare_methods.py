from __future__ import annotations

import csv
import io
import json
from typing import Any

import numpy as np
import pytest

from minivess.errors import ConfigError, DataError
from minivess.json_files import to_plain
from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison


def rows(method: str, scores: list[float], **others: Any) -> list[dict[str, Any]]:
    """Return one row per case, with the cases in three folds. The distance decreases as the overlap increases."""
    return [
        {"method": method, "fold": k % 3, "case": f"mv{k:02d}", "dsc": s, "measured_masd": 10 * (1 - s), **others}
        for k, s in enumerate(scores)
    ]


def spread(mean: float, n: int, seed: int) -> list[float]:
    return list(np.random.default_rng(seed).normal(mean, 0.02, size=n))


def compare_two(*tables: list[dict[str, Any]], **options: Any) -> Comparison:
    return compare([row for table in tables for row in table], ("dsc", "measured_masd"), resamples=1000, **options)


class TestScores:
    def test_pooled_mean_is_over_cases_and_fold_means_have_their_n(self):
        found = compare_two(rows("a", [0.1, 0.2, 0.3, 0.5])).metric("dsc").methods[0]
        assert (found.interval.mean, found.interval.n) == (pytest.approx(0.275), 4)
        assert [(score.fold, score.interval.n) for score in found.folds] == [(0, 2), (1, 1), (2, 1)]
        assert found.folds[0].interval.mean == pytest.approx(0.3)

    def test_the_best_method_has_the_highest_overlap_and_the_lowest_distance(self):
        found = compare_two(rows("a", [0.5, 0.6, 0.7]), rows("b", [0.6, 0.7, 0.8]))
        assert [(metric.higher_is_better, metric.best) for metric in found.metrics] == [(True, "b"), (False, "b")]

    def test_the_first_method_is_best_if_the_means_are_equal(self):
        found = compare_two(rows("a", [0.5, 0.75]), rows("b", [0.75, 0.5]))
        assert [metric.best for metric in found.metrics] == ["a", "a"]


class TestPairs:
    def test_a_clear_difference_is_shown_for_overlap_and_for_distance(self):
        found = compare_two(rows("a", spread(0.7, 24, 0)), rows("b", spread(0.8, 24, 1)))
        assert [pair.better for metric in found.metrics for pair in metric.pairs] == ["b", "b"]
        assert found.metric("dsc").pairs[0].test.difference < 0 < found.metric("measured_masd").pairs[0].test.difference

    def test_holm_is_over_all_pairs_of_the_metric(self):
        found = compare_two(*(rows(name, spread(0.8, 24, seed)) for seed, name in enumerate("abcd"))).metric("dsc")
        assert len(found.pairs) == 6
        smallest = min(found.pairs, key=lambda pair: pair.test.p_value)
        assert smallest.p_holm == pytest.approx(min(1, 6 * smallest.test.p_value))

    def test_seven_cases_of_four_methods_cannot_show_a_difference(self):
        found = compare_two(*(rows(name, spread(0.5 + 0.1 * k, 7, k)) for k, name in enumerate("abcd"))).metric("dsc")
        assert not any(pair.better for pair in found.pairs)
        values = ("7 cases", "0.016", "0.094", "6 pairs", "5%", "8 cases")  # 2 / 2^7, times 6; 8 cases give 6 x 2 / 2^8
        assert all(value in found.limits[-1] for value in values)

    def test_eight_cases_of_four_methods_can_show_a_difference(self):
        found = compare_two(*(rows(name, spread(0.5 + 0.1 * k, 8, k)) for k, name in enumerate("abcd"))).metric("dsc")
        assert {pair.better for pair in found.pairs} == {"b", "c", "d"}

    def test_the_level_decides_which_difference_is_shown(self):
        """Of six equal differences, p is 2 / 2^6 = 0.031."""
        tables = rows("a", [0.5] * 5 + [0.6]), rows("b", [0.6] * 5 + [0.7])
        shown = {level: compare_two(*tables, level=level).metric("dsc").pairs[0].better for level in (0.9, 0.95, 0.99)}
        assert shown == {0.9: "b", 0.95: "b", 0.99: ""}

    def test_folds_and_resamples_reach_the_intervals(self):
        """Two folds of six cases that differ by 0.4: within the folds, the scores hardly vary."""
        table = [
            {"method": "a", "fold": k % 2, "case": f"mv{k:02d}", "dsc": 0.3 + 0.4 * (k % 2) + 0.001 * k}
            for k in range(12)
        ]
        interval = compare(table, ("dsc",), resamples=1234).metric("dsc").methods[0].interval
        assert (interval.resamples, interval.method) == (1234, "BCa bootstrap, stratified by fold")
        assert interval.high - interval.low < 0.02

    def test_many_pairs_have_enough_resamples_for_the_correction(self):
        """At a level of 99.9 %, 2 x 6 pairs need 12,000 patterns, so that p x 6 can be below 0.001."""
        found = compare_two(*(rows(name, spread(0.5 + 0.1 * k, 16, k)) for k, name in enumerate("abcd")), level=0.999)
        test = found.metric("dsc").pairs[0].test
        assert test.smallest_p == pytest.approx(1 / 12_001)
        assert test.smallest_p * 6 < 0.001

    def test_against_best_is_the_pair_method_minus_best_in_either_order(self):
        found = compare_two(rows("b", spread(0.7, 9, 0)), rows("a", spread(0.8, 9, 1)), rows("c", spread(0.6, 9, 2)))
        metric = found.metric("dsc")
        b, c = metric.against_best("b"), metric.against_best("c")
        assert b is not None
        assert c is not None
        assert [(pair.first, pair.second, pair.test.effect_size) for pair in (b, c)] == [("b", "a", -1), ("c", "a", -1)]
        assert metric.against_best("a") is None


@pytest.mark.slow
class TestFamilyWise:
    @pytest.mark.parametrize("ahead", [0, 0.5])
    def test_five_percent_of_the_comparisons_make_a_false_claim(self, ahead: float):
        """Four losses in two different folds. Three losses are equal; the first may be better. Count claims among equal losses."""
        rng, claims, without_holm = np.random.default_rng(0), [], []
        for _ in range(200):
            scores = rng.normal(0.7, 0.02, size=(4, 10)) + rng.normal(0, 0.1, size=10) + 0.1 * (np.arange(10) % 2)
            scores[0] += ahead
            table = [
                {"method": m, "fold": k % 2, "case": f"mv{k}", "dsc": scores[m, k]} for m in range(4) for k in range(10)
            ]
            pairs = compare(table, ("dsc",), resamples=100).metric("dsc").pairs
            equal = [pair for pair in pairs if not ahead or pair.first != "0"]
            claims.append(any(pair.better for pair in equal))
            without_holm.append(any(pair.test.p_value <= 0.05 for pair in equal))
        assert np.mean(claims) <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5
        assert np.mean(without_holm) > 0.1  # so the correction is needed


class TestBaselines:
    def test_a_baseline_is_shown_but_never_tested_and_never_best(self):
        found = compare_two(rows("a", [0.5, 0.6, 0.7]), rows("threshold", [0.8, 0.8, 0.9]))
        assert (found.methods, found.baselines) == (("a", "threshold"), ("threshold",))
        score = found.metric("dsc").methods[1]
        assert (score.baseline, score.interval.n) == (True, 3)
        assert (found.metric("dsc").pairs, found.metric("dsc").best) == ((), "a")

    def test_a_method_that_is_not_named_as_baseline_is_tested(self):
        found = compare_two(rows("a", [0.5, 0.6]), rows("threshold", [0.8, 0.9]), baselines=()).metric("dsc")
        assert (found.best, len(found.pairs)) == ("threshold", 1)

    def test_baselines_alone_can_be_shown(self):
        found = compare_two(rows("threshold", [0.8, 0.9])).metric("dsc")
        assert (found.best, found.pairs, len(found.verdict)) == ("", (), 1)
        assert "only baselines" in found.verdict[0]


class TestTablesOfOtherTools:
    def test_an_empty_text_that_pandas_reads_as_nan_is_no_empty_mask(self):
        found = compare_two(rows("a", [0.5, 0.6], empty=float("nan")), rows("b", [0.7, 0.8], empty=""))
        assert found.empty == ()


class TestMissingCases:
    def test_pairs_use_shared_cases_and_missing_cases_are_listed(self):
        found = compare_two(rows("a", [0.5, 0.6, 0.7, 0.8]), rows("b", [0.5, 0.6, 0.7]))
        assert found.missing == {"b": ("mv03",)}
        assert found.metric("dsc").pairs[0].test.n == found.metric("dsc").shared_cases == 3
        assert found.metric("dsc").methods[0].interval.n == 4
        assert found.notes[0].startswith("b ")
        assert "1 case (mv03)" in found.notes[0]

    def test_a_method_without_the_hard_case_is_not_best_for_that_reason(self):
        found = compare_two(rows("a", [0.8, 0.8, 0.1]), rows("b", [0.7, 0.7])).metric("dsc")
        assert found.methods[0].interval.mean < found.methods[1].interval.mean
        assert found.best == "a"

    def test_methods_without_a_shared_case_are_reported_as_not_tested(self):
        apart = [{**row, "case": f"other-{row['case']}"} for row in rows("b", [0.5])]
        found = compare_two(rows("a", [0.5]), apart).metric("dsc")
        assert (found.pairs, found.best) == ((), "")
        assert "not tested" in found.limits[-1]
        assert "a and b" in found.limits[-1]


class TestEmptyMasks:
    def test_empty_masks_are_listed_and_counted(self):
        found = compare_two(rows("a", [0.5, 0.6]), rows("b", [0.0], empty="prediction"))
        assert [(row.method, row.case, row.which) for row in found.empty] == [("b", "mv00", "prediction")]
        assert "b on mv00:" in found.notes[1]
        assert found.metric("dsc").methods[1].interval.mean == 0


class TestTable:
    def test_round_trip_through_json(self):
        found = compare_two(rows("a", spread(0.7, 9, 0)), rows("b", spread(0.8, 8, 1)), rows("threshold", [0.1]))
        assert Comparison.model_validate_json(json.dumps(to_plain(found), allow_nan=False)) == found

    def test_a_csv_gives_the_same_comparison(self):
        table = rows("a", spread(0.7, 6, 0), empty="") + rows("b", spread(0.8, 6, 1), empty="")
        text = io.StringIO()
        writer = csv.DictWriter(text, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
        assert compare_two(list(csv.DictReader(io.StringIO(text.getvalue())))) == compare_two(table)

    def test_the_order_of_the_rows_does_not_matter(self):
        table = rows("a", spread(0.7, 6, 0)) + rows("b", spread(0.8, 6, 1))
        assert compare_two(table[:6][::-1], table[6:]) == compare_two(table)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "values"),
        [
            ({"dsc": float("nan")}, ("dsc = nan", " a ", "mv00")),
            ({"dsc": "none"}, ("'none'", " a ", "mv00")),
            ({"case": "mv01"}, ("mv01", " a")),
        ],
    )
    def test_an_error_names_the_invalid_row(self, change: dict[str, Any], values: tuple[str, ...]):
        table = rows("a", [0.5, 0.6])
        with pytest.raises(DataError) as caught:
            compare_two([{**table[0], **change}, table[1]])
        assert all(value in caught.value.got for value in values)

    def test_an_error_names_the_missing_keys(self):
        with pytest.raises(DataError) as caught:
            compare_two([{"method": "a", "case": "mv00", "dsc": 0.5}])
        assert "fold, measured_masd" in caught.value.got

    def test_an_empty_table_is_refused(self):
        with pytest.raises(DataError, match="an empty table"):
            compare_two([])

    def test_methods_with_different_splits_are_refused(self):
        moved = [{**row, "fold": 2} for row in rows("b", [0.5])]
        with pytest.raises(DataError) as caught:
            compare_two(rows("a", [0.5]), moved)
        assert all(value in caught.value.got for value in ("mv00", "fold 0 of a", "fold 2 of b"))

    def test_an_unknown_metric_is_refused(self):
        with pytest.raises(ConfigError, match="'accuracy'"):
            compare(rows("a", [0.5]), ("accuracy",))
