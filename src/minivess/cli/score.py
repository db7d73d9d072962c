"""The command that scores the masks of another tool as a method of a run."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import FOLDER, as_json


@click.command()
@click.argument("masks", nargs=-1, required=True)
@click.option("--run", "run_path", type=FOLDER, required=True, help="Run folder whose held-out cases are scored.")
@click.option("--name", required=True, help="Name of the method in the tables, e.g. nnunet.")
@click.option(
    "--trained-on",
    type=click.Choice(["folds", "other", "unknown"]),
    default="unknown",
    show_default=True,
    help="What the method was trained on: the training cases of each fold, none of the cases of the run, or unknown. "
    "The results say it.",
)
@click.option("--replace", is_flag=True, help="Replace the masks that were scored under this name before.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@as_json
def score(
    masks: tuple[str, ...], run_path: Path, name: str, trained_on: str, replace: bool, quiet: bool, as_json: bool
) -> None:
    """Score masks of another tool as a method of a run.

    MASKS are folders, files or patterns, NIfTI or TIFF. A mask has the name of its case (CASE.nii.gz; CASE_0000 and CASE_y
    are read too), the grid of its volume, and the values 0 and 1, or 0 and 255. Every held-out case of the run needs one.

    The method then appears in the tables, tests and figures of the run, marked as trained elsewhere. It is never registered
    as a model. To remove it, delete RUN/external/NAME and run `minivess report RUN`.
    """
    from minivess.cli.progress import share_progress
    from minivess.experiments.results import write_results
    from minivess.experiments.run_folder import RunFolder
    from minivess.experiments.score_masks import score_masks
    from minivess.reporting.html import write_report

    folder = RunFolder(run_path)
    with share_progress("Scoring", quiet=quiet or as_json) as advance:
        scored = score_masks(
            folder,
            name,
            masks,
            trained_on=trained_on,  # type: ignore[arg-type]  # click.Choice checks it
            replace=replace,
            progress=lambda done, total: advance(done / total),
        )
    comparison = write_results(folder)
    page = write_report(folder)
    means = {metric.metric: metric.score(name).interval for metric in comparison.metrics}
    if as_json:
        summary = {
            "name": name,
            "new": scored.is_new,
            "cases": len(scored.record.rows),
            "means": {metric: interval.mean for metric, interval in means.items()},
            "test_cases": len(scored.record.test_rows),
            "report": str(page),
        }
        click.echo(json.dumps(summary, indent=2))
        return
    state = "scored" if scored.is_new else "was scored before with these masks; nothing was changed:"
    click.echo(f"{name} {state} {len(scored.record.rows)} cases")
    for metric in comparison.metrics:
        click.echo(f"  {metric.title}: {means[metric.metric]} {metric.unit}".rstrip())
    if scored.record.test_rows:
        click.echo(f"  {len(scored.record.test_rows)} cases of the test set, apart: see the report")
    click.echo(f"{scored.record.fairness}\nReport: {page}")


COMMANDS = (score,)
