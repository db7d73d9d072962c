"""The command that segments new volumes with trained weights."""

from __future__ import annotations

from pathlib import Path

import click

from minivess.cli.options import FILE, FOLDER


@click.command()
@click.argument("weights", type=FOLDER)
@click.argument("volumes", type=FILE, nargs=-1, required=True)
@click.option("--output-dir", "-o", type=FOLDER, required=True, help="Masks go there as NAME_y.nii.gz.")
@click.option(
    "--overlap", type=click.FloatRange(0, 0.9), default=0.5, show_default=True, help="Of neighbouring windows."
)
@click.option("--mirror", is_flag=True, help="Average over in-plane mirror images; takes four times as long.")
@click.option("--probabilities", is_flag=True, help="Write the vessel probability in place of the mask.")
@click.option("--force", is_flag=True, help="Replace files that stand where masks are to go.")
@click.option("--quiet", is_flag=True)
def predict(
    weights: Path,
    volumes: tuple[Path, ...],
    output_dir: Path,
    overlap: float,
    mirror: bool,
    probabilities: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Segment VOLUMES with the weights of a cell (runs/NAME/cells/LOSS-foldK)."""
    from minivess.cli.live import share_progress
    from minivess.evaluation.predict_files import predict_file, require_room

    require_room(volumes, output_dir, probabilities=probabilities, replace=force)
    folder = weights / "weights" if (weights / "weights").is_dir() else weights
    for volume in volumes:
        with share_progress(volume.name, quiet=quiet) as progress:
            target = predict_file(
                folder,
                volume,
                output_dir,
                overlap=overlap,
                mirror=mirror,
                probabilities=probabilities,
                progress=progress,
            )
        click.echo(target)


COMMANDS = (predict,)
