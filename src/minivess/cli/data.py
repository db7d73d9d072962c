"""Commands on data: look at a folder, make an example one."""

from __future__ import annotations

from pathlib import Path

import click

from minivess.cli.options import FOLDER, as_json


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--full", is_flag=True, help="Read the voxels as well: intensities, foreground, faults, content hash.")
@as_json
def profile(folder: Path, full: bool, as_json: bool) -> None:
    """Shapes, spacings and faults of a data set, from the headers alone."""
    from minivess.cli.live import volume_progress
    from minivess.cli.tables import show_profile
    from minivess.data.importers import find_cases
    from minivess.data.profiler import scan_dataset

    with volume_progress("Scanning", len(find_cases(folder)), quiet=as_json) as advance:
        found = scan_dataset(folder, voxels=full, progress=lambda volume: advance())
    if as_json:
        click.echo(found.model_dump_json(indent=2))
    else:
        show_profile(found)
    if any(finding.level == "critical" for finding in found.findings):
        raise click.exceptions.Exit(3)


@click.group()
def data() -> None:
    """Make example data."""


@data.command()
@click.argument("out", type=FOLDER)
@click.option("--cases", "count", type=click.IntRange(2), default=6, show_default=True, help="Volumes.")
@click.option(
    "--like",
    type=click.Choice(["small", "minivess"]),
    default="small",
    show_default=True,
    help="small: 96 x 96 in plane, seconds; minivess: MiniVess's own shapes and spacings, up to 512 x 512 x 110.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--quiet", is_flag=True)
def phantom(out: Path, count: int, like: str, seed: int, quiet: bool) -> None:
    """Write seeded phantoms of two-photon vasculature with exact labels into OUT (raw/ and seg/)."""
    from minivess.cli.live import volume_progress
    from minivess.data.phantom import minivess_cases, small_cases, write_phantom

    cases = small_cases(count, seed) if like == "small" else minivess_cases(count, seed)
    with volume_progress("Drawing", len(cases), quiet=quiet) as advance:
        write_phantom(out, cases, lambda case: advance())
    if not quiet:
        click.echo(f"{len(cases)} phantoms in {out}")


COMMANDS = (profile, data)
