"""A run shown in Prefect: with a real server on loopback, and with a server that does not answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minivess.errors import RunError
from minivess.experiments.run_folder import RunFolder

Start = Callable[..., subprocess.Popen[str]]

KILLS_ITS_SERVER = """\
import os, signal, sys, time
from pathlib import Path
from minivess.orchestration.flows import as_cell, as_flow, as_task, show_results
from minivess.supervision.outcome import Cause, Outcome

def work():
    failed = Outcome("failed", Cause.HANG, "no sign of life", "", 1, None, 0, 0, None, 0, "", "", 1.0)
    assert as_cell("stuck", lambda: failed) is failed
    before = as_task("before", lambda: 20)
    os.kill(int(sys.argv[1]), signal.SIGKILL)
    time.sleep(1)
    after = as_task("after", lambda: before + 1)
    show_results("one", "| a |", Path("report.html"))
    return 2 * after

print(as_flow("one", work))
"""


class TestServer:
    def test_run_is_a_flow_with_steps_cells_and_artifacts(
        self, server: Any, minivess_run: Start, tmp_path: Path
    ) -> None:
        process = minivess_run(tmp_path, "--only", "loss=threshold", **server.environment)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert [(run["name"], run["state_type"]) for run in server.ask("flow_runs")] == [("tiny", "COMPLETED")]
        tasks = _settled(lambda: {run["name"]: run["state_type"] for run in server.ask("task_runs")})
        steps = ("profile and prepare", "threshold-fold0", "threshold-fold1", "compare", "report")
        assert tasks == dict.fromkeys(steps, "COMPLETED")
        artifacts = {found["key"]: found["data"] for found in server.ask("artifacts") if found["key"]}
        assert set(artifacts) == {"tiny-comparison", "tiny-report"}
        assert "threshold" in artifacts["tiny-comparison"]
        assert (tmp_path / "tiny" / "report.html").as_uri() in artifacts["tiny-report"]

    @pytest.mark.slow
    def test_sigterm_saves_and_stops_a_run(self, server: Any, minivess_run: Start, tmp_path: Path) -> None:
        only = ("--only", "loss=dice_ce,fold=0", "--set", "training.max_epochs=3000", "--set", "dry_start=false")
        process = minivess_run(tmp_path, *only, **server.environment)
        cell = RunFolder(tmp_path / "tiny").cell("dice_ce", 0)
        deadline = time.monotonic() + 120
        while not cell.journal.is_file():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.terminate()
        _, err = process.communicate(timeout=60)
        assert (process.returncode, "Traceback" in err) == (RunError.exit_code, False), err
        assert "run the same command again" in err
        assert list(cell.checkpoints.glob("step-*"))

    @pytest.mark.slow
    def test_what_a_killed_run_left_running_is_settled_by_the_next_command(
        self, server: Any, minivess_run: Start, tmp_path: Path
    ) -> None:
        only = ("--only", "loss=dice_ce,fold=0", "--set", "training.max_epochs=3000", "--set", "dry_start=false")
        process = minivess_run(tmp_path, *only, **server.environment)
        cell = RunFolder(tmp_path / "tiny").cell("dice_ce", 0)
        deadline = time.monotonic() + 120
        while not cell.journal.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.communicate()
        assert "RUNNING" in {run["state_type"] for run in server.ask("flow_runs")}
        again = minivess_run(tmp_path, "--only", "loss=threshold,fold=0", *only[2:], **server.environment)
        _, err = again.communicate(timeout=240)
        assert again.returncode == 0, err
        assert "RUNNING" not in {run["state_type"] for run in server.ask("flow_runs")}
        assert "RUNNING" not in {run["state_type"] for run in server.ask("task_runs")}

    @pytest.mark.slow
    def test_run_finishes_if_the_server_is_killed(self, server: Any, tmp_path: Path) -> None:
        argv = [sys.executable, "-c", KILLS_ITS_SERVER, str(server.process.pid)]
        env = {**os.environ, **server.environment}
        env.pop("PREFECT_DISABLED", None)
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120, check=True)
        assert done.stdout.strip() == "42"
        assert done.stderr.count("Prefect no longer shows this run") == 1


class TestWithoutServer:
    def test_unreachable_server_is_a_note(
        self, minivess_run: Start, free_port: Callable[[], int], tmp_path: Path
    ) -> None:
        url = f"http://127.0.0.1:{free_port()}/api"
        process = minivess_run(tmp_path, "--only", "loss=threshold,fold=0", PREFECT_API_URL=url)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert f"no server at {url}" in err
        assert (tmp_path / "tiny" / "report.html").is_file()
        # The same command again: the cell is finished, and no server is configured.
        process = minivess_run(tmp_path, "--only", "loss=threshold,fold=0")
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "just prefect-up" in err
        assert "threshold-fold0 is already finished" in err


def _settled(ask: Callable[[], dict[str, str]], seconds: float = 30.0) -> dict[str, str]:
    """Wait for Prefect's task runs, which arrive as events shortly after the run."""
    deadline = time.monotonic() + seconds
    while len(found := ask()) < 5 or set(found.values()) != {"COMPLETED"}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return found
