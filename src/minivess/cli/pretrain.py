"""The command that trains a network on phantoms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from minivess.cli.options import FOLDER, parse_patch, parse_settings, trust_code


@click.command()
@click.argument("out", type=FOLDER)
@click.option("--recipe", help="What phantoms are drawn from: broad (default) or clean.")
@click.option(
    "--around",
    type=FOLDER,
    metavar="DATA_DIR",
    help="Draw voxel sizes and depths around those of this data set; only the headers of its images are read.",
)
@click.option("--steps", type=int, help="Optimizer steps; 3000 by default.")
@click.option("--until", type=int, help="Save the averaged weights after this step, and stop.")
@click.option("--loss", help="Name of a loss; dice_ce by default.")
@click.option("--patch-size", callback=parse_patch, metavar="XxYxZ", help="Patch in voxels; 128x128x8 by default.")
@click.option("--batch", type=int, help="Patches per optimizer step, each of another phantom; 2 by default.")
@click.option("--workers", type=int, help="Threads that draw phantoms; by default from the processors and the memory.")
@click.option("--seed", type=int, help="Seed of initial weights and phantoms; 0 by default.")
@click.option("--half", is_flag=True, help="Save the weights in half precision, which halves the file.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Set any key, e.g. training.learning_rate=0.002."
)
@trust_code
@click.option("--quiet", is_flag=True, help="Show no progress.")
def pretrain(out: Path, around: Path | None, settings: tuple[str, ...], quiet: bool, **keys: Any) -> None:
    """Train a network on phantoms alone, without labels.

    Every step draws new random phantoms; none is seen twice. The weights are written to OUT/weights. The same command
    continues after any interruption, and ends with the same weights.
    """
    from minivess.cli.progress import share_progress
    from minivess.data.profiler import scan_dataset
    from minivess.errors import RunError
    from minivess.experiments.config_file import merge
    from minivess.experiments.pretraining import make_pretrain_config, prepare_pretraining, pretrain
    from minivess.planning.hardware import hardware_for

    given = {key: value for key, value in keys.items() if value not in (None, False)}
    config = make_pretrain_config(merge(parse_settings(settings), given))
    profile = scan_dataset(around) if around else None
    prepared = prepare_pretraining(config, out, hardware_for(), os.environ, profile)
    if not quiet:
        click.echo(f"{prepared.spec.until} steps in {out}; the journal is {prepared.folder.journal}", err=True)
    with share_progress("Training on phantoms", quiet=quiet) as progress:
        outcome = pretrain(prepared, lambda stage, done, total: progress(done / max(total, 1)))
    if outcome is not None and outcome.status != "finished":
        raise RunError("a training that ends by itself", f"{outcome.cause}: {outcome.message}", outcome.cure)
    click.echo(prepared.folder.weights)


COMMANDS = (pretrain,)
