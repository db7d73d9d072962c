"""The command that makes a registered model the champion."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import as_json, run_folder
from minivess.json_files import to_plain


@click.command()
@run_folder
@click.option(
    "--version", "number", type=int, help="Promote this version of the registered model; by default the one of the run."
)
@click.option("--force", is_flag=True, help="Promote even if the model is worse or was trained on other data.")
@as_json
def promote(run: Path, number: int | None, force: bool, as_json: bool) -> None:
    """Make a run's model the champion if it is not worse.

    The model must have at least the mean dsc of the present champion on the cases that both scored, and come from the same
    data.
    """
    from minivess.experiments.run_folder import RunFolder
    from minivess.publishing.promote import promote_run
    from minivess.publishing.sync_run import tracking_uri

    folder = RunFolder(run)
    found = promote_run(folder, number, force=force)
    uri = tracking_uri(folder)
    if as_json:
        click.echo(json.dumps({**to_plain(found), "tracking_uri": uri}, indent=2))
        return
    click.echo(
        f"Champion: {found.name} version {found.version} in {uri}" + (", promoted despite:" if found.objections else "")
    )
    for line in filter(None, [*found.objections, found.figures]):
        click.echo(line)


COMMANDS = (promote,)
