"""One page of a run that needs nothing but itself: no network, no font, no script from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from minivess.atomic import write_text
from minivess.data.wording import counted, size
from minivess.evaluation.rounding import p_value
from minivess.experiments.duration import in_words
from minivess.experiments.folder import RunFolder
from minivess.findings import grouped
from minivess.planning.sizes import format_gib
from minivess.reporting.card import model_card
from minivess.reporting.facts import CellFacts, RunFacts, read_facts
from minivess.reporting.formats import by, sentence
from minivess.reporting.headline import headline
from minivess.reporting.overlays import FALSE, FOUND, MISSED, make_overlays
from minivess.reporting.plots import (
    loss_curve,
    many_methods,
    memory_timeline,
    paired_points,
    series,
    trade_off,
    watched_curve,
)
from minivess.reporting.shapes import shape_picture
from minivess.reporting.tables import column_title, csv_table, latex_table, markdown_table, sentences, table_rows

_HERE = Path(__file__).parent


def write_report(folder: RunFolder) -> Path:
    """Write ``report.html`` and ``results/comparison`` as Markdown, LaTeX and CSV from the results as ``write_results`` left them.

    Returns:
        The page, below 5 MB.

    Raises:
        RunError: It is no run folder, or it has no results.
    """
    facts = read_facts(folder)
    for suffix, table in ((".md", markdown_table), (".tex", latex_table), (".csv", csv_table)):
        write_text(folder.comparison.with_suffix(suffix), table(facts.comparison))
    write_text(folder.report, _render(facts))
    return folder.report


def _render(facts: RunFacts) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (by, counted, grouped, in_words, p_value, sentence, size, format_gib, column_title)
    environment.filters.update({function.__name__: function for function in filters})
    overlays, overlay_notes = make_overlays(facts)
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        facts=facts,
        headline=headline(facts.comparison),
        sentences=sentences(facts.comparison),
        rows=table_rows(facts.comparison, facts.methods),
        series=lambda method: series(facts, method),
        progress=_progress(facts),
        begun=min((cell.started for cell in facts.cells if cell.started), default=None),
        ended=max((_ended(cell) for cell in facts.cells if cell.outcome), default=None),
        paired=[paired_points(facts, metric) for metric in facts.comparison.metrics],
        broad=many_methods(facts),
        trade_off=trade_off(facts),
        overlays=overlays,
        overlay_notes=overlay_notes,
        colours={"found": FOUND, "false": FALSE, "missed": MISSED},
        spacings=_spacings(facts),
        shapes=shape_picture(facts.profile),
        loss_curves=[curve for method in facts.losses if (curve := loss_curve(facts, method))],
        watched=watched_curve(facts),
        memory=memory_timeline(facts),
        longest=max((cell.seconds or 0 for cell in facts.cells), default=0) or 1,
        configuration=_as_yaml(facts),
        commands=list(_commands(facts)),
        card=model_card(facts),
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _ended(cell: CellFacts) -> datetime:
    assert cell.outcome is not None
    return datetime.fromisoformat(cell.outcome.ended_iso)


def _progress(facts: RunFacts) -> dict[str, Any]:
    """How far the run is: cells by state, running time and the largest memory of any cell with its limit."""
    hungriest = max(facts.cells, key=lambda cell: cell.peak_memory_bytes or 0)
    cards = [cell for cell in facts.cells if cell.peak_gpu_bytes]
    return {
        "finished": sum(cell.state == "finished" for cell in facts.cells),
        "unfinished": [cell for cell in facts.cells if cell.state not in ("finished", "not begun")],
        "not_begun": [cell.name for cell in facts.cells if cell.state == "not begun"],
        "warned": [cell for cell in facts.cells if cell.outcome and cell.outcome.warnings],
        "seconds": sum(cell.seconds or 0 for cell in facts.cells),
        "hungriest": hungriest,
        "card": max(cards, key=lambda cell: cell.peak_gpu_bytes or 0, default=None),
        "swap_growth_bytes": max((cell.outcome.swap_growth_bytes for cell in facts.cells if cell.outcome), default=0),
    }


def _spacings(facts: RunFacts) -> list[tuple[float, ...]]:
    """Smallest, median and largest spacing an axis, micrometre."""
    axes = list(zip(*(volume.spacing_um for volume in facts.profile.volumes), strict=True))
    return [tuple(map(min, axes)), facts.profile.median_spacing_um, tuple(map(max, axes))]


def _as_yaml(facts: RunFacts) -> str:
    return yaml.safe_dump(facts.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _commands(facts: RunFacts) -> Iterator[str]:
    """How to get the same results again: the code, then the run under a name of its own."""
    git = facts.environment.get("git")
    if git:
        yield f"git checkout {git['sha']}"
    name = shlex.quote(f"{facts.config.name}-again")
    yield f"minivess run --config {shlex.quote(str(facts.folder.config))} --name {name}"
