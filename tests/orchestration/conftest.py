"""Fixtures: `minivess run` as a user runs it, and a real Prefect server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def minivess_run(phantoms: Path, tiny_study: str) -> Callable[..., subprocess.Popen[str]]:
    """Start ``minivess run`` of two tiny cells and two baselines; the run folder is FOLDER/tiny."""

    def start(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
        (folder / "tiny.yaml").write_text(tiny_study)
        paths = ("--config", str(folder / "tiny.yaml"), "--data-dir", str(phantoms), "--output-dir", str(folder))
        env = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
        return subprocess.Popen(
            [sys.executable, "-m", "minivess.cli.main", "run", *paths, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**env, "OMP_WAIT_POLICY": "PASSIVE", **environment},
        )

    return start


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Find a free port on loopback."""

    def find() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return int(free.getsockname()[1])

    return find


class Server:
    """A Prefect server for one test module."""

    def __init__(self, home: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/api"
        self.environment = {
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        argv = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        home.mkdir()
        with (home / "server.txt").open("wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **self.environment})

    def wait_until_healthy(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while not self._is_healthy():
            assert time.monotonic() < deadline, "the server did not answer"
            assert self.process.poll() is None, "the server has ended"
            time.sleep(0.2)

    def ask(self, what: str) -> list[dict[str, Any]]:
        """Return all "flow_runs", "task_runs" or "artifacts" of the server."""
        request = urllib.request.Request(f"{self.url}/{what}/filter", b"{}", {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return found

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("server") / "prefect", free_port())
    try:
        found.wait_until_healthy()
        yield found
    finally:
        found.process.terminate()
        found.process.wait(timeout=30)
