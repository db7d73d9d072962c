"""Tests of the processes of a run: the spec of a supervisor, interrupts, and waits for memory."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import minivess.experiments.cell_process
from minivess.data.array_store import build_store
from minivess.data.profiler import VolumeStats
from minivess.errors import RunError
from minivess.experiments.cell_process import _smaller_retry, supervise, supervise_cell
from minivess.experiments.cell_selection import cell_specs
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.config_file import make_config
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import write_state
from minivess.machine.processes import PYTHON, torch_environment, worker_command
from minivess.planning.hardware import HardwareBudget
from minivess.supervision.outcome import Cause, Outcome, cure_for, read_outcome
from minivess.text import GIB

IGNORES_SIGTERM = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1], "heartbeat").write_text(json.dumps({"stage": "train", "done": 1, "total": 2}))
time.sleep(1.5)
"""
GPU = HardwareBudget.imagined(8 * GIB, 32 * GIB)


def prepared_for(hardware: HardwareBudget, data: Path, folder: Path, **more: Any) -> Prepared:
    values = {"name": "one", "data_dir": data, "output_dir": folder, "losses": ["dice_ce"], "folds": 2, **more}
    return prepare(
        make_config({**values, "model": {"name": "example_custom", "filters": [4, 8, 8]}}, "a test"),
        hardware,
        os.environ,
    )


@pytest.fixture
def modules_as_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``supervise`` run any Python module as its task. The module ``this`` prints text and exits with code 0."""

    def command(task: str, *arguments: str) -> list[str]:
        return worker_command(task, *arguments) if task == "supervisor" else [*PYTHON, "-m", task, *arguments]

    monkeypatch.setattr(minivess.experiments.cell_process, "worker_command", command)


@pytest.mark.usefixtures("modules_as_tasks")
class TestSupervise:
    def test_of_several_gpus_the_one_of_the_plan_is_used(self, phantoms: Path, tmp_path: Path) -> None:
        large = replace(GPU.gpus[0], uuid="GPU-large")
        small = replace(large, uuid="GPU-small", total_bytes=6 * GIB, free_bytes=6 * GIB)
        prepared = prepared_for(replace(GPU, gpus=(small, large)), phantoms, tmp_path)
        assert prepared.plan.device == "cuda"
        assert supervise(tmp_path, "this", prepared, lambda stage, done, total: None).status == "finished"
        spec = json.loads((tmp_path / "supervisor.json").read_text())
        assert spec["environment"]["CUDA_VISIBLE_DEVICES"] == "GPU-large"
        assert spec["environment"].items() >= torch_environment().items()
        assert not spec["limits"]["gpu_shared"]

    def test_cells_that_share_a_gpu_get_half_of_its_limit(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = prepared_for(GPU, phantoms, tmp_path, limits={"cells_at_a_time": 2})
        assert (len(prepared.slots), prepared.at_full_speed) == (2, 1)
        supervise(tmp_path, "this", prepared, lambda stage, done, total: None)
        limits = json.loads((tmp_path / "supervisor.json").read_text())["limits"]
        assert (limits["gpu_shared"], limits["gpu_limit_bytes"]) == (True, 7 * GIB // 2)

    def test_gpu_limit_replaces_the_size_of_the_gpu(self, phantoms: Path, tmp_path: Path) -> None:
        lab = replace(GPU, gpus=(replace(GPU.gpus[0], total_bytes=80 * GIB, free_bytes=80 * GIB),))
        prepared = prepared_for(lab, phantoms, tmp_path, limits={"gpu_limit_gib": 8})
        assert prepared.plan.profile_name == "auto_gpu_low_example_custom"
        supervise(tmp_path, "this", prepared, lambda stage, done, total: None)
        limits = json.loads((tmp_path / "supervisor.json").read_text())["limits"]
        gib = [limits[key] / GIB for key in ("gpu_warn_bytes", "gpu_limit_bytes", "gpu_crowded_bytes")]
        assert gib == [6, 7, 70]

    def test_missing_gpu_sets_no_gpu_limit(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = prepared_for(GPU, phantoms, tmp_path)
        gone = replace(prepared, slots=(replace(prepared.slots[0], hardware=replace(GPU, gpus=())),))
        supervise(tmp_path, "this", gone, lambda stage, done, total: None)
        limits = json.loads((tmp_path / "supervisor.json").read_text())["limits"]
        assert (limits["gpu_warn_bytes"], limits["gpu_limit_bytes"]) == (None, None)

    def test_interrupt_while_the_process_ends_by_itself_is_an_error(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "ignores_sigterm.py").write_text(IGNORES_SIGTERM)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
        prepared = prepared_for(HardwareBudget.imagined(None, 8 * GIB), phantoms, tmp_path)

        def interrupt(stage: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(RunError) as caught:
            supervise(tmp_path, "ignores_sigterm", prepared, interrupt)
        assert tmp_path.name in caught.value.got
        assert caught.value.cure == cure_for(Cause.INTERRUPTED)
        assert read_outcome(tmp_path).status == "finished"

    def test_file_in_the_working_folder_does_not_hide_a_library(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "psutil.py").write_text("raise SystemExit('not the library')")
        monkeypatch.chdir(tmp_path)
        prepared = prepared_for(HardwareBudget.imagined(None, 8 * GIB), phantoms, tmp_path)
        assert supervise(tmp_path, "this", prepared, lambda stage, done, total: None).status == "finished"


class _RecordingObserver:
    """An observer that keeps all messages and stages."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.stages: list[str] = []

    def on_message(self, text: str) -> None:
        self.messages.append(text)

    def on_volume_stored(self, volume: VolumeStats) -> None: ...

    def on_cell_start(self, name: str, number: int, total: int) -> None: ...

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        self.stages.append(stage)

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None: ...


class TestSuperviseCell:
    def test_waits_for_memory_of_other_programs_and_keeps_the_step(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(minivess.experiments.cell_process, "_MEMORY_WAIT_S", 1.0)
        prepared = prepared_for(HardwareBudget.imagined(None, 8 * GIB), phantoms, tmp_path)
        store = build_store(prepared.profile, tmp_path / "store")
        # A machine that must keep more memory available than this machine has.
        host = replace(prepared.hardware.host, ram_total_bytes=2**55, ram_available_bytes=2**56)
        short = replace(prepared, slots=(replace(prepared.slots[0], hardware=replace(prepared.hardware, host=host)),))
        cell, observer = CellFolder(tmp_path / "cell"), _RecordingObserver()
        outcome = supervise_cell(cell, cell_specs(prepared, store)[-1], short, observer, None)
        assert outcome is not None
        assert (outcome.status, outcome.cause) == ("failed", Cause.SYSTEM_MEMORY_LOW)
        assert observer.messages[0].startswith("cell: ")
        assert "wait for memory" in observer.stages
        assert not cell.retry.exists()


class TestSmallerRetry:
    """A training with four patches per forward pass, as its plan says."""

    SPEC = cast(CellSpec, SimpleNamespace(plan=SimpleNamespace(micro_batch=4)))

    def _outcome(self, cause: Cause) -> Outcome:
        return Outcome("failed", cause, "why", "", 71, None, 3, 2, None, 0, "", "", 5.0)

    def test_a_training_that_ran_out_of_memory_continues_with_half_as_many_patches(self, tmp_path: Path) -> None:
        cell, sizes = CellFolder(tmp_path), []
        for _ in range(2):
            retry = _smaller_retry(cell, self.SPEC, self._outcome(Cause.CUDA_OUT_OF_MEMORY))
            assert retry is not None
            write_state(cell.retry, retry)
            sizes.append((retry.micro_batch, len(retry.because)))
        assert sizes == [(2, 1), (1, 2)]
        assert _smaller_retry(cell, self.SPEC, self._outcome(Cause.CUDA_OUT_OF_MEMORY)) is None

    @pytest.mark.parametrize("cause", [Cause.SYSTEM_MEMORY_LOW, Cause.NAN_LOSS, Cause.FINISHED])
    def test_no_other_cause_makes_passes_smaller(self, tmp_path: Path, cause: Cause) -> None:
        assert _smaller_retry(CellFolder(tmp_path), self.SPEC, self._outcome(cause)) is None

    def test_a_trained_cell_is_not_trained_again(self, tmp_path: Path) -> None:
        cell = CellFolder(tmp_path)
        cell.weights.mkdir()
        for name in ("network.json", "network.safetensors"):
            (cell.weights / name).touch()
        assert _smaller_retry(cell, self.SPEC, self._outcome(Cause.CUDA_OUT_OF_MEMORY)) is None
