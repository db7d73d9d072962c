"""A run in the view of Prefect: a real server, started here on loopback; and one that is not there."""

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

LOSES_ITS_SERVER = """\
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
    def test_a_run_is_a_flow_with_its_steps_its_cells_and_artifacts(
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

    def test_kill_ends_a_run_there_as_anywhere(self, server: Any, minivess_run: Start, tmp_path: Path) -> None:
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
        assert "run the same command again: it resumes" in err
        assert list(cell.checkpoints.glob("step-*"))

    @pytest.mark.slow
    def test_one_that_dies_in_mid_run_takes_nothing_with_it_and_comes_last_here(
        self, server: Any, tmp_path: Path
    ) -> None:
        argv = [sys.executable, "-c", LOSES_ITS_SERVER, str(server.process.pid)]
        env = {**os.environ, **server.environment}
        env.pop("PREFECT_DISABLED", None)
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=120, check=True)
        assert done.stdout.strip() == "42"
        assert done.stderr.count("Prefect shows no more of this run, which loses nothing by it") == 1


class TestWithoutServer:
    def test_a_server_that_is_down_is_a_note(
        self, minivess_run: Start, free_port: Callable[[], int], tmp_path: Path
    ) -> None:
        url = f"http://127.0.0.1:{free_port()}/api"
        process = minivess_run(tmp_path, "--only", "loss=threshold,fold=0", PREFECT_API_URL=url)
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert f"no server at {url}" in err
        assert (tmp_path / "tiny" / "report.html").is_file()
        # The same again, finished already, with no server named at all.
        process = minivess_run(tmp_path, "--only", "loss=threshold,fold=0")
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "just prefect-up" in err
        assert "was finished before" in err


def _settled(ask: Callable[[], dict[str, str]], seconds: float = 30.0) -> dict[str, str]:
    """Prefect's task runs arrive as events, a moment after the run."""
    deadline = time.monotonic() + seconds
    while len(found := ask()) < 5 or set(found.values()) != {"COMPLETED"}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    return found
