from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from minivess.reporting.tables import csv_table, latex_table, markdown_table, table_rows
from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison


def compared(**scores: list[float]) -> Comparison:
    rows: list[dict[str, Any]] = [
        {"method": method, "fold": k % 2, "case": f"mv{k}", "dsc": value, "measured_masd": 1 - value}
        for method, values in scores.items()
        for k, value in enumerate(values)
    ]
    return compare(rows, ("dsc", "measured_masd"), resamples=1000)


def _legend(text: str) -> str:
    """Return the line below a Markdown table."""
    return next(line for line in text.splitlines() if line.startswith("Mean ["))


TWO = compared(threshold=[0.3, 0.4, 0.5, 0.6], a=[0.6, 0.7, 0.8, 0.9], b=[0.5, 0.6, 0.6, 0.7])


# a is better on the 4 cases that both have. b has the higher mean over all of its own cases.
UNEVEN = compared(a=[0.8, 0.7, 0.75, 0.72] + [0.6 + 0.01 * k for k in range(8)], b=[0.78, 0.69, 0.72, 0.69])


class TestRows:
    def test_rows_have_the_requested_order_and_the_best_loss_is_marked(self):
        rows = table_rows(TWO, ["b", "a", "not run", "threshold"])
        assert [(row.method, row.baseline, row.cases) for row in rows] == [
            ("b", False, 4),
            ("a", False, 4),
            ("threshold", True, 4),
        ]
        assert [[score.best for score in row.scores] for row in rows] == [[False] * 2, [True] * 2, [False] * 2]

    def test_a_single_loss_is_not_marked_best(self):
        (row,) = table_rows(compared(a=[0.6, 0.7]), ["a"])
        assert not any(score.best for score in row.scores)

    def test_intervals_of_a_column_share_one_scale(self):
        rows = table_rows(TWO, TWO.methods)
        scores = [row.scores[0] for row in rows]
        assert min(score.left_percent for score in scores) == 0
        assert max(score.left_percent + score.width_percent for score in scores) == pytest.approx(100)
        a = next(row.scores[0] for row in rows if row.method == "a")
        assert a.left_percent < a.mean_percent < a.left_percent + a.width_percent

    def test_a_failed_loss_is_cut_off_and_does_not_hide_the_others(self):
        rows = table_rows(compared(a=[0.5, 0.6], b=[0.4, 0.5], failed=[-9.0, -29.0]), ["a", "b", "failed"])
        a, b, failed = (row.scores[1] for row in rows)  # distances of 0.45, 0.55 and 20
        assert failed.mean_percent > 100
        assert b.mean_percent - a.mean_percent > 5
        assert all(score.left_percent + score.width_percent <= 100 + 1e-9 for score in (a, b, failed))


class TestMarkdown:
    def test_the_numbers_are_those_of_the_comparison(self):
        lines = markdown_table(TWO).splitlines()
        intervals = {(m.metric, s.method): str(s.interval) for m in TWO.metrics for s in m.methods}
        assert lines[0] == "| loss | cases | DSC ↑ | MASD (µm) ↓ |"
        assert lines[2] == f"| a | 4 | **{intervals['dsc', 'a']}** | **{intervals['measured_masd', 'a']}** |"
        assert lines[4] == (
            f"| threshold (baseline) | 4 | {intervals['dsc', 'threshold']} | {intervals['measured_masd', 'threshold']} |"
        )
        assert intervals["dsc", "a"].startswith("0.750 [")

    def test_all_sentences_of_the_comparison_are_below_the_table(self):
        text = markdown_table(TWO)
        assert all(
            f"- {sentence}" in text for sentence in (*TWO.metrics[0].verdict, *TWO.metrics[0].limits, *TWO.notes)
        )
        assert "- DSC: a has the highest mean" in text
        assert "a and b (p = 0.125, effect size +1.00," in text

    def test_a_name_cannot_break_the_table(self):
        text = markdown_table(compared(**{"a|<b>": [0.6, 0.7]}))
        assert r"| a\|\<b> | 2 |" in text


class TestMissingCases:
    def test_the_legend_states_the_cases_of_the_means_and_of_the_best_mean(self):
        text = markdown_table(UNEVEN)
        assert "| a | 12 | **0.671 [" in text
        assert "| b | 4 | 0.720 [" in text
        assert all(value in _legend(text) for value in ("95%", "own cases", "12 held-out cases", "4 shared cases"))
        below = latex_table(UNEVEN).splitlines()[-2]
        assert below.startswith(r"\multicolumn{3}{l}{\scriptsize Mean [95\% interval]")
        assert "12 held-out cases" in below

    def test_the_legend_does_not_mention_shared_cases_if_no_case_is_missing(self):
        assert "4 held-out cases" in _legend(markdown_table(TWO))
        assert "bold" in _legend(markdown_table(TWO))
        assert not any(word in _legend(markdown_table(TWO)) for word in ("own", "shared"))
        assert "multicolumn" not in latex_table(TWO)

    def test_no_mean_is_bold_if_the_losses_share_no_case(self):
        rows = [
            {"method": method, "fold": 0, "case": case, "dsc": 0.5}
            for method, cases in (("a", "uv"), ("b", "xy"))
            for case in cases
        ]
        text = markdown_table(compare(rows, ("dsc",), resamples=1000))
        assert "4 held-out cases" in _legend(text)
        assert "bold" not in _legend(text)
        assert "**" not in text


class TestTopologyNote:
    def test_markdown_and_latex_state_the_connectivity(self):
        rows = [{"method": m, "fold": 0, "case": c, "dsc": 0.5, "betti0_error": 1.0} for m in "ab" for c in "xyz"]
        comparison = compare(rows, ("dsc", "betti0_error"), resamples=1000)
        for text in (markdown_table(comparison), latex_table(comparison)):
            assert text.count("26-connected") == 1

    def test_tables_without_topology_have_none(self):
        assert "connected" not in markdown_table(TWO) + latex_table(TWO)


class TestLatex:
    def test_best_means_are_bold_and_names_are_escaped(self):
        comparison = compared(dice_ce=[0.6, 0.7, 0.8, 0.9], b=[0.5, 0.6, 0.6, 0.7])
        lines = [line for line in latex_table(comparison).splitlines() if not line.startswith("%")]
        assert lines[0] == r"\begin{tabular}{lcc}"
        assert lines[2] == r"Loss & DSC $\uparrow$ & MASD (\textmu m) $\downarrow$ \\"
        assert lines[4].startswith(r"dice\_ce & \textbf{0.750} {\scriptsize [0.")
        assert [line for line in lines if line.count("&") not in (0, 2)] == []


class TestCsv:
    def test_each_method_and_metric_has_a_line(self):
        lines = csv_table(TWO).splitlines()
        assert len(lines) == 1 + 3 * 2
        assert "a,dsc,,0.75," in lines[2]
        assert lines[1].endswith(",4,True,a,,,,False")

    def test_p_and_effect_size_are_those_of_the_loss_minus_the_best(self):
        lines = csv_table(TWO).splitlines()
        assert lines[0].endswith(",best,p,p_holm,effect_size,trained_elsewhere")
        assert lines[2].endswith(",a,,,,False")  # a itself
        assert lines[3].endswith(",a,0.125,0.125,-1,False")  # b is lower on all 4 cases: 2 of 16 patterns
        assert lines[6].endswith(",a,0.125,0.125,1,False")  # and farther off


def test_names_are_no_latex_commands_and_no_formulas() -> None:
    evil = "\\input{/etc/passwd}\n=cmd|x!A0"
    rows = [
        {"method": method, "fold": k % 2, "case": f"c{k}", "dsc": 0.5 + 0.01 * k + shift}
        for method, shift in ((evil, 0.1), ("a", 0.0))
        for k in range(6)
    ]
    comparison = compare(rows, ["dsc"], resamples=1000)
    lines = [line for line in latex_table(comparison).splitlines() if not line.startswith("%")]
    assert "\\input{" not in "".join(lines)
    assert [line[:20] for line in lines if "=cmd" in line] == ["\\textbackslash{}input"[:20]]
    assert len(list(csv.reader(io.StringIO(csv_table(comparison))))) == 3
