"""The command that segments new volumes with trained weights."""

from __future__ import annotations

from pathlib import Path

import click

from minivess.cli.options import FOLDER, trust_code
from minivess.errors import DataError
from minivess.findings import grouped
from minivess.json_files import read_state
from minivess.models.shipped import SHIPPED, UNCALIBRATED


@click.command()
@click.argument("inputs", metavar="[MODEL] VOLUMES...", nargs=-1, required=True)
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
    inputs: tuple[str, ...],
    output_dir: Path,
    overlap: float | None,
    mirror: bool,
    probabilities: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Segment VOLUMES with the model of a run or the one that ships.

    MODEL is a run folder (its ensemble, or its best network), the folder of a cell (runs/NAME/cells/LOSS-foldK), or a folder
    of weights. Without it, the network that ships with minivess is used, which was trained on phantoms alone. VOLUMES are
    files, patterns, or folders with NIfTI images.

    The headers of all volumes are read before the first prediction. A volume that has unusable voxels, or that does not fit
    the memory, is reported and skipped; the others are predicted, and the exit code is 3.
    """
    from minivess.cli.progress import share_progress
    from minivess.inference.predict_file import predict_file, require_inputs, require_room

    folder, files = _model_and_volumes(inputs)
    if folder == SHIPPED:
        click.echo(click.style(UNCALIBRATED, fg="yellow"), err=True)
    share = _overlap_of(folder) if overlap is None else overlap
    for finding in grouped(require_inputs(folder, files, force=force)):
        click.echo(f"{click.style('Unlike the training volumes:', fg='yellow', bold=True)} {finding}", err=True)
    require_room(files, output_dir, probabilities=probabilities, replace=force)
    skipped = []
    for volume in files:
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
        done = f"{len(files) - len(skipped)} of {len(files)} volumes are predicted in {output_dir}"
        click.echo(f"{done}; skipped: {', '.join(skipped)}", err=True)
        raise click.exceptions.Exit(DataError.exit_code)


def _model_and_volumes(inputs: tuple[str, ...]) -> tuple[Path, list[Path]]:
    """Return the model folder and the volumes. Without a model before the volumes, it is the one that ships.

    Raises:
        click.UsageError: There is no volume.
        DataError: The model or the volumes cannot be found.
    """
    from minivess.data.layouts.listing import find_files
    from minivess.experiments.final_model import find_model, is_model

    first, *others = inputs
    path = Path(first).expanduser()
    if others and (path.is_dir() or not (path.exists() or ".nii" in first.lower() or "*" in first)):
        return find_model(path), find_files(others)
    if is_model(path):
        raise click.UsageError(f"No volume to predict: {first} is a model.")
    return SHIPPED, find_files(inputs)


def _overlap_of(weights: Path) -> float:
    """Return the overlap of the plan that scored the held-out cases, or 0.5 if the weights are not in a run folder.

    Raises:
        RunError: The plan exists and cannot be read.
    """
    from minivess.experiments.cell_spec import CellSpec
    from minivess.experiments.run_folder import CellFolder, RunFolder
    from minivess.planning.plan import TrainingPlan

    parent, cure = weights.resolve().parent, "restore this file, or give --overlap"
    if (spec := CellFolder(parent).spec).is_file():
        return read_state(spec, CellSpec, cure).plan.overlap
    plan = RunFolder(parent).plan
    return read_state(plan, TrainingPlan, cure).overlap if plan.is_file() else 0.5


COMMANDS = (predict,)
