"""The command that serves MLflow's web pages."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from minivess.cli.options import run_folder
from minivess.errors import RunError


@click.command()
@run_folder
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(run: Path, port: int) -> None:
    """Serve MLflow's web pages of a run on this machine, until Ctrl-C."""
    from minivess.experiments.run_folder import RunFolder
    from minivess.publishing.sync_run import tracking_uri

    uri = tracking_uri(RunFolder(run))
    if uri is None:
        raise RunError("a run that MLflow tracks", "tracking_uri: none", "open report.html in the run folder instead")
    if uri.startswith("http"):
        click.echo(f"This run is tracked by a server: open {uri}")
        return
    argv = [
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    click.echo(f"MLflow on http://127.0.0.1:{port} (Ctrl-C ends it)")
    sys.stdout.flush()
    # MLflow's job runners serve traces of language models only, and keep running after the server has ended.
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, [sys.executable, *argv], {**os.environ, **quiet})


COMMANDS = (ui,)
