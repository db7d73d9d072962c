"""Commands that look at machine, data and plan and spend nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minivess.cli.options import FOLDER, as_json, data_dir, model_name, plan_options
from minivess.errors import DataError, PlanError

if TYPE_CHECKING:
    from minivess.data.profiler import DatasetProfile
    from minivess.planning.hardware import HardwareBudget
    from minivess.planning.plan import PlanRequest, TrainingPlan

losses = click.option(
    "--loss", "losses", multiple=True, default=["dice_ce"], show_default=True, help="May be given several times."
)


@click.command()
@data_dir
@click.option("--output-dir", type=FOLDER, default=Path("runs"), show_default=True, help="Where a run would write.")
@model_name
@losses
@as_json
def preflight(data_dir: Path | None, output_dir: Path, model: str, losses: tuple[str, ...], as_json: bool) -> None:
    """Can this machine run it?

    Looked at are GPU, memory, disk, swap, libraries, data, outputs and plan; where one of them would stop a run,
    the exit code is 3 (the data) or 4 (any other).
    """
    from minivess.cli.terminal_tables import show_preflight
    from minivess.data.profiler import scan_dataset
    from minivess.findings import Finding
    from minivess.planning.plan import PlanRequest
    from minivess.planning.preflight import run_preflight
    from minivess.planning.validation import check_plan

    if data_dir is None:
        raise click.UsageError("Give --data-dir or set MINIVESS_REAL_DATA.")
    hardware = _detect()
    data_findings, plan_findings = [], []
    if data_dir.is_dir():
        profile = scan_dataset(data_dir)
        data_findings = profile.findings
        if all(finding.level != "critical" for finding in data_findings):
            try:
                plan = _plan(hardware, profile, model, PlanRequest(), losses, timed=False)
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
@click.option("--gpu", help='Plan for a card that you do not have, e.g. "8GB"; "none" for no card.')
@click.option("--ram", help='Plan for a machine with this much memory, e.g. "32GB".')
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
    """What would be trained on this data with this machine, and why."""
    from minivess.cli.terminal_tables import show_plan
    from minivess.data.profiler import scan_dataset
    from minivess.findings import raise_critical
    from minivess.planning.hardware import HardwareBudget
    from minivess.planning.plan import PlanRequest
    from minivess.planning.validation import check_plan
    from minivess.text import parse_size

    if data_dir is None:
        raise click.UsageError("Give --data-dir or set MINIVESS_REAL_DATA.")
    hardware = _detect()
    imagined = gpu is not None or ram is not None
    if imagined:
        card = hardware.gpu.total_bytes if gpu is None and hardware.gpu else None
        if gpu is not None and gpu != "none":
            card = parse_size(gpu)
        hardware = HardwareBudget.imagined(card, parse_size(ram) if ram else hardware.host.ram_total_bytes)
    profile = scan_dataset(data_dir)
    raise_critical(profile.findings, DataError)
    planned = _plan(hardware, profile, model, PlanRequest(**plan_keys), losses, timed=not imagined)
    raise_critical(check_plan(planned, profile, hardware), PlanError)
    if as_json:
        click.echo(planned.model_dump_json(indent=2))
    else:
        show_plan(planned)


def _plan(
    hardware: HardwareBudget,
    profile: DatasetProfile,
    model: str,
    request: PlanRequest,
    losses: tuple[str, ...],
    *,
    timed: bool,
) -> TrainingPlan:
    """The plan with its predicted memory, without which no guard on memory could fire."""
    from minivess.models.model_profile import load_model_profile
    from minivess.planning.adaptive_profiles import compute_adaptive_profile
    from minivess.planning.memory.cache import PeakCache
    from minivess.planning.memory.estimator import Estimator, cache_folder

    with PeakCache(cache_folder(os.environ)) as peaks:
        forecast = Estimator({loss: {} for loss in losses}, peaks, timed)
        return compute_adaptive_profile(hardware, profile, load_model_profile(model), request, forecast)


def _detect() -> HardwareBudget:
    from minivess.planning.hardware import detect_hardware

    return detect_hardware(visible=os.environ.get("CUDA_VISIBLE_DEVICES"))


COMMANDS = (preflight, plan)
