"""A run from one YAML to its results: real processes, real volumes on disk, really killed."""

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

OFFLINE = """\
import pathlib, socket
def refuse(*arguments, **options):
    pathlib.Path({marker!r}).write_text(repr(arguments))
    raise OSError("the network is cut")
socket.getaddrinfo = refuse
class Cut(socket.socket):
    connect = connect_ex = refuse
socket.socket = Cut
"""


class Bench:
    """A place to run the command in."""

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
        # In a session of its own, so that a test can press Ctrl-C for the whole group.
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
def undisturbed(phantoms: Path, tiny_study: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A whole run, with every way to the network cut."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(OFFLINE.format(marker=str(folder / "network")))
    bench = Bench(folder, phantoms, tiny_study.replace("tracking_uri: none\n", ""))
    code, _, err = bench.finish(PYTHONPATH=f"{folder / 'site'}{os.pathsep}{os.environ['PYTHONPATH']}")
    assert code == 0, err
    return bench


class TestRun:
    def test_leaves_what_a_person_and_a_program_can_read(self, undisturbed: Bench) -> None:
        run = undisturbed.run
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
        cell = undisturbed.cell("dice_ce-fold0")
        assert [line["step"] for line in cell.read_journal()] == [4, 8, 12]
        assert cell.monitor.read_text().startswith("time_iso,")

    def test_every_case_is_scored_once_by_every_method(self, undisturbed: Bench) -> None:
        rows = undisturbed.run.read_rows()
        scored = sorted((row.method, row.case) for row in rows)
        assert scored == sorted((method, f"phantom0{n}") for method in ("dice_ce", "threshold") for n in (1, 2, 3, 4))
        comparison = json.loads(undisturbed.run.comparison.read_text())
        assert comparison["methods"] == ["dice_ce", "threshold"]

    def test_a_five_slice_volume_is_scored_unpadded(self, undisturbed: Bench) -> None:
        assert undisturbed.run.read_plan().patch[2] <= 5
        (mask,) = undisturbed.run.path.glob("cells/dice_ce-fold*/predictions/phantom01.nii.gz")
        assert read_volume(mask).shape == (96, 96, 5)
        (row,) = [row for row in undisturbed.run.read_rows() if (row.method, row.case) == ("dice_ce", "phantom01")]
        assert 0 < row.metrics.reference_voxels < 96 * 96 * 5

    def test_no_process_asked_for_the_network(self, undisturbed: Bench) -> None:
        assert not (undisturbed.folder / "network").exists()

    def test_mlflow_has_one_run_a_cell_and_none_is_running(self, undisturbed: Bench) -> None:
        with sqlite3.connect(undisturbed.folder / "runs" / "mlflow.db") as database:
            states = [state for (state,) in database.execute("select status from runs")]
        assert states == ["FINISHED"] * 5  # four cells and their parent

    def test_the_same_command_again_redoes_nothing(self, undisturbed: Bench) -> None:
        before = {cell.path.name: cell.result.stat().st_mtime_ns for cell in undisturbed.run.cells()}
        code, _, err = undisturbed.finish()
        assert code == 0
        assert err.count("was finished before") == 4
        assert {cell.path.name: cell.result.stat().st_mtime_ns for cell in undisturbed.run.cells()} == before

    def test_other_settings_in_the_same_folder_are_refused(self, undisturbed: Bench) -> None:
        code, _, err = undisturbed.finish("--set", "training.max_epochs=5")
        assert code != 0
        assert "training.max_epochs: 3 then, 5 now" in " ".join(err.split())


def _press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """As a terminal does: for the whole group."""
    os.killpg(process.pid, signal.SIGINT)


class TestKilled:
    def test_a_killed_run_ends_with_the_same_bits(
        self, undisturbed: Bench, phantoms: Path, tiny_study: str, tmp_path: Path
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
        assert err.count("was finished before") == 2  # the two baselines
        assert "resumes after step" in (cell.path / "log.txt").read_text()
        for name in ("dice_ce-fold0", "dice_ce-fold1"):
            ours, theirs = bench.cell(name), undisturbed.cell(name)
            assert (ours.weights / "network.safetensors").read_bytes() == (
                theirs.weights / "network.safetensors"
            ).read_bytes()
        assert bench.run.read_rows() == undisturbed.run.read_rows()

    @pytest.mark.parametrize("ask", [_press_ctrl_c, subprocess.Popen.terminate], ids=["ctrl_c", "kill"])
    def test_an_interrupt_saves_and_says_how_to_go_on(
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
        assert "run the same command again" in " ".join(err.split())
        assert list(bench.cell("dice_ce-fold0").checkpoints.glob("step-*"))


class TestFailure:
    def test_a_failed_cell_stops_no_other_and_is_said_at_the_end(
        self, phantoms: Path, tiny_study: str, tmp_path: Path
    ) -> None:
        bench = Bench(tmp_path, phantoms, tiny_study.replace("learning_rate: 0.01", "learning_rate: 1.0e+30"))
        code, out, err = bench.finish()
        assert code == 5
        assert err.count("Failed:") == 2
        assert "nan_loss" in err
        assert "lower the learning rate" in " ".join(err.split())
        assert "threshold" in out


def _wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
