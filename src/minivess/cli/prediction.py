"""The command that segments new volumes with trained weights."""

from __future__ import annotations

from pathlib import Path

import click

from minivess.cli.options import FILE, FOLDER, trust_code
from minivess.errors import DataError
from minivess.findings import grouped
from minivess.json_files import read_state


@click.command()
@click.argument("weights", type=FOLDER)
@click.argument("volumes", type=FILE, nargs=-1, required=True)
@click.option("--output-dir", "-o", type=FOLDER, required=True, help="Folder for the masks NAME_y.nii.gz.")
@click.option(
    "--overlap",
    type=click.FloatRange(0, 0.9),
    help="Overlap of neighbouring windows, as a share of the window; by default that of the run for a cell's weights, else 0.5.",
)
@click.option(
    "--mirror", is_flag=True, help="Average the predictions of in-plane mirror images; takes four times as long."
)
@click.option("--probabilities", is_flag=True, help="Write the vessel probability instead of the mask.")
@click.option(
    "--force",
    is_flag=True,
    help="Overwrite existing output files, and predict volumes that are far from the training volumes.",
)
@trust_code
@click.option("--quiet", is_flag=True, help="Show no progress.")
def predict(
    weights: Path,
    volumes: tuple[Path, ...],
    output_dir: Path,
    overlap: float | None,
    mirror: bool,
    probabilities: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Segment VOLUMES with the weights of a cell (runs/NAME/cells/LOSS-foldK).

    The headers of all volumes are read before the first prediction. A volume that has unusable voxels, or that does not fit
    the memory, is reported and skipped; the others are predicted, and the exit code is 3.
    """
    from minivess.cli.progress import share_progress
    from minivess.inference.predict_file import predict_file, require_inputs, require_room

    folder = weights / "weights" if (weights / "weights").is_dir() else weights
    share = _overlap_of(folder) if overlap is None else overlap
    for finding in grouped(require_inputs(folder, volumes, force=force)):
        click.echo(f"{click.style('Unlike the training volumes:', fg='yellow', bold=True)} {finding}", err=True)
    require_room(volumes, output_dir, probabilities=probabilities, replace=force)
    skipped = []
    for volume in volumes:
        try:
            with share_progress(volume.name, quiet=quiet) as progress:
                target = predict_file(
                    folder,
                    volume,
                    output_dir,
                    overlap=share,
                    mirror=mirror,
                    probabilities=probabilities,
                    compare=not force,
                    replace=force,
                    progress=progress,
                )
            click.echo(target)
        except DataError as error:
            click.echo(f"{click.style('Not predicted:', fg='red', bold=True)} {error}", err=True)
            skipped.append(volume.name)
    if skipped:
        done = f"{len(volumes) - len(skipped)} of {len(volumes)} volumes are predicted in {output_dir}"
        click.echo(f"{done}; skipped: {', '.join(skipped)}", err=True)
        raise click.exceptions.Exit(DataError.exit_code)


def _overlap_of(weights: Path) -> float:
    """Return the overlap of the plan that scored the cell's held-out cases, or 0.5 if the weights are not in a cell folder.

    Raises:
        RunError: A cell.json exists and cannot be read.
    """
    from minivess.experiments.cell_spec import CellSpec
    from minivess.experiments.run_folder import CellFolder

    spec = CellFolder(weights.resolve().parent).spec
    return read_state(spec, CellSpec, "restore this file, or give --overlap").plan.overlap if spec.is_file() else 0.5


COMMANDS = (predict,)
