"""The command that serves MLflow's web pages."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import click

from minivess.cli.options import run_folder, tracking_uri
from minivess.errors import MinivessError, RunError


@click.command()
@run_folder
@tracking_uri
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(run: Path, tracking_uri: str | None, port: int) -> None:
    """Serve MLflow's web pages of a run on this machine, until Ctrl-C."""
    from minivess.experiments.run_folder import RunFolder
    from minivess.publishing import sync_run

    folder = RunFolder(run)
    uri = sync_run.tracking_uri(folder, tracking_uri)
    if uri is None:
        raise RunError("a run that MLflow tracks", "tracking_uri: none", "open report.html in the run folder instead")
    name = sync_run.experiment_name(folder.read_config())
    if uri.startswith("http"):
        click.echo(f"This run is tracked by a server: open {_page(uri, uri, name)}")
        return
    _require_free(port)
    argv = ["-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    click.echo(f"MLflow on {_page(f'http://127.0.0.1:{port}', uri, name)} (Ctrl-C ends it)")
    sys.stdout.flush()
    # MLflow's job runners serve traces of language models only, and keep running after the server has ended.
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, [sys.executable, *argv, "--workers", "1"], {**os.environ, **quiet})


def _page(address: str, uri: str, experiment: str) -> str:
    """Return the address of the page of an experiment; of the first page if MLflow has no such experiment or no answer."""
    from minivess.masking import mask_uri
    from minivess.tracking.mlflow import find_experiment

    try:
        number = find_experiment(uri, experiment)
    except MinivessError as error:
        click.echo(f"The page of the experiment was not found: {error}", err=True)
        number = None
    return mask_uri(address).rstrip("/") + ("" if number is None else f"/#/experiments/{number}")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunError(
                f"port {port} to be free", error.strerror or str(error), "use another one, e.g. --port 5001"
            ) from error


COMMANDS = (ui,)
