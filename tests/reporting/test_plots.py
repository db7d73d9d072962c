from __future__ import annotations

from dataclasses import replace

from minivess.experiments.run_folder import RunFolder
from minivess.reporting.plots import loss_curve, memory_timeline, paired_points, series, trade_off, watched_curve
from minivess.reporting.run_data import MemorySample, RunData, read_run_data
from minivess.statistics.compare_methods import compare
from minivess.statistics.pareto import pareto_front
from minivess.text import GIB


def changed(facts: RunData, **values: object) -> RunData:
    """Return the same data with these values in every cell."""
    return replace(facts, cells=tuple(replace(cell, **values) for cell in facts.cells))


class TestPairedPoints:
    def test_each_case_is_a_line_with_its_name_and_scores_as_hover_text(self, finished: RunFolder):
        facts = read_run_data(finished)
        text = str(paired_points(facts, facts.comparison.metric("dsc")))
        by_method = {row.method: f"{row.metrics.dsc:.3f}" for row in facts.rows if row.case == "a1"}
        assert text.count("<title>") == 5
        assert f"<title>a1: dice_ce {by_method['dice_ce']}, cbdice {by_method['cbdice']}, threshold " in text

    def test_the_means_have_the_colours_of_the_losses_and_are_in_the_description(self, finished: RunFolder):
        facts = read_run_data(finished)
        text = str(paired_points(facts, facts.comparison.metrics[0]))
        assert all(f"var(--{series(facts, method)})" in text for method in facts.methods)
        assert all(f"{s.method} {s.interval}" in text for s in facts.comparison.metrics[0].methods)

    def test_a_failed_case_makes_the_axis_logarithmic(self, finished: RunFolder):
        facts = read_run_data(finished)
        masd = facts.comparison.metric("measured_masd")
        far = [
            row.model_copy(update={"metrics": replace(row.metrics, measured_masd=900.0)}) if number == 0 else row
            for number, row in enumerate(facts.rows)
        ]
        assert ">100<" not in str(paired_points(facts, masd))
        assert ">100<" in str(paired_points(replace(facts, rows=far), masd))


class TestTradeOff:
    def test_every_loss_is_a_point_and_the_description_names_the_front(self, finished: RunFolder):
        facts = read_run_data(finished)
        text = str(trade_off(facts))
        assert text.count("<title>") == len(facts.losses)
        assert f"Pareto front: {', '.join(pareto_front(facts.comparison))}." in text

    def test_means_are_over_the_shared_cases_if_cases_are_missing(self, finished: RunFolder):
        facts = read_run_data(finished)
        rows = [row for row in facts.rows if row.method != "cbdice" or row.fold == 0]
        fewer = replace(facts, comparison=compare([row.flat() for row in rows], resamples=1000))
        overlap = fewer.comparison.metric("dsc").score("dice_ce")
        assert overlap.shared is not None
        assert overlap.shared.mean != overlap.interval.mean
        text = str(trade_off(fewer))
        assert f"<title>dice_ce: DSC {overlap.shared}, clDice" in text
        assert f"on the {overlap.shared.n} shared cases: " in text
        assert "shared cases" not in str(trade_off(facts))

    def test_a_single_loss_has_no_figure(self, finished: RunFolder):
        facts = read_run_data(finished)
        assert trade_off(replace(facts, methods=facts.methods[:1])) is None


class TestCurves:
    def test_each_fold_is_a_line_from_the_journal(self, finished: RunFolder):
        facts = read_run_data(finished)
        text = str(loss_curve(facts, "cbdice"))
        assert "<title>cbdice, fold 0</title>" in text
        assert "fold 1 ends at 0.500" in text

    def test_the_watched_case_is_named(self, finished: RunFolder):
        facts = read_run_data(finished)
        watched = facts.of("cbdice")[1].journal[0]["case"]
        assert f"<title>cbdice, fold 1, watching {watched}</title>" in str(watched_curve(facts))

    def test_before_the_first_epoch_there_is_no_curve(self, finished: RunFolder):
        facts = changed(read_run_data(finished), journal=[])
        assert loss_curve(facts, "cbdice") is None
        assert watched_curve(facts) is None


class TestMemory:
    def test_limits_and_peaks_are_shown(self, finished: RunFolder):
        text = str(memory_timeline(read_run_data(finished)))
        assert all(words in text for words in ("limit 24.0 GiB", "limit 7.0 GiB", "warning 6.0 GiB"))
        assert all(value in text for value in ("<title>cbdice-fold0 ", " 2.0 of 24.0 GiB, GPU 1.0 GiB</title>"))

    def test_a_short_peak_in_a_long_run_is_kept(self, finished: RunFolder):
        samples = [MemorySample(float(k), GIB * (20 if k == 4321 else 1), None, 20 * GIB, 0) for k in range(10_000)]
        facts = changed(read_run_data(finished), samples=samples, outcome=None)
        flat = changed(facts, samples=[replace(sample, memory_bytes=GIB) for sample in samples])
        assert "20.0 of 24.0 GiB" in str(memory_timeline(facts))
        assert len(str(memory_timeline(facts))) < 200_000
        heights = [min(_heights(str(memory_timeline(one)))) for one in (facts, flat)]
        assert heights[0] < heights[1]

    def test_a_run_without_samples_has_no_timeline(self, finished: RunFolder):
        assert memory_timeline(changed(read_run_data(finished), samples=[])) is None


def _heights(text: str) -> list[float]:
    """Return Y of the points of the first cell's line. A smaller Y is higher on the page."""
    path = text.split('id="memory-memory-', 1)[1].split('d="', 1)[1].split('"', 1)[0]
    return [float(line.split()[2]) for line in path.splitlines() if line]
