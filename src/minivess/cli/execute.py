"""Run an experiment from the command line: prepare, run, compare, report, and print which cells failed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from minivess.cli.terminal_output import detached_on_hangup
from minivess.errors import RunError
from minivess.json_files import to_plain

if TYPE_CHECKING:
    from minivess.experiments.cell_selection import CellFilter
    from minivess.experiments.config import ExperimentConfig
    from minivess.experiments.prepare import Prepared
    from minivess.experiments.run import Runner
    from minivess.experiments.run_folder import RunFolder


def execute(
    config: ExperimentConfig,
    *,
    dry_run: bool = False,
    only: Sequence[CellFilter] = (),
    dask: str | None = None,
    accept_changed_code: bool = False,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run an experiment and print its comparison and the path of its report, or only show what a run would do (``dry_run``).

    Args:
        config: The resolved configuration.
        dry_run: Show configuration, plan and cells; train nothing and write nothing.
        only: Run only the cells that one of these filters matches; empty for all.
        dask: Address of a Dask scheduler whose workers run the cells; None runs them on this machine.
        accept_changed_code: Whether a run may continue with other code than it was started with.
        quiet: Print only the results.
        as_json: Print the results as JSON; implies ``quiet``.

    Raises:
        MinivessError: The experiment cannot run, or was interrupted.
        click.exceptions.Exit: A cell failed; each failed cell is printed with its cure.
    """
    quiet = quiet or as_json
    prepare = partial(_prepare, config, accept_changed_code=accept_changed_code, quiet=quiet)
    if dry_run:
        from minivess.cli.terminal_tables import show_config, show_outline
        from minivess.experiments.dry_run import describe_dry_run

        if not quiet:
            show_config(config)
        planned = describe_dry_run(prepare(), only)
        if as_json:
            click.echo(json.dumps(planned.summary(), indent=2))
        else:
            show_outline(planned)
        return
    runner = _runner(dask)
    from minivess.orchestration.flows import as_flow, why_plain

    if why_plain() and not quiet:
        click.echo(why_plain(), err=True)
    folder = config.output_dir / config.name
    with detached_on_hangup(folder / "log.txt"):
        as_flow(config.name, partial(_run, prepare, runner, only, quiet=quiet, as_json=as_json), folder)


def _runner(dask: str | None) -> Runner:
    if dask is None:
        from minivess.orchestration.runners import on_this_machine

        return on_this_machine
    try:
        from minivess.orchestration.dask_runner import OnDask
    except ModuleNotFoundError as error:
        raise RunError(
            "the package distributed (Dask)", f"{error}", "install it: pip install 'minivess[dask]'"
        ) from error
    runner = OnDask(dask)
    runner.require()
    return runner


def _prepare(config: ExperimentConfig, *, accept_changed_code: bool, quiet: bool) -> Prepared:
    from minivess.cli.progress import volume_progress
    from minivess.cli.terminal_tables import show_plan, show_preflight
    from minivess.data.layouts.cases import find_cases
    from minivess.experiments.prepare import prepare
    from minivess.planning.hardware import detect_hardware

    hardware = detect_hardware(visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    count = len(find_cases(config.data_dir)) if config.data_dir else 0
    with volume_progress("Scanning", count, quiet=quiet) as advance:
        prepared = prepare(
            config, hardware, os.environ, lambda volume: advance(), accept_changed_code=accept_changed_code
        )
    if not quiet:
        show_preflight(prepared.preflight, only_findings=True)
        show_plan(prepared.plan)
    return prepared


def _run(
    prepare: Callable[[], Prepared], runner: Runner, only: Sequence[CellFilter], *, quiet: bool, as_json: bool
) -> None:
    from minivess.cli.run_view import RunView
    from minivess.cli.terminal_tables import show_comparison, show_unfinished, show_unseen
    from minivess.experiments.results import read_results
    from minivess.experiments.run import run
    from minivess.experiments.unseen import NAME, is_due, score_unseen
    from minivess.experiments.unseen_scores import read_unseen
    from minivess.orchestration.flows import as_cell, as_task, show_results
    from minivess.publishing.live import live_tracking
    from minivess.publishing.register import publish_quietly
    from minivess.publishing.sync_run import own_tracking_uri
    from minivess.reporting.html import write_report
    from minivess.reporting.run_data import budget_sentence, read_run_data
    from minivess.reporting.tables import markdown_table

    prepared = as_task("profile and prepare", prepare)
    uri = own_tracking_uri(prepared.config)
    with live_tracking(prepared.folder, uri):
        with RunView(prepared, quiet=quiet) as view:
            failures = run(prepared, view, runner, only)
            if is_due(prepared):
                outcome = as_cell(NAME, partial(score_unseen, prepared, view))
                failures |= {NAME: outcome} if outcome is not None and outcome.status != "finished" else {}
        scored = bool(prepared.folder.read_rows())
        if scored:
            comparison = as_task("compare", partial(read_results, prepared.folder))
            page = as_task("report", partial(write_report, prepared.folder))
            show_results(prepared.config.name, markdown_table(comparison), page)
    if scored and uri is not None and not quiet:
        click.echo(_announcement(prepared.folder, uri), err=True)
    note = publish_quietly(prepared.folder, uri)
    if scored:
        unseen = read_unseen(prepared.folder)
        if not as_json:
            show_comparison(comparison)
            show_unseen(unseen, prepared.config.evaluation.metrics)
        facts = read_run_data(prepared.folder)
        if as_json:
            over = {cell.name: cell.broken_budgets for cell in facts.cells if cell.broken_budgets}
            summary = {
                "comparison": to_plain(comparison),
                "report": str(page),
                "over_budget": over,
                "test": to_plain(unseen),
            }
            click.echo(json.dumps(summary, indent=2))
        else:
            if not quiet and (sentence := budget_sentence(facts)):
                click.echo(sentence)
            click.echo(f"Report: {page}" + (f"\n{note}" if note and not quiet else ""))
    for cell, outcome in failures.items():
        first, *rest = outcome.message.splitlines()
        click.echo(f"{click.style('Failed:', fg='red', bold=True)} {cell}: {first}", err=True)
        click.echo("".join(f"    {line}\n" for line in (*rest, f"Cure: {outcome.cure}")), err=True, nl=False)
    if not as_json:
        show_unfinished(prepared.folder, "the same command without --only" if only else "the same command")
    if failures:
        raise click.exceptions.Exit(5)


def _announcement(folder: RunFolder, uri: str) -> str:
    """Say that all results are on disk, before MLflow is updated, which can take 15 s; the table follows."""
    from minivess.masking import mask_uri
    from minivess.tracking.uris import database_of

    limit = " A server that does not answer is given up after 15 s." if database_of(uri) is None else ""
    return f"All results are written: {folder.report}\nThey are sent to MLflow: {mask_uri(uri)}.{limit}"
