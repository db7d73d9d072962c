"""Figures of a decision: the difference of each loss from the reference, and where the uncertainty comes from."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minivess.metrics.catalogue import METRICS
from minivess.reporting.svg import drawing, paint, to_svg
from minivess.statistics.decision import Decision, LossDecision
from minivess.text import format_together

_SOURCES = {"groups": "between animals", "cases": "between volumes", "networks": "training again", "rest": "the rest"}
_SHADES = {"groups": "series-0", "cases": "series-5", "networks": "series-1", "rest": "baseline"}
_BAR = 0.55


def difference_figure(decision: Decision, colours: Mapping[str, str]) -> Markup:
    """Draw the difference of each loss from the reference with its interval, and the margin as a band.

    Better is always on the right: the axis of a metric whose lower values are better is reversed.

    Args:
        decision: The decision, with at least one loss.
        colours: Name of the colour of each loss, as for ``svg.paint``.

    Returns:
        An ``<svg>`` element.
    """
    metric, margin = METRICS[decision.rule.primary], float(decision.rule.margin or 0)
    losses = decision.losses[::-1]
    with drawing():
        figure = Figure(figsize=(6.6, 0.95 + 0.42 * len(losses)), layout="constrained")
        axes = figure.add_subplot()
        axes.axvspan(-margin, margin, color=paint("rule"), alpha=0.7, linewidth=0)
        axes.axvline(0, color=paint("muted"), linewidth=0.9)
        for place, loss in enumerate(losses):
            _draw_difference(axes, loss, place, paint(colours[loss.method]))
        axes.set_yticks(range(len(losses)), [loss.method for loss in losses], color=paint("ink"))
        axes.set_ylim(-0.6, len(losses) - 0.4)
        beside = axes.secondary_yaxis("right")
        beside.set_yticks(range(len(losses)), [loss.verdict for loss in losses], color=paint("ink"))
        beside.spines["right"].set_visible(False)
        _label_sides(axes, decision, metric.higher_is_better)
        alt = f"Difference from {decision.rule.against} in {metric.heading}: "
        return to_svg(figure, "differences", alt + "; ".join(map(_words, losses[::-1])))


def _draw_difference(axes: Axes, loss: LossDecision, place: int, colour: str) -> None:
    if loss.known:
        axes.plot([loss.low, loss.high], [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
    axes.plot(loss.difference, place, "D", color=colour, markeredgecolor=paint("paper"), markersize=6.5)


def _label_sides(axes: Axes, decision: Decision, higher_is_better: bool) -> None:
    reach = 1.08 * max(
        2 * float(decision.rule.margin or 0),
        *(abs(value) for loss in decision.losses for value in (loss.low, loss.high, loss.difference)),
    )
    axes.set_xlim(-reach, reach)
    if not higher_is_better:
        axes.invert_xaxis()
    axes.grid(visible=False)
    axes.set_xlabel(f"difference from {decision.rule.against} in {METRICS[decision.rule.primary].heading}")
    for place, side, words in ((0.0, "left", "← worse"), (1.0, "right", "better →")):
        axes.text(place, 1.0, words, transform=axes.transAxes, ha=side, va="bottom", color=paint("muted"))
    axes.annotate(
        "does not matter", (0, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color=paint("muted")
    )


def _words(loss: LossDecision) -> str:
    mean, low, high = format_together(loss.difference, loss.low, loss.high)
    return f"{loss.method} {mean}" + (f" [{low}, {high}]" if loss.known else "") + f", {loss.verdict}"


def variance_figure(decision: Decision) -> Markup | None:
    """Draw for each loss the shares of the variance of its difference: between animals, volumes and trainings.

    Returns:
        An ``<svg>`` element; None if no variance is known.
    """
    losses = [loss for loss in decision.losses if loss.sources][::-1]
    if not losses:
        return None
    seen = [name for name in _SOURCES if any(source.source == name for loss in losses for source in loss.sources)]
    with drawing():
        figure = Figure(figsize=(6.6, 0.95 + 0.36 * len(losses)), layout="constrained")
        axes = figure.add_subplot()
        for place, loss in enumerate(losses):
            left = 0.0
            for source in sorted(loss.sources, key=lambda source: seen.index(source.source)):
                width = 100 * source.share
                axes.barh(place, width, _BAR, left=left, color=paint(_SHADES[source.source]), linewidth=0)
                if width > 12:
                    axes.text(left + width / 2, place, f"{width:.0f} %", ha="center", va="center", color=paint("paper"))
                left += width
        for name in seen:
            axes.barh(0, 0, color=paint(_SHADES[name]), label=_SOURCES[name])
        axes.set_yticks(range(len(losses)), [loss.method for loss in losses], color=paint("ink"))
        axes.set(xlim=(0, 100), xlabel="share of the variance of the difference (%)")
        axes.grid(visible=False)
        figure.legend(loc="outside upper left", ncols=4, frameon=False, labelcolor=paint("ink"), handlelength=1)
        alt = "Where the uncertainty of each difference comes from: " + "; ".join(map(_shares, losses[::-1]))
        return to_svg(figure, "variance", alt)


def _shares(loss: LossDecision) -> str:
    parts = (f"{_SOURCES[source.source]} {100 * source.share:.0f} %" for source in loss.sources)
    return f"{loss.method}: {', '.join(parts)}"
