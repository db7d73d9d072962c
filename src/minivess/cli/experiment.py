"""Commands that train, compare and report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivess.cli.execute import execute
from minivess.cli.options import (
    FILE,
    FOLDER,
    PATH,
    as_json,
    data_dir,
    keys_of,
    model_name,
    parse_settings,
    plan_options,
    run_folder,
    tracking_uri,
    trust_code,
)
from minivess.errors import ConfigError, RunError
from minivess.json_files import to_plain

if TYPE_CHECKING:
    from minivess.experiments.run_folder import RunFolder


accept_changed_code = click.option(
    "--accept-changed-code",
    is_flag=True,
    help="Continue a run although minivess, a library, or your own loss or network has changed; the report then says so.",
)


@click.command()
@click.option("--config", type=FILE, required=True, help="YAML file of the experiment.")
@data_dir
@click.option(
    "--output-dir", type=FOLDER, help="Folder in which run folders are created; by default the one in the file."
)
@click.option("--name", help="Name of the run folder, instead of the name in the file.")
@plan_options
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set any key, e.g. training.max_epochs=5; may be repeated.",
)
@click.option(
    "--debug",
    is_flag=True,
    help="Run a short trial in minutes: 6 volumes, 2 folds, 10 optimizer steps and the file's debug keys, in a folder NAME-debug.",
)
@click.option("--dry-run", is_flag=True, help="Show configuration, plan and cells; train nothing and write nothing.")
@click.option(
    "--only",
    multiple=True,
    metavar="FILTER",
    help="Run only these cells: loss=NAME, fold=NUMBER, repeat=NUMBER or several, e.g. loss=warp,fold=1; may be repeated.",
)
@click.option("--fresh", is_flag=True, help="Start again: move the existing run folder aside, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask (with --fresh).")
@accept_changed_code
@trust_code
@click.option(
    "--dask", metavar="ADDRESS", help="Run the cells on the workers of this Dask scheduler, e.g. tcp://127.0.0.1:8786."
)
@click.option("--quiet", is_flag=True, help="Print only the results.")
@as_json
def run(
    config: Path,
    data_dir: Path | None,
    output_dir: Path | None,
    name: str | None,
    settings: tuple[str, ...],
    debug: bool,
    dry_run: bool,
    only: tuple[str, ...],
    fresh: bool,
    yes: bool,
    accept_changed_code: bool,
    dask: str | None,
    quiet: bool,
    as_json: bool,
    plan_keys: dict[str, Any],
) -> None:
    """Train every loss on every fold, compare the losses, write a report.

    The same command again continues an interrupted run.
    """
    from minivess.data.layouts.cases import read_layout
    from minivess.experiments.cell_selection import CellFilter, select_cells
    from minivess.experiments.config_file import load_config, merge
    from minivess.experiments.design import with_folds_of_the_data
    from minivess.experiments.run_folder import RunFolder

    paths = {"data_dir": data_dir, "output_dir": output_dir, "name": name}
    given = {key: str(value) for key, value in paths.items() if value is not None}
    overrides: dict[str, Any] = {**given, "plan": plan_keys}
    options = {key: f"--{key.replace('_', '-')}" for key in given} | keys_of(settings)
    resolved = with_folds_of_the_data(
        load_config(config, merge(overrides, parse_settings(settings)), options, debug=debug)
    )
    filters = [CellFilter.parse(text) for text in only]
    select_cells(resolved, filters)
    if fresh and dry_run:
        raise click.UsageError("--dry-run writes nothing, so it cannot move the run folder aside: remove --fresh")
    if fresh and resolved.data_dir:
        read_layout(resolved.data_dir)  # a wrong folder is reported before the question
    with _moved_aside(RunFolder(resolved.output_dir / resolved.name), yes=yes) if fresh else nullcontext():
        execute(
            resolved,
            dry_run=dry_run,
            only=filters,
            dask=dask,
            accept_changed_code=accept_changed_code,
            quiet=quiet,
            as_json=as_json,
        )


@click.command()
@click.option("--loss", required=True, help="Name of the loss, e.g. dice_ce.")
@click.option("--experiment-name", default="minivess", show_default=True, help="Name of the MLflow experiment.")
@click.option("--log-dir", type=FOLDER, required=True, help="Run folder.")
@data_dir
@model_name
@plan_options
@click.option(
    "--num-folds",
    type=click.IntRange(1),
    help="Number of folds of the cross-validation; by default 3, or that of splits_final.json.",
)
@click.option("--max-epochs", type=click.IntRange(1), help="Number of epochs of 250 optimizer steps; by default 100.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of splits, weights and patches."
)
@click.option(
    "--memory-limit-gb",
    type=click.FloatRange(0, min_open=True),
    help="Memory of a cell's process tree in GiB at which the cell is stopped; by default from this machine.",
)
@click.option(
    "--monitor-interval",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds between rows of monitor.csv.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --log-dir, which is also the default; an error if there is none.",
)
@accept_changed_code
@trust_code
@click.option("--debug", is_flag=True, help="Run a short trial: 6 volumes, 2 folds, 2 epochs of 5 optimizer steps.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any key of the experiment YAML; may be repeated."
)
@click.option("--quiet", is_flag=True, help="Print only the results.")
@as_json
def train(
    loss: str,
    experiment_name: str,
    log_dir: Path,
    data_dir: Path | None,
    model: str,
    num_folds: int | None,
    max_epochs: int | None,
    seed: int,
    memory_limit_gb: float | None,
    monitor_interval: float,
    resume: bool,
    accept_changed_code: bool,
    debug: bool,
    settings: tuple[str, ...],
    quiet: bool,
    as_json: bool,
    plan_keys: dict[str, Any],
) -> None:
    """Train one loss on every fold, with options instead of a YAML file."""
    from minivess.experiments.config_file import DEBUG, make_config, merge

    if resume and not (log_dir / "config.yaml").is_file():
        raise RunError("a run to resume", f"no run in {log_dir}", "correct --log-dir, or remove --resume")
    values: dict[str, Any] = {
        "name": log_dir.name,
        "experiment_name": experiment_name,
        "output_dir": str(log_dir.parent),
        "data_dir": str(data_dir or "data/minivess"),
        "losses": [loss],
        "seed": seed,
        "model": {"name": model},
        "plan": plan_keys,
        "limits": {"memory_limit_gib": memory_limit_gb, "monitor_interval_s": monitor_interval},
    }
    if num_folds is not None:
        values["folds"] = num_folds
    if debug:
        values = merge(values, DEBUG)
    if max_epochs is not None:
        values = merge(values, {"training": {"max_epochs": max_epochs}})
    options = {
        "name": "--log-dir",
        "limits.memory_limit_gib": "--memory-limit-gb",
        "limits.monitor_interval_s": "--monitor-interval",
        "seed": "--seed",
    } | keys_of(settings)
    config = make_config(merge(values, parse_settings(settings)), "the command line", options)
    execute(config, accept_changed_code=accept_changed_code, quiet=quiet, as_json=as_json)


@click.command()
@click.argument("runs", type=PATH, nargs=-1, required=True)
@click.option("--csv", "from_csv", is_flag=True, help="RUNS are CSV files with scores per case, of any tool.")
@click.option(
    "--lower-is-better",
    "lower",
    multiple=True,
    help="Column of --csv in which a lower score is better; may be repeated.",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help="Metric, e.g. clDice or betti0_error; by default those of the first run; may be repeated.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "latex", "csv", "json"]),
    default="table",
    show_default=True,
    help="Format of the output.",
)
@click.option("--primary", help="Decide by this metric, after the run; by default that of the run.")
@click.option(
    "--margin",
    type=click.FloatRange(0, min_open=True),
    help="Largest difference that does not matter, chosen after the run.",
)
@click.option("--against", help="Reference method, chosen after the run.")
@click.option(
    "--level", type=click.FloatRange(0.5, 0.999), help="Confidence of all verdicts together, chosen after the run."
)
@as_json
def compare(
    runs: tuple[Path, ...],
    from_csv: bool,
    lower: tuple[str, ...],
    metrics: tuple[str, ...],
    form: str,
    as_json: bool,
    **rule: Any,
) -> None:
    """Compare losses: means, intervals, tests and verdicts.

    The tests are paired by case. The metrics are those of the first run, unless --metric names others. --primary,
    --margin, --against and --level change what was fixed before the run; nothing is written, and the answer says so.
    """
    from minivess.cli.terminal_tables import show_comparison, show_false_claims, show_unfinished
    from minivess.experiments.results import compare_csv, compare_runs
    from minivess.experiments.run_folder import RunFolder
    from minivess.reporting.tables import csv_table, latex_table, markdown_table

    chosen = {key: value for key, value in rule.items() if value is not None}
    if files := [run for run in runs if run.is_file() and not from_csv]:
        raise ConfigError("a run folder", f"the file {files[0]}", "add --csv to compare CSV files")
    folders = [] if from_csv else [RunFolder(run) for run in runs]
    comparison = compare_csv(runs, metrics, lower, chosen) if from_csv else compare_runs(folders, metrics, chosen)
    texts = {"markdown": markdown_table, "latex": latex_table, "csv": csv_table}
    if as_json or form == "json":
        click.echo(json.dumps(to_plain(comparison), indent=2))
    elif form in texts:
        click.echo(texts[form](comparison), nl=False)
    else:
        show_comparison(comparison)
        if from_csv:
            show_false_claims(comparison)
        for folder in folders:
            show_unfinished(folder, "the command that started it")


@click.command()
@run_folder
def report(run: Path) -> None:
    """Write report.html of a run: one page that works offline."""
    from minivess.experiments.results import write_results
    from minivess.experiments.run_folder import RunFolder
    from minivess.reporting.html import write_report

    write_results(RunFolder(run))
    click.echo(write_report(RunFolder(run)))


@click.group()
def track() -> None:
    """Update MLflow from a run folder."""


@track.command()
@run_folder
@tracking_uri
def sync(run: Path, tracking_uri: str | None) -> None:
    """Send a run to MLflow and register its model.

    Only what MLflow does not have yet is sent, so the command may be repeated, also while the run is going.
    """
    from minivess.experiments.run_folder import RunFolder
    from minivess.publishing import sync_run
    from minivess.publishing.register import publish

    uri = sync_run.tracking_uri(RunFolder(run), tracking_uri)
    if uri is None:
        raise RunError("a run that MLflow tracks", "tracking_uri: none", "name a server or database: --tracking-uri")
    click.echo(publish(RunFolder(run), uri))


@contextmanager
def _moved_aside(folder: RunFolder, *, yes: bool) -> Iterator[None]:
    """Move the run folder aside, after asking; move it back if the body fails before it creates a new run folder."""
    from minivess.experiments.move_aside import describe, move_aside, move_back

    lines = describe(folder)
    if not lines:
        yield
        return
    click.echo("\n".join(["This run will be moved aside, not deleted:", *lines]), err=True)
    try:
        agreed = yes or click.confirm("Start again?", err=True)
    except click.Abort:
        agreed = False
    if not agreed:
        raise RunError("the answer yes", "no; nothing was changed", "answer y, or give --yes")
    aside = move_aside(folder, datetime.now())
    click.echo(f"Moved to {aside}", err=True)
    try:
        yield
    except BaseException:
        if move_back(aside, folder):
            click.echo(f"Moved back to {folder.path}: no new run was started", err=True)
        raise


COMMANDS = (run, train, compare, report, track)
