"""Serving MLflow's pages, with a real server process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.errors import RunError
from minivess.experiments.config_file import make_config
from minivess.experiments.run_folder import RunFolder
from minivess.tracking.client import open_client
from minivess.tracking.uris import sqlite_uri

pytestmark = pytest.mark.slow


def _folder(path: Path, **settings: object) -> RunFolder:
    folder = RunFolder(path / "runs" / "one")
    values = {"name": "one", "losses": ["dice_ce"], "output_dir": str(path / "runs"), **settings}
    folder.write_config(make_config(values, "a test"))
    return folder


class TestUi:
    def test_serves_the_database_of_the_run_on_loopback(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        argv = [sys.executable, "-m", "minivess.cli.main", "ui", str(folder.path), "--port", str(port)]
        number = open_client(sqlite_uri(tmp_path / "runs" / "mlflow.db")).create_experiment("one")
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert server.stdout is not None
            assert f"http://127.0.0.1:{port}/#/experiments/{number} " in server.stdout.readline().decode()
            url = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/experiments/get?experiment_id={number}"
            found = json.loads(_fetch(url, server))
            children = [" ".join(child.cmdline()) for child in psutil.Process(server.pid).children(recursive=True)]
        finally:
            server.terminate()
            server.communicate(timeout=30)
        assert found["experiment"]["name"] == "one"
        assert not [child for child in children if "mlflow.server.jobs" in child], "MLflow's job runners were started"
        assert (tmp_path / "runs" / "mlflow.db").is_file()

    def test_a_server_that_does_not_answer_is_named_without_the_experiment(self, tmp_path: Path) -> None:
        folder = _folder(tmp_path)
        uri = "http://token@127.0.0.1:9"
        done = CliRunner().invoke(cli, ["ui", str(folder.path), "--tracking-uri", uri])
        assert done.output.splitlines()[-1].endswith("open http://***@127.0.0.1:9")

    def test_an_error_without_a_database_or_a_free_port(self, tmp_path: Path) -> None:
        off = CliRunner().invoke(cli, ["ui", str(_folder(tmp_path / "b", tracking_uri="none").path)])
        assert isinstance(off.exception, RunError)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            used = CliRunner().invoke(cli, ["ui", str(_folder(tmp_path / "c").path), "--port", port])
        assert port in str(used.exception)


def _fetch(url: str, server: subprocess.Popen[bytes]) -> bytes:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.5)
    pytest.fail("the server did not answer")
