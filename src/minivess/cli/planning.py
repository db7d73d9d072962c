"""Commands that check the machine, the data and the plan without training anything."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from minivess.cli.options import FOLDER, as_json, data_dir, model_name, plan_options, trust_code
from minivess.errors import DataError, PlanError

losses = click.option(
    "--loss", "losses", multiple=True, default=["dice_ce"], show_default=True, help="Name of a loss; may be repeated."
)


@click.command()
@data_dir
@click.option(
    "--output-dir", type=FOLDER, default=Path("runs"), show_default=True, help="Folder in which a run would write."
)
@model_name
@losses
@trust_code
@as_json
def preflight(data_dir: Path | None, output_dir: Path, model: str, losses: tuple[str, ...], as_json: bool) -> None:
    """Check whether this machine can train on this data.

    Checked are GPU, memory, disk, swap, libraries, data, output folder and plan. If one of them would stop a run, the exit
    code is 3 (the data) or 4 (anything else).
    """
    from minivess.cli.terminal_tables import show_preflight
    from minivess.data.profiler import scan_dataset
    from minivess.findings import Finding
    from minivess.planning.hardware import hardware_for
    from minivess.planning.make_plan import make_plan
    from minivess.planning.preflight import run_preflight
    from minivess.planning.validation import check_plan

    if data_dir is None:
        raise click.UsageError("Give --data-dir or set MINIVESS_REAL_DATA.")
    hardware = hardware_for()
    data_findings, plan_findings = [], []
    if data_dir.is_dir():
        profile = scan_dataset(data_dir)
        data_findings = profile.findings
        if all(finding.level != "critical" for finding in data_findings):
            try:
                plan = make_plan(profile, model, losses, hardware=hardware)
                plan_findings = check_plan(plan, profile, hardware)
            except PlanError as error:
                plan_findings = [Finding("critical", "plan", "plan", error.expected, error.got, error.cure)]
    result = run_preflight(
        hardware, data_dir, output_dir, environ=os.environ, data_findings=data_findings, plan_findings=plan_findings
    )
    if as_json:
        click.echo(json.dumps(result.summary(), indent=2))
    else:
        show_preflight(result)
    if not result.ok:
        raise click.exceptions.Exit(3 if result.data_is_faulty else 4)


@click.command()
@data_dir
@model_name
@plan_options
@losses
@click.option("--gpu", help='GPU memory to plan for, e.g. "8GB", or "none"; by default the GPU of this machine.')
@click.option("--ram", help='Main memory to plan for, e.g. "32GB"; by default that of this machine.')
@trust_code
@as_json
def plan(
    data_dir: Path | None,
    model: str,
    losses: tuple[str, ...],
    gpu: str | None,
    ram: str | None,
    as_json: bool,
    plan_keys: dict[str, Any],
) -> None:
    """Show what this machine would train on this data, and the reasons."""
    from minivess.cli.terminal_tables import show_plan
    from minivess.data.profiler import scan_dataset
    from minivess.findings import raise_critical
    from minivess.planning.hardware import hardware_for
    from minivess.planning.make_plan import make_plan
    from minivess.planning.validation import check_plan

    if data_dir is None:
        raise click.UsageError("Give --data-dir or set MINIVESS_REAL_DATA.")
    hardware = hardware_for(gpu, ram)
    profile = scan_dataset(data_dir)
    raise_critical(profile.findings, DataError)
    timed = gpu is None and ram is None  # the steps of another machine cannot be timed
    planned = make_plan(profile, model, losses, hardware=hardware, timed=timed, **plan_keys)
    raise_critical(check_plan(planned, profile, hardware), PlanError)
    if as_json:
        click.echo(planned.model_dump_json(indent=2))
    else:
        show_plan(planned)


COMMANDS = (preflight, plan)
