"""Commands about labels."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from minivess.cli.options import FOLDER, as_json, run_folder


@click.command("check-labels")
@run_folder
@click.option("-o", "--output", type=FOLDER, help="Folder for the page and regions.csv.  [default: RUN/labels]")
@click.option(
    "--pictures", type=click.IntRange(1, 1000), default=100, show_default=True, help="Number of regions on the page."
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
@as_json
def check_labels(run: Path, output: Path | None, pictures: int, quiet: bool, as_json: bool) -> None:
    """List regions where labels may be wrong, with pictures.

    These are regions where the networks of RUN that have not seen a case agree with each other, but not with its label.
    The most doubtful region is first. Nothing is trained or predicted: the saved masks of the held-out cases are used.
    """
    from minivess.cli.progress import share_progress
    from minivess.experiments.check_labels import ask, check_labels
    from minivess.experiments.run_folder import RunFolder
    from minivess.reporting.label_page import write_label_page
    from minivess.text import counted

    folder, out = RunFolder(run), output or run / "labels"
    with share_progress("Checking labels", quiet=quiet or as_json) as advance:
        regions = check_labels(folder, lambda done, total: advance(done / total))
    page = write_label_page(out, folder.read_config().name, regions, partial(ask, folder), pictures)
    if as_json:
        rows = [{"case": one.case, "networks": one.networks, **asdict(one.doubt)} for one in regions]
        click.echo(json.dumps({"regions": rows, "page": str(page), "table": str(out / "regions.csv")}, indent=2))
        return
    for rank, one in enumerate(regions[:10], start=1):
        what = (
            "vessel that the label does not have"
            if one.doubt.kind == "missing"
            else "no vessel where the label has one"
        )
        x, y, z = one.doubt.peak
        click.echo(f"{rank:3} {one.case} at voxel {x}, {y}, {z}: {one.doubt.agreement:.0%} of the networks see {what}")
    click.echo(f"{counted(len(regions), 'region')} to check: {page}, {out / 'regions.csv'}")


COMMANDS = (check_labels,)
