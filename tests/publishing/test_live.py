"""MLflow follows a run while it is going, and a run never waits for it."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from minivess.experiments.run_folder import RunFolder
from minivess.json_files import to_line
from minivess.publishing.live import live_tracking
from minivess.publishing.sync_run import sync_run

RUN = """
import sys, time
from pathlib import Path
from minivess.experiments.run_folder import RunFolder
from minivess.locks import hold
from minivess.publishing.live import live_tracking

folder = RunFolder(Path(sys.argv[1]))
with live_tracking(folder, sys.argv[2]):
    with hold(folder.path / ".lock"), hold(folder.cell("dice_ce", 0).path / ".lock"):
        print("started", flush=True)
        time.sleep(300)
"""


class TestLiveTracking:
    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_a_running_cell_is_seen_with_its_epochs_and_settled_when_the_run_has_ended(
        self, private: Any, number: signal.Signals
    ) -> None:
        """After Ctrl-C by the process itself; after SIGKILL nothing may live on, and the next sync settles it."""
        folder = private.run("going", dice_ce=0.6)
        cell = folder.cell("dice_ce", 0)
        cell.result.unlink()
        cell.journal.write_text(to_line({"epoch": 1, "step": 4, "loss": 0.5}))
        run = subprocess.Popen([sys.executable, "-c", RUN, folder.path, private.uri], stdout=subprocess.PIPE)
        try:
            _wait_for(lambda: ("RUNNING", 0.5) in _cells(private))
            with cell.journal.open("a") as journal:
                journal.write(to_line({"epoch": 2, "step": 8, "loss": 0.25}))
            _wait_for(lambda: ("RUNNING", 0.25) in _cells(private))
        finally:
            below = psutil.Process(run.pid).children(recursive=True)
            run.send_signal(number)
            run.communicate()
        if number == signal.SIGKILL:
            _, alive = psutil.wait_procs(below, timeout=1.0)
            assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
            sync_run(folder, private.uri)
        _wait_for(lambda: ("KILLED", 0.25) in _cells(private), seconds=25)

    def test_a_dead_server_costs_the_run_no_time(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            begin = time.monotonic()
            with live_tracking(RunFolder(tmp_path), f"http://127.0.0.1:{silent.getsockname()[1]}"):
                pass
            assert time.monotonic() - begin < 2

    def test_an_error_of_the_run_waits_for_the_last_sync_and_leaves_no_process(self, tmp_path: Path) -> None:
        begin = time.monotonic()
        with pytest.raises(KeyboardInterrupt), live_tracking(RunFolder(tmp_path), "sqlite:///unused.db"):
            raise KeyboardInterrupt
        assert time.monotonic() - begin < 7
        assert not [child for child in psutil.Process().children() if "track" in child.cmdline()]


def _cells(desk: Any) -> list[tuple[str, float]]:
    """Return status and last loss of every run in MLflow's database that has a loss."""
    query = "SELECT status, value FROM runs JOIN latest_metrics USING (run_uuid) WHERE key = 'loss'"
    with closing(sqlite3.connect(desk.folder / "runs" / "mlflow.db")) as database:
        return list(database.execute(query))


def _wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds} s"
        time.sleep(0.2)
