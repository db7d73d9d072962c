"""The HTML report of a run: one self-contained page that loads no fonts, scripts or other files."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from markupsafe import Markup

from minivess.atomic import write_text
from minivess.experiments.config_file import as_yaml
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.unseen_scores import earlier_note
from minivess.findings import grouped
from minivess.metrics.catalogue import METRICS, connectivity_note
from minivess.metrics.older_scores import shared_metric
from minivess.reporting.answer import answer_cards
from minivess.reporting.artefact_figure import artefact_panels, artefact_picture
from minivess.reporting.dataset_figure import shape_picture
from minivess.reporting.decision_figures import difference_figure, variance_figure
from minivess.reporting.headline import headline
from minivess.reporting.methods_paragraph import methods_paragraph
from minivess.reporting.model_card import model_card
from minivess.reporting.overlays import FALSE, FOUND, MISSED, UNKNOWN, make_overlays
from minivess.reporting.plots import (
    loss_curve,
    many_methods,
    memory_timeline,
    paired_points,
    series,
    trade_off,
    watched_curve,
)
from minivess.reporting.run_data import CellData, RunData, budget_sentence, read_run_data
from minivess.reporting.svg import name_of, standalone
from minivess.reporting.tables import (
    best_mean,
    column_title,
    csv_table,
    latex_table,
    markdown_table,
    sentences,
    table_rows,
    topology_note,
)
from minivess.reporting.templates import render
from minivess.statistics.decision_text import format_confidence
from minivess.statistics.verdict import meaning
from minivess.text import capitalised, counted, format_bytes, format_duration, format_p_value, format_shape_html


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html``, its figures, and ``results/comparison`` as Markdown, LaTeX and CSV.

    The results are read from the files that ``write_results`` wrote.

    Args:
        folder: The run folder.

    Returns:
        Path of the page, which is smaller than 5 MB.

    Raises:
        RunError: The folder is not a run folder, or it has no results.
    """
    facts = read_run_data(folder)
    for suffix, table in ((".md", markdown_table), (".tex", latex_table), (".csv", csv_table)):
        write_text(folder.comparison.with_suffix(suffix), table(facts.comparison))
    panels, artefact_notes = artefact_panels(facts.profile)
    decision = facts.comparison.decision
    figures = {
        "differences": _all(_differences(facts)),
        "variance": _all(variance_figure(decision) if decision else None),
        "paired": [paired_points(facts, metric) for metric in facts.comparison.metrics],
        "trade_off": _all(trade_off(facts)),
        "loss_curves": _all(*(loss_curve(facts, method) for method in facts.losses)),
        "watched": _all(watched_curve(facts)),
        "memory": _all(memory_timeline(facts)),
        "shapes": [shape_picture(facts.profile)],
        "artefacts": [artefact_picture(panels)] if panels else [],
    }
    shutil.rmtree(folder.figures, ignore_errors=True)  # may contain figures of metrics and losses that were removed
    for figure in chain.from_iterable(figures.values()):
        write_text(folder.figures / f"{name_of(figure)}.svg", standalone(figure))
    write_text(folder.report, _render(facts, figures, artefact_notes))
    return folder.report


def _differences(facts: RunData) -> Markup | None:
    decision = facts.comparison.decision
    if decision is None or not decision.losses:
        return None
    return difference_figure(decision, {found.method: series(facts, found.method) for found in decision.losses})


def _all(*figures: Markup | None) -> list[Markup]:
    return [figure for figure in figures if figure is not None]


def _render(facts: RunData, figures: dict[str, list[Markup]], artefact_notes: list[str]) -> str:
    filters = (
        format_shape_html,
        counted,
        grouped,
        format_duration,
        format_p_value,
        capitalised,
        format_bytes,
        format_confidence,
        column_title,
        connectivity_note,
    )
    overlays, overlay_notes = make_overlays(facts)
    decision = facts.comparison.decision
    topology = shared_metric("cldice", [row.flat() for row in facts.rows])
    return render(
        "report.html.j2",
        filters,
        "report.js",
        facts=facts,
        headline=headline(facts.comparison),
        decision=decision,
        cards=answer_cards(facts.comparison, decision) if decision else [],
        methods=methods_paragraph(facts),
        best_mean=best_mean(facts.comparison),
        meaning=list(meaning(facts.comparison)),
        sentences=sentences(facts.comparison),
        topology_note=topology_note(facts.comparison),
        rows=table_rows(facts.comparison, facts.methods),
        series=lambda method: series(facts, method),
        progress=_progress(facts),
        budget=budget_sentence(facts),
        started=min((cell.started for cell in facts.cells if cell.started), default=None),
        ended=max((_ended(cell) for cell in facts.cells if cell.outcome), default=None),
        figures=figures,
        broad=many_methods(facts),
        topology=topology,
        topology_title=METRICS[topology].title,
        overlays=overlays,
        overlay_notes=overlay_notes,
        artefact_notes=artefact_notes,
        colours={"found": FOUND, "false": FALSE, "missed": MISSED, "unknown": UNKNOWN},
        spacings=_spacings(facts),
        longest=max((cell.seconds or 0 for cell in facts.cells), default=0) or 1,
        configuration=as_yaml(facts.config),
        commands=list(_commands(facts)),
        card=model_card(facts),
        earlier_note=earlier_note(facts.unseen) if facts.unseen else "",
    )


def _ended(cell: CellData) -> datetime:
    assert cell.outcome is not None
    return datetime.fromisoformat(cell.outcome.ended_iso)


def _progress(facts: RunData) -> dict[str, Any]:
    """Return the progress of the run: cells by state, total running time, and the cells with the largest memory."""
    hungriest = max(facts.cells, key=lambda cell: cell.peaks.anonymous_bytes)
    on_gpu = [cell for cell in facts.cells if cell.peaks.gpu_bytes]
    return {
        "finished": sum(cell.state == "finished" for cell in facts.cells),
        "planned": sum(cell.state != "stopped early" for cell in facts.cells),
        "unfinished": [cell for cell in facts.cells if cell.state not in ("finished", "stopped early", "not started")],
        "not_started": [cell.name for cell in facts.cells if cell.state == "not started"],
        "warned": [cell for cell in facts.cells if cell.outcome and cell.outcome.warnings],
        "seconds": sum(cell.seconds or 0 for cell in facts.cells),
        "hungriest": hungriest,
        "gpu": max(on_gpu, key=lambda cell: cell.peaks.gpu_bytes or 0, default=None),
    }


def _spacings(facts: RunData) -> list[tuple[float, ...]]:
    """Return the smallest, median and largest spacing per axis, in micrometres."""
    axes = list(zip(*(volume.spacing_um for volume in facts.profile.volumes), strict=True))
    return [tuple(map(min, axes)), facts.profile.median_spacing_um, tuple(map(max, axes))]


def _commands(facts: RunData) -> Iterator[str]:
    """Yield the commands that repeat the run: check out the code, then run it under a new name."""
    git = facts.environment.get("git")
    if git:
        yield f"git checkout {git['sha']}"
    name = shlex.quote(f"{facts.config.name}-again")
    yield f"minivess run --config {shlex.quote(str(facts.folder.config))} --name {name}"
