"""The command that makes a registered model the champion."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import as_json, run_folder


@click.command()
@run_folder
@click.option("--version", "number", type=int, help="Another version of the same registered model.")
@click.option("--force", is_flag=True, help="Though it is worse, or of other data.")
@as_json
def promote(run: Path, number: int | None, force: bool, as_json: bool) -> None:
    """Make a run's model the champion, if no worse on the same cases."""
    from minivess.experiments.folder import RunFolder
    from minivess.experiments.promote import promote_run
    from minivess.experiments.track import tracking_uri

    folder = RunFolder(run)
    found = promote_run(folder, number, force=force)
    uri = tracking_uri(folder)
    if as_json:
        click.echo(json.dumps({**found.as_dict(), "tracking_uri": uri}, indent=2))
        return
    click.echo(f"Champion: {found.name} version {found.version} in {uri}" + (", against:" if found.objections else ""))
    for line in filter(None, [*found.objections, found.figures]):
        click.echo(line)


COMMANDS = (promote,)
