"""The command that makes a registered model the champion."""

from __future__ import annotations

import json
from pathlib import Path

import click

from minivess.cli.options import as_json, run_folder, tracking_uri
from minivess.errors import RunError
from minivess.json_files import to_plain


@click.command()
@run_folder
@click.option(
    "--version", "number", type=int, help="Promote this version of the registered model; by default the one of the run."
)
@click.option("--force", is_flag=True, help="Promote even if the model is worse or was trained on other data.")
@tracking_uri
@as_json
def promote(run: Path, number: int | None, force: bool, tracking_uri: str | None, as_json: bool) -> None:
    """Make a run's model the champion if it is not worse.

    By the run's first metric, its mean must not be worse than that of the present champion on the cases that both scored. Both
    must come from the same data, and the model must load.
    """
    from minivess.experiments.run_folder import RunFolder
    from minivess.masking import mask_uri
    from minivess.publishing import sync_run
    from minivess.publishing.promote import promote_run

    folder = RunFolder(run)
    uri = sync_run.tracking_uri(folder, tracking_uri)
    if uri is None:
        raise RunError("a run that MLflow tracks", "tracking_uri: none", "name a server or database: --tracking-uri")
    found, shown = promote_run(folder, uri, number, force=force), mask_uri(uri)
    if as_json:
        click.echo(json.dumps({**to_plain(found), "tracking_uri": shown}, indent=2))
        return
    despite = ", promoted despite:" if found.objections else ""
    click.echo(f"Champion: {found.name} version {found.version} in {shown}{despite}")
    for line in filter(None, [*found.objections, found.figures]):
        click.echo(line)


COMMANDS = (promote,)
