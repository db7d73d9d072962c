"""Figures of the report: cases paired across methods, DSC against clDice, learning curves, memory over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, median

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from minivess.evaluation.evaluate import CaseRow
from minivess.reporting.run_data import CellData, RunData
from minivess.reporting.svg import SERIES, drawing, paint, to_svg
from minivess.reporting.tables import column_title
from minivess.statistics.comparison import MetricComparison
from minivess.statistics.pareto import pareto_front, trade_off_metrics
from minivess.text import GIB, counted, format_together

_POINTS_A_CELL = 200


def series(facts: RunData, method: str) -> str:
    """Return the name of the colour of a method; all baselines have the same colour."""
    return f"series-{facts.losses.index(method) % SERIES}" if method in facts.losses else "baseline"


def many_methods(facts: RunData) -> bool:
    """Return whether a figure with all methods needs the full width of the page."""
    return len(facts.methods) > 4


def paired_points(facts: RunData, metric: MetricComparison) -> Markup:
    """Draw each case as a line across the methods, with the mean and interval of each method next to the points."""
    scores = {score.method: score for score in metric.methods}
    methods = [method for method in facts.methods if method in scores]
    places = {method: place + 0.4 * scores[method].baseline for place, method in enumerate(methods)}
    cases = _values_by_case(facts.rows, metric.metric)
    with drawing():
        figure = Figure(figsize=(9, 2.8) if many_methods(facts) else (3.6, 3.1), layout="constrained")
        axes = figure.add_subplot()
        for number, values in enumerate(cases.values()):
            own = [(places[method], values[method]) for method in methods if method in values]
            _draw_case(axes, own, f"case-{number}", alpha=0.6 if len(cases) < 20 else 0.3)
        for method in methods:
            interval, place = scores[method].interval, places[method] + 0.2
            colour = paint(series(facts, method))
            axes.plot([place, place], [interval.low, interval.high], color=colour, linewidth=2.4, zorder=4)
            axes.plot(place, interval.mean, "D", color=colour, markeredgecolor=paint("paper"), markersize=6, zorder=5)
        axes.set_title(column_title(metric), loc="left", fontweight="bold")
        _set_method_ticks(axes, places)
        _spread_if_wide(axes, [value for values in cases.values() for value in values.values()])
        words = {
            f"case-{number}": f"{case}: "
            + ", ".join(f"{m} {format_together(values[m])[0]}" for m in methods if m in values)
            for number, (case, values) in enumerate(cases.items())
        }
        return to_svg(figure, f"paired-{metric.metric}", _paired_alt(metric, methods, len(cases)), words)


def trade_off(facts: RunData) -> Markup | None:
    """Draw mean DSC against mean clDice of every loss, with intervals and the Pareto front.

    The means are over the cases that all losses share, like the front; otherwise a loss that has only easy cases would
    seem better. Baselines are left out because they are so far below that the losses would be drawn in one corner.

    Returns:
        The figure; None if DSC or clDice is not compared, if the losses share no case, or if there are fewer than two
        losses.
    """
    front, compared = pareto_front(facts.comparison), trade_off_metrics(facts.comparison)
    if not front or compared is None or len(facts.losses) < 2:
        return None
    across, up = compared
    x, y = ({score.method: score.shared for score in metric.losses if score.shared} for metric in (across, up))
    losses = [loss for loss in facts.losses if loss in x]
    with drawing():
        figure = Figure(figsize=(5.2, 3.8), layout="constrained")
        axes = figure.add_subplot()
        # Losses that are not on the front are below and left of this staircase.
        axes.step(
            [x[name].mean for name in front],
            [y[name].mean for name in front],
            where="post",
            color=paint("muted"),
            linewidth=0.9,
            linestyle=":",
        )
        for method in losses:
            colour, here = paint(series(facts, method)), (x[method].mean, y[method].mean)
            axes.plot([x[method].low, x[method].high], [here[1]] * 2, color=colour, linewidth=1, alpha=0.6)
            axes.plot([here[0]] * 2, [y[method].low, y[method].high], color=colour, linewidth=1, alpha=0.6)
            marker = "D" if method in front else "o"
            (point,) = axes.plot(*here, marker, color=colour, markeredgecolor=paint("paper"), markersize=7)
            point.set(gid=f"trade-{method}", label=method)
        figure.legend(loc="outside upper left", ncols=3, frameon=False, labelcolor=paint("ink"), handlelength=1)
        axes.grid(axis="x")
        shared = facts.comparison.shared_cases
        where = f" on the {counted(shared, 'shared case')}" if shared else ""
        axes.set_xlabel(f"mean {column_title(across)}{where}")
        axes.set_ylabel(f"mean {column_title(up)}{where}")
        words = {f"trade-{method}": f"{method}: DSC {x[method]}, {up.title} {y[method]}" for method in losses}
        alt = f"Mean DSC against mean {up.title}{where}: {'; '.join(words.values())}. On the Pareto front: {', '.join(front)}."
        return to_svg(figure, "trade-off", alt, words)


def _values_by_case(rows: Sequence[CaseRow], metric: str) -> dict[str, dict[str, float]]:
    """Return the values by case and method, each averaged over its repeats."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in sorted(rows, key=lambda row: row.case):
        values.setdefault(row.case, {}).setdefault(row.method, []).append(float(getattr(row.metrics, metric)))
    return {case: {method: fmean(own) for method, own in by.items()} for case, by in values.items()}


def _draw_case(axes: Axes, points: Sequence[tuple[float, float]], gid: str, alpha: float) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "-o", color=paint("muted"), linewidth=0.8, markersize=3.2, markeredgewidth=0, alpha=alpha, gid=gid)


def _set_method_ticks(axes: Axes, places: dict[str, float]) -> None:
    crowded = sum(map(len, places)) > 50 if len(places) < 5 else max(map(len, places)) * len(places) > 140
    tilt = {"rotation": 20, "ha": "right"} if crowded else {"ha": "center"}
    axes.set_xticks(list(places.values()), list(places), color=paint("ink"), **tilt)
    axes.set_xlim(min(places.values()) - 0.35, max(places.values()) + 0.5)


def _spread_if_wide(axes: Axes, values: Sequence[float]) -> None:
    """Make the axis logarithmic above 1 if the largest value is far above the median.

    The distance of a failed case is the diagonal of the volume. On a linear axis all other cases would look the same.
    """
    if max(values) > 20 * max(median(values), 0.5):
        axes.set_yscale("symlog", linthresh=1, linscale=0.5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(bottom=0)


def _paired_alt(metric: MetricComparison, methods: Sequence[str], cases: int) -> str:
    means = {score.method: str(score.interval) for score in metric.methods}
    listing = "; ".join(f"{method} {means[method]}" for method in methods)
    return f"{metric.title} of {cases} cases, one line per case across the methods. Means: {listing}."


def loss_curve(facts: RunData, method: str) -> Markup | None:
    """Draw the training loss by optimizer step, one line per fold; None before the first epoch."""
    cells = [cell for cell in facts.of(method) if cell.journal]
    if not cells:
        return None
    with drawing():
        figure = Figure(figsize=(3.3, 2.1), layout="constrained")
        axes = figure.add_subplot()
        for cell in cells:
            _draw_journal(axes, cell, "loss", paint(series(facts, method)))
        axes.set_title(method, loc="left", fontweight="bold")
        _label_steps(axes, "training loss")
        last = "; ".join(f"{cell.place} ends at {cell.journal[-1]['loss']:.3f}" for cell in cells)
        name = f"loss-{facts.methods.index(method)}"
        return to_svg(figure, name, f"Training loss of {method} by step: {last}.", _fold_words(cells))


def watched_curve(facts: RunData) -> Markup | None:
    """Draw the DSC of one held-out case per fold by optimizer step, one line per cell; None if no case was watched."""
    cells = [cell for cell in facts.cells if any("dsc" in record for record in cell.journal)]
    if not cells:
        return None
    with drawing():
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = figure.add_subplot()
        for cell in cells:
            _draw_journal(axes, cell, "dsc", paint(series(facts, cell.method)), marker="o")
        _label_steps(axes, "DSC of the watched case")
        methods = ", ".join(dict.fromkeys(cell.method for cell in cells))
        return to_svg(
            figure, "watched", f"DSC of one held-out case per fold by step, for {methods}.", _fold_words(cells, "dsc")
        )


def _draw_journal(axes: Axes, cell: CellData, key: str, colour: str, marker: str = "") -> None:
    points = [(record["step"], record[key]) for record in cell.journal if key in record]
    x, y = zip(*points, strict=True)
    # After one epoch there is only one point, which is not visible as a line.
    marker = marker or ("o" if len(points) == 1 else "")
    axes.plot(x, y, color=colour, linewidth=1.3, marker=marker, markersize=3, gid=f"{key}-{cell.name}")


def _fold_words(cells: Sequence[CellData], key: str = "loss") -> dict[str, str]:
    words = {}
    for cell in cells:
        case = next((f", watching {record['case']}" for record in cell.journal if "case" in record), "")
        words[f"{key}-{cell.name}"] = f"{cell.method}, {cell.place}" + case * (key == "dsc")
    return words


def _label_steps(axes: Axes, label: str) -> None:
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(label)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))


def memory_timeline(facts: RunData) -> Markup | None:
    """Draw the memory of each cell's process tree and its limit, one cell after another, and GPU memory if it was read.

    Returns:
        The figure; None if no cell has a memory sample.
    """
    cells = sorted((cell for cell in facts.cells if cell.samples), key=lambda cell: str(cell.started))
    if not cells:
        return None
    gpu = any(cell.peaks.gpu_bytes for cell in cells)
    scale, unit = _time_unit(sum(cell.samples[-1].at_s for cell in cells))
    with drawing():
        figure = Figure(figsize=(9, 4.4 if gpu else 2.4), layout="constrained")
        panels = figure.subplots(1 + gpu, 1, sharex=True, squeeze=False)[:, 0]
        begin = 0.0
        for cell in cells:
            end = begin + cell.samples[-1].at_s / scale
            _draw_cell(panels[0], facts, cell, (begin, end), scale, gpu=False)
            if gpu:
                _draw_cell(panels[1], facts, cell, (begin, end), scale, gpu=True)
            begin = end
        for axes, label in zip(panels, ("memory (GiB)", "GPU memory (GiB)"), strict=False):
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            axes.set_xlim(0, begin)
            axes.margins(y=0.12)
        panels[-1].set_xlabel(f"running time in {unit}, one cell after another")
        words = {f"memory-{cell.name}": _peak_words(cell) for cell in cells}
        return to_svg(figure, "memory", "Memory over time: " + "; ".join(words.values()) + ".", words)


def _draw_cell(
    axes: Axes, facts: RunData, cell: CellData, span: tuple[float, float], scale: float, *, gpu: bool
) -> None:
    colour = paint(series(facts, cell.method))
    points = [
        (span[0] + at_s / scale, size / GIB)
        for at_s, memory, gpu_memory in _thinned(cell)
        if (size := gpu_memory if gpu else memory) is not None
    ]
    if points:
        x, y = zip(*points, strict=True)
        axes.fill_between(x, y, color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, y, color=colour, linewidth=1.2, gid=None if gpu else f"memory-{cell.name}")
    limit, warn = (
        (cell.limits.gpu_limit_bytes, cell.limits.gpu_warn_bytes) if gpu else (cell.limits.memory_limit_bytes, None)
    )
    for size, style, word in ((limit, "-", "limit"), (warn, ":", "warning")):
        if size is not None:
            axes.hlines(size / GIB, *span, color=paint("limit"), linewidth=1.4, linestyle=style)
            if span[0] == 0:
                label = f"{word} {size / GIB:.1f} GiB"
                axes.annotate(label, (0, size / GIB), (4, -11), textcoords="offset points", color=paint("limit"))
    axes.axvline(span[0], color=paint("rule"), linewidth=0.6)


def _thinned(cell: CellData) -> list[tuple[float, int, int | None]]:
    """Return about ``_POINTS_A_CELL`` points (time, memory, GPU memory), each the maximum of an interval of time."""
    interval_s = cell.samples[-1].at_s / _POINTS_A_CELL or 1.0
    points = []
    for _, group in groupby(cell.samples, key=lambda sample: int(sample.at_s / interval_s)):
        samples = list(group)
        on_gpu = [sample.gpu_bytes for sample in samples if sample.gpu_bytes is not None]
        points.append((samples[0].at_s, max(s.memory_bytes for s in samples), max(on_gpu, default=None)))
    return points


def _time_unit(seconds: float) -> tuple[float, str]:
    return (3600, "hours") if seconds > 7200 else (60, "minutes") if seconds > 120 else (1, "seconds")


def _peak_words(cell: CellData) -> str:
    peaks = cell.peaks
    limit = cell.limits.memory_limit_bytes
    against = f" of {limit / GIB:.1f}" if limit else ""
    gpu = f", GPU {peaks.gpu_bytes / GIB:.1f} GiB" if peaks.gpu_bytes else ""
    return f"{cell.name} peaks at {peaks.anonymous_bytes / GIB:.1f}{against} GiB{gpu}"
