"""Commands that measure this machine."""

from __future__ import annotations

import json
import os

import click

from minivess.cli.options import as_json, model_name, trust_code
from minivess.json_files import to_plain


@click.group()
def benchmark() -> None:
    """Measure this machine."""


@benchmark.command()
@model_name
@click.option("--loss", default="dice_ce", show_default=True, help="Name of the loss.")
@click.option("--batch", type=click.IntRange(1), default=2, show_default=True, help="Patches per forward pass.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp16",
    show_default=True,
    help="Number type of the forward pass.",
)
@click.option("--cap", help='GPU memory that torch may use, e.g. "8GB", to imitate a smaller GPU; by default all.')
@click.option(
    "--write", is_flag=True, help="Write the measured rows to the model's YAML, with date, GPU and library versions."
)
@trust_code
@as_json
def vram(model: str, loss: str, batch: int, precision: str, cap: str | None, write: bool, as_json: bool) -> None:
    """Predict and, on a GPU, measure the GPU memory of a training step.

    Four patch sizes are tried. The numbers are torch's memory only: CUDA itself takes about 0.7 GiB more, which plans
    include.
    """
    from minivess.cli.terminal_tables import show_vram
    from minivess.models.model_profile import load_model_profile, profile_path
    from minivess.planning.hardware import detect_hardware
    from minivess.planning.memory.vram_sweep import sweep_vram, write_measured
    from minivess.text import parse_size

    cap_bytes = parse_size(cap) if cap else None
    gpu = detect_hardware(visible=os.environ.get("CUDA_VISIBLE_DEVICES")).gpu
    profile = load_model_profile(model)
    rows = list(sweep_vram(profile, loss, batch, precision, cap_bytes, measure=gpu is not None))  # type: ignore[arg-type]
    written = write_measured(profile_path(model), rows, loss, batch, precision, cap_bytes) if write else 0  # type: ignore[arg-type]
    if as_json:
        click.echo(json.dumps(to_plain(list(rows)), indent=2))
    else:
        show_vram(rows, f"{model}, {loss}, {batch} patches per forward pass in {precision}; torch's memory only")
        if write:
            click.echo(f"{written} measured rows written to {profile_path(model)}")


COMMANDS = (benchmark,)
