"""Tests of whole runs, from one YAML file to the results, with real processes and volumes and real kills."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minivess.data.formats.nifti import read_volume
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.supervision.outcome import Cause, cure_for

OFFLINE = """\
import pathlib, socket
def refuse(*arguments, **options):
    pathlib.Path({marker!r}).write_text(repr(arguments))
    raise OSError("no network in this test")
socket.getaddrinfo = refuse
class Cut(socket.socket):
    connect = connect_ex = refuse
socket.socket = Cut
"""


class Bench:
    """A folder in which the command runs."""

    def __init__(self, folder: Path, data: Path, text: str) -> None:
        self.folder = folder
        self._data = data
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.yaml").write_text(text)
        self.run = RunFolder(folder / "runs" / "tiny")

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        paths = (
            "--config",
            str(self.folder / "tiny.yaml"),
            "--data-dir",
            str(self._data),
            "--output-dir",
            str(self.folder / "runs"),
        )
        argv = [sys.executable, "-m", "minivess.cli.main", "run", *paths, *options]
        env = {**os.environ, "PREFECT_DISABLED": "1", **environment}
        # In its own session, so that a test can send Ctrl-C to the whole process group.
        return subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True
        )

    def finish(self, *options: str, **environment: str) -> tuple[int, str, str]:
        process = self.start(*options, **environment)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def cell(self, name: str) -> CellFolder:
        return CellFolder(self.run.path / "cells" / name)


@pytest.fixture(scope="module")
def complete_run(phantoms: Path, tiny_study: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A complete run without access to the network."""
    folder = tmp_path_factory.mktemp("complete_run")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(OFFLINE.format(marker=str(folder / "network")))
    bench = Bench(folder, phantoms, tiny_study.replace("tracking_uri: none\n", ""))
    code, _, err = bench.finish(PYTHONPATH=f"{folder / 'site'}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert code == 0, err
    return bench


class TestRun:
    def test_writes_all_files_of_the_run_folder(self, complete_run: Bench) -> None:
        run = complete_run.run
        for path in (
            run.config,
            run.profile,
            run.splits,
            run.plan,
            run.preflight,
            run.environment,
            run.cases,
            run.report,
        ):
            assert path.stat().st_size > 0, path
        assert [cell.path.name for cell in run.cells()] == [
            "dice_ce-fold0",
            "dice_ce-fold1",
            "threshold-fold0",
            "threshold-fold1",
        ]
        cell = complete_run.cell("dice_ce-fold0")
        assert [line["step"] for line in cell.read_journal()] == [4, 8, 12]
        assert cell.monitor.read_text().startswith("time_iso,")

    def test_every_case_is_scored_once_by_every_method(self, complete_run: Bench) -> None:
        rows = complete_run.run.read_rows()
        scored = sorted((row.method, row.case) for row in rows)
        assert scored == sorted((method, f"phantom0{n}") for method in ("dice_ce", "threshold") for n in (1, 2, 3, 4))
        comparison = json.loads(complete_run.run.comparison.read_text())
        assert comparison["methods"] == ["dice_ce", "threshold"]

    def test_five_slice_volume_is_scored_without_padding(self, complete_run: Bench) -> None:
        assert complete_run.run.read_plan().patch[2] <= 5
        (mask,) = complete_run.run.path.glob("cells/dice_ce-fold*/predictions/phantom01.nii.gz")
        assert read_volume(mask).shape == (96, 96, 5)
        (row,) = [row for row in complete_run.run.read_rows() if (row.method, row.case) == ("dice_ce", "phantom01")]
        assert 0 < row.metrics.reference_voxels < 96 * 96 * 5

    def test_no_process_used_the_network(self, complete_run: Bench) -> None:
        assert not (complete_run.folder / "network").exists()

    def test_mlflow_has_one_run_per_cell_and_all_are_finished(self, complete_run: Bench) -> None:
        with sqlite3.connect(complete_run.folder / "runs" / "mlflow.db") as database:
            states = [state for (state,) in database.execute("select status from runs")]
        assert states == ["FINISHED"] * 5  # four cells and their parent

    def test_same_command_again_repeats_nothing(self, complete_run: Bench) -> None:
        before = {cell.path.name: cell.result.stat().st_mtime_ns for cell in complete_run.run.cells()}
        code, _, err = complete_run.finish()
        assert code == 0
        assert err.count("already finished") == 4
        assert {cell.path.name: cell.result.stat().st_mtime_ns for cell in complete_run.run.cells()} == before

    def test_other_settings_in_the_same_folder_are_refused(self, complete_run: Bench) -> None:
        code, _, err = complete_run.finish("--set", "training.max_epochs=5")
        assert code != 0
        assert "training.max_epochs: 3 then" in " ".join(err.split())


def _press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Send SIGINT to the whole process group, as a terminal does."""
    os.killpg(process.pid, signal.SIGINT)


class TestKilled:
    def test_killed_run_resumes_to_bit_identical_weights(
        self, complete_run: Bench, phantoms: Path, tiny_study: str, tmp_path: Path
    ) -> None:
        bench = Bench(tmp_path, phantoms, tiny_study)
        process = bench.start()
        cell = bench.cell("dice_ce-fold0")
        _wait_for(lambda: len(cell.read_journal()) >= 1 or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not cell.finished
        code, _, err = bench.finish()
        assert code == 0, err
        assert err.count("already finished") == 2  # the two baselines
        assert "resumes after step" in (cell.path / "log.txt").read_text()
        for name in ("dice_ce-fold0", "dice_ce-fold1"):
            resumed, original = bench.cell(name), complete_run.cell(name)
            assert (resumed.weights / "network.safetensors").read_bytes() == (
                original.weights / "network.safetensors"
            ).read_bytes()
        assert bench.run.read_rows() == complete_run.run.read_rows()

    @pytest.mark.parametrize("ask", [_press_ctrl_c, subprocess.Popen.terminate], ids=["ctrl_c", "kill"])
    def test_interrupt_saves_a_checkpoint_and_prints_how_to_resume(
        self, ask: Callable[[subprocess.Popen[str]], None], phantoms: Path, tiny_study: str, tmp_path: Path
    ) -> None:
        bench = Bench(
            tmp_path,
            phantoms,
            tiny_study.replace("max_epochs: 3", "max_epochs: 3000") + "evaluation: {baselines: []}\n",
        )
        process = bench.start()
        _wait_for(lambda: len(bench.cell("dice_ce-fold0").read_journal()) >= 1 or process.poll() is not None)
        ask(process)
        _, err = process.communicate(timeout=60)
        assert process.returncode != 0
        assert "Traceback" not in err
        assert cure_for(Cause.INTERRUPTED) in " ".join(err.split())
        assert list(bench.cell("dice_ce-fold0").checkpoints.glob("step-*"))


class TestDeleted:
    def test_a_run_folder_that_is_deleted_under_the_run_is_one_message(
        self, phantoms: Path, tiny_study: str, tmp_path: Path
    ) -> None:
        bench = Bench(tmp_path, phantoms, tiny_study.replace("max_epochs: 3", "max_epochs: 3000"))
        process = bench.start("--only", "loss=dice_ce,fold=0")
        _wait_for(lambda: len(bench.cell("dice_ce-fold0").read_journal()) >= 1 or process.poll() is not None)
        # Renamed, which is atomic: a deletion races with the process that writes.
        bench.run.path.rename(tmp_path / "elsewhere")
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == 5
        assert "Traceback" not in err
        assert err.count("Error:") == 1
        assert "deleted or moved" in " ".join(err.split())
        assert not bench.run.path.exists()


class TestFailure:
    def test_failed_cell_does_not_stop_the_others_and_is_reported_at_the_end(
        self, phantoms: Path, tiny_study: str, tmp_path: Path
    ) -> None:
        bench = Bench(tmp_path, phantoms, tiny_study.replace("learning_rate: 0.01", "learning_rate: 1.0e+30"))
        code, out, err = bench.finish()
        assert code == 5
        assert err.count("Failed:") == 2
        assert "nan_loss" in err
        assert cure_for(Cause.NAN_LOSS) in " ".join(err.split())
        assert "threshold" in out


def _wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds} s"
        time.sleep(0.02)
