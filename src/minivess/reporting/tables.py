"""Tables of a comparison: rows for the HTML page, and texts as Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from minivess.csv_text import csv_text
from minivess.metrics.catalogue import connectivity_note
from minivess.statistics.comparison import Comparison, MetricComparison
from minivess.statistics.resampling import Interval
from minivess.text import counted


@dataclass(frozen=True)
class Score:
    """One method in one metric, with the position of its interval on the scale of the metric.

    All methods of a metric share one scale. It ends at three times the median of the means at the latest, so that one
    failed loss does not hide the differences between the others.

    Attributes:
        interval: Mean and interval.
        best: Whether this is the best mean of several losses, on the cases that all losses share.
        left_percent: Lower bound on the scale.
        width_percent: Width of the interval on the scale, cut off at the end of the scale.
        mean_percent: Mean on the scale; above 100 if it is beyond the end.
        folds: Mean and interval of each fold.
    """

    interval: Interval
    best: bool
    left_percent: float
    width_percent: float
    mean_percent: float
    folds: dict[int, Interval]


@dataclass(frozen=True)
class Row:
    """One method in all metrics.

    Attributes:
        method: Name of the loss or baseline.
        baseline: Whether the method is a baseline.
        cases: Number of cases with scores.
        scores: One score per metric, in the order of the comparison.
    """

    method: str
    baseline: bool
    cases: int
    scores: tuple[Score, ...]


def table_rows(comparison: Comparison, order: Sequence[str]) -> list[Row]:
    """Return the rows of the table loss x metric.

    Args:
        comparison: The comparison.
        order: Methods in the order of the table; those without a score are left out.
    """
    return [
        Row(
            method=method,
            baseline=method in comparison.baselines,
            cases=len(comparison.cases) - len(comparison.missing.get(method, ())),
            scores=tuple(_score(metric, method) for metric in comparison.metrics),
        )
        for method in order
        if method in comparison.methods
    ]


def _score(metric: MetricComparison, method: str) -> Score:
    intervals = {score.method: score.interval for score in metric.methods}
    least = min(interval.low for interval in intervals.values())
    end = 3 * median(interval.mean for interval in intervals.values())
    most = min(max(interval.high for interval in intervals.values()), max(end, least))
    scale = 100 / (most - least or 1)
    score = metric.score(method)
    own = score.interval
    return Score(
        interval=own,
        best=bool(metric.pairs) and method == metric.best,
        left_percent=min(100, scale * (own.low - least)),
        width_percent=scale * max(0, min(own.high, most) - own.low),
        mean_percent=scale * (own.mean - least),
        folds={fold.fold: fold.interval for fold in score.folds},
    )


def column_title(metric: MetricComparison) -> str:
    """Return title, unit and better direction of a metric, such as ``"MASD (µm) ↓"``."""
    return f"{metric.heading} {'↑' if metric.higher_is_better else '↓'}"


def best_mean(comparison: Comparison) -> str:
    """Return the text of the best mark: ``"best mean"``, with the number of shared cases if these are not all cases."""
    shared = comparison.shared_cases
    return "best mean" if shared is None else f"best mean on the {counted(shared, 'shared case')}"


def _legend(comparison: Comparison) -> str:
    cases = counted(len(comparison.cases), "held-out case")
    if comparison.shared_cases is not None:
        cases = f"each loss's own cases, out of {cases}"
    bold = f"; the {best_mean(comparison)} is bold" if any(metric.best for metric in comparison.metrics) else ""
    return f"Mean [{comparison.level:.0%} interval] over {cases}{bold}."


def topology_note(comparison: Comparison) -> str:
    """Return which voxels count as connected in the metrics of the table; empty if none of them is about topology."""
    return connectivity_note(metric.metric for metric in comparison.metrics)


def markdown_table(comparison: Comparison) -> str:
    """Return the table loss x metric as Markdown: intervals, best means in bold, then the conclusions as a list."""
    titles = ["loss", "cases", *(column_title(metric) for metric in comparison.metrics)]
    lines = [_markdown_row(titles), _markdown_row(["---", "---:", *["---"] * len(comparison.metrics)])]
    for row in table_rows(comparison, (*comparison.losses, *comparison.baselines)):
        name = _escape(row.method) + (f" ({mark})" if (mark := comparison.mark(row.method)) else "")
        scores = [f"**{score.interval}**" if score.best else str(score.interval) for score in row.scores]
        lines.append(_markdown_row([name, str(row.cases), *scores]))
    lines += ["", f"{_legend(comparison)} {topology_note(comparison)}".rstrip(), ""]
    lines += [f"- {_escape(line)}" for line in sentences(comparison)]
    return "\n".join(lines) + "\n"


def latex_table(comparison: Comparison) -> str:
    """Return the table loss x metric as LaTeX for the package booktabs: intervals in a small font, best means in bold.

    If losses have missing cases, a line below the table states the cases of the means and the meaning of bold. Another
    one states the connectivity of topology metrics.
    """
    titles = ["Loss", *(_latex_title(metric) for metric in comparison.metrics)]
    lines = [f"% {' '.join(sentence.split())}" for sentence in sentences(comparison)]
    lines += [
        rf"\begin{{tabular}}{{l{'c' * len(comparison.metrics)}}}",
        r"\toprule",
        " & ".join(titles) + r" \\",
        r"\midrule",
    ]
    for row in table_rows(comparison, (*comparison.losses, *comparison.baselines)):
        name = _latex(row.method) + (f" ({mark})" if (mark := comparison.mark(row.method)) else "")
        lines.append(" & ".join([name, *map(_latex_score, row.scores)]) + r" \\")
    lines.append(r"\bottomrule")
    if comparison.shared_cases is not None:
        columns, legend = 1 + len(comparison.metrics), _latex(_legend(comparison))
        lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\scriptsize {legend}}} \\")
    lines.append(r"\end{tabular}")
    if note := topology_note(comparison):
        lines.append(rf"\par{{\scriptsize {_latex(note)}}}")
    return "\n".join(lines) + "\n"


def csv_table(comparison: Comparison) -> str:
    """Return the comparison as CSV, one line per method and metric.

    Columns: mean, bounds of the interval, number of cases, whether the method is a baseline, the loss with the best
    mean, the test of method - best loss, and whether the method was trained elsewhere.
    """
    heading = [
        "method",
        "metric",
        "unit",
        "mean",
        "low",
        "high",
        "cases",
        "baseline",
        "best",
        "p",
        "p_holm",
        "effect_size",
        "trained_elsewhere",
    ]
    lines: list[list[object]] = []
    for metric in comparison.metrics:
        for score in metric.methods:
            interval, pair = score.interval, metric.against_best(score.method)
            cases = len(comparison.cases) - len(comparison.missing.get(score.method, ()))
            test = [pair.test.p_value, pair.p_holm, pair.test.effect_size] if pair else []
            numbers = [f"{number:.6g}" for number in (interval.mean, interval.low, interval.high)]
            tested = [f"{number:.6g}" for number in test] or [""] * 3
            row = [score.method, metric.metric, metric.unit, *numbers, cases, score.baseline, metric.best, *tested]
            lines.append([*row, score.method in comparison.elsewhere])
    return csv_text(heading, lines)


def sentences(comparison: Comparison) -> list[str]:
    """Return all sentences of a comparison: the decision, verdict and limits of every metric, then the notes."""
    decided = comparison.decision.text if comparison.decision else ()
    own = [line for metric in comparison.metrics for line in (*metric.verdict, *metric.limits)]
    return [*decided, *own, *comparison.notes]


def _latex_title(metric: MetricComparison) -> str:
    unit = {"": "", "µm": r" (\textmu m)"}.get(metric.unit, f" ({metric.unit})")
    arrow = r"$\uparrow$" if metric.higher_is_better else r"$\downarrow$"
    return f"{_latex(metric.title)}{unit} {arrow}"


def _latex_score(score: Score) -> str:
    mean, bounds = score.interval.parts
    mean = rf"\textbf{{{mean}}}" if score.best else mean
    return rf"{mean} {{\scriptsize {bounds}}}"


_IN_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _latex(text: str) -> str:
    return "".join(_IN_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    for letter in "\\`*<|":
        text = text.replace(letter, f"\\{letter}")
    return text
