"""Cells on a Dask cluster: a real scheduler and two real workers on loopback, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from minivess.errors import RunError
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.locks import hold
from minivess.orchestration.dask_runner import OnDask

Start = Callable[..., subprocess.Popen[str]]
TRAINED = ("--only", "loss=dice_ce")


class Cluster:
    """A scheduler and its workers; the first has a nanny, the second has none."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._start("scheduler", "--port", str(port))
        self.with_nanny = self.add_worker("--nanny")
        self.without_nanny = self.add_worker("--no-nanny")

    def add_worker(self, *options: str) -> subprocess.Popen[bytes]:
        return self._start("worker", self.address, "--nthreads", "1", "--local-directory", str(self._folder), *options)

    def end(self) -> None:
        for process in (self.with_nanny, self.without_nanny, self.scheduler):
            process.terminate()
        for process in (self.with_nanny, self.without_nanny, self.scheduler):
            process.wait(timeout=30)

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--host", "127.0.0.1", "--no-dashboard", *options]
        with (self._folder / f"{what}.txt").open("ab") as log:
            # Another number of threads than in a local run: the weights must be the same all the same.
            return subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "3"})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Cluster]:
    found = Cluster(tmp_path_factory.mktemp("dask"), free_port())
    yield found
    found.end()


class TestOnDask:
    @pytest.mark.slow
    def test_cell_of_a_killed_worker_continues_elsewhere_with_the_weights_of_a_local_run(
        self, cluster: Cluster, minivess_run: Start, tmp_path: Path
    ) -> None:
        (tmp_path / "local").mkdir()
        (tmp_path / "dask").mkdir()
        process = minivess_run(tmp_path / "dask", *TRAINED, "--dask", cluster.address)
        victim = cluster.without_nanny
        cells = [RunFolder(tmp_path / "dask" / "tiny").cell("dice_ce", fold) for fold in (0, 1)]
        (lost,) = _wait_for(lambda: [cell for cell in cells if _holder(cell) == victim.pid and cell.read_journal()])
        victim.kill()
        assert not lost.finished
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        assert "Dask: 2 workers" in err
        log = (lost.path / "log.txt").read_text()
        assert "supervisor has ended" in log
        assert "resumes after step" in log

        process = minivess_run(tmp_path / "local", "--only", f"loss=dice_ce,fold={lost.path.name[-1]}")
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        (undisturbed,) = RunFolder(tmp_path / "local" / "tiny").cells()
        assert _weights(undisturbed) == _weights(lost)
        assert all(cell.finished for cell in cells)

    @pytest.mark.slow
    def test_stopped_cell_continues_and_ctrl_c_stops_it(
        self, cluster: Cluster, minivess_run: Start, tmp_path: Path
    ) -> None:
        long = ("--set", "training.max_epochs=3000", "--only", "loss=dice_ce,fold=0", "--dask", cluster.address)
        process = minivess_run(tmp_path, *long)
        cell = RunFolder(tmp_path / "tiny").cell("dice_ce", 0)
        _wait_for(lambda: cell.read_journal() or process.poll() is not None)
        _supervisor(cell).terminate()  # as a batch system does at the end of a job
        _wait_for(lambda: "resumes after step" in (cell.path / "log.txt").read_text() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 5
        assert "interrupted" in err
        outcome = _wait_for(lambda: (cell.path / "outcome.json").is_file() and (cell.path / "outcome.json").read_text())
        assert json.loads(outcome)["status"] == "stopped"
        assert list(cell.checkpoints.glob("step-*"))
        with hold(cell.path / ".lock", wait=True):
            assert not cell.finished

    def test_missing_scheduler_is_reported_before_a_run_folder_exists(
        self, free_port: Callable[[], int], minivess_run: Start, tmp_path: Path
    ) -> None:
        address = f"tcp://127.0.0.1:{free_port()}"
        process = minivess_run(tmp_path, "--dask", address)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 5
        assert f"none at {address}" in err
        assert not (tmp_path / "tiny").exists()

    def test_invalid_address_is_an_error(self) -> None:
        with pytest.raises(RunError) as caught:
            OnDask("nowhere").require()
        assert "nowhere" in caught.value.got


def _holder(cell: CellFolder) -> int:
    """Return the id of the process that holds the lock of the cell; 0 if there is none."""
    try:
        return int((cell.path / ".lock").read_text().split()[0])
    except (OSError, IndexError):
        return 0


def _supervisor(cell: CellFolder) -> psutil.Process:
    children = psutil.Process(_holder(cell)).children()
    return next(child for child in children if {"minivess.worker", "supervisor"} <= set(child.cmdline()))


def _weights(cell: CellFolder) -> bytes:
    return (cell.weights / "network.safetensors").read_bytes()


def _wait_for(condition: Callable[[], Any], seconds: float = 180.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)
    return found
