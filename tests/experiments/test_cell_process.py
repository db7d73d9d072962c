"""What a supervisor is told."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import minivess.experiments.cell_process
from minivess.data.array_store import build_store
from minivess.data.profiler import VolumeStats
from minivess.errors import RunError
from minivess.experiments.cell_process import supervise, supervise_cell
from minivess.experiments.cell_selection import cell_specs
from minivess.experiments.config import make_config
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.run_folder import CellFolder
from minivess.machine.processes import torch_environment
from minivess.planning.hardware import HardwareBudget
from minivess.supervision.outcome import Cause, Outcome, read_outcome
from minivess.text import GIB

DEAF = """
import json, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1], "heartbeat").write_text(json.dumps({"stage": "train", "done": 1, "total": 2}))
time.sleep(1.5)
"""
CARD = HardwareBudget.imagined(8 * GIB, 32 * GIB)


def prepared_for(hardware: HardwareBudget, data: Path, folder: Path, **more: Any) -> Prepared:
    values = {"name": "one", "data_dir": data, "output_dir": folder, "losses": ["dice_ce"], "folds": 2, **more}
    return prepare(
        make_config({**values, "model": {"name": "example_custom", "filters": [4, 8, 8]}}, "a test"),
        hardware,
        os.environ,
    )


class TestSupervise:
    def test_of_several_cards_the_one_that_was_planned_for(self, phantoms: Path, tmp_path: Path) -> None:
        large = replace(CARD.gpus[0], uuid="GPU-large")
        small = replace(large, uuid="GPU-small", total_bytes=6 * GIB, free_bytes=6 * GIB)
        prepared = prepared_for(replace(CARD, gpus=(small, large)), phantoms, tmp_path)
        assert prepared.plan.device == "cuda"
        assert supervise(tmp_path, "this", prepared, lambda stage, done, total: None).status == "finished"
        told = json.loads((tmp_path / "supervisor.json").read_text())
        assert told["environment"]["CUDA_VISIBLE_DEVICES"] == "GPU-large"
        assert told["environment"].items() >= torch_environment().items()
        assert not told["limits"]["gpu_shared"]

    def test_cells_that_share_a_card_are_told(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = prepared_for(CARD, phantoms, tmp_path, limits={"cells_at_a_time": 2})
        assert (len(prepared.slots), prepared.at_full_speed) == (2, 1)
        supervise(tmp_path, "this", prepared, lambda stage, done, total: None)
        limits = json.loads((tmp_path / "supervisor.json").read_text())["limits"]
        assert (limits["gpu_shared"], limits["gpu_limit_bytes"]) == (True, 7 * GIB // 2)

    def test_a_card_counts_as_large_as_its_limit(self, phantoms: Path, tmp_path: Path) -> None:
        lab = replace(CARD, gpus=(replace(CARD.gpus[0], total_bytes=80 * GIB, free_bytes=80 * GIB),))
        prepared = prepared_for(lab, phantoms, tmp_path, limits={"gpu_limit_gib": 8})
        assert prepared.plan.profile_name == "auto_gpu_low_example_custom"
        supervise(tmp_path, "this", prepared, lambda stage, done, total: None)
        limits = json.loads((tmp_path / "supervisor.json").read_text())["limits"]
        gib = [limits[key] / GIB for key in ("gpu_warn_bytes", "gpu_limit_bytes", "gpu_crowded_bytes")]
        assert gib == [6, 7, 70]

    def test_a_card_that_is_no_longer_seen_is_no_limit_of_zero(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = prepared_for(CARD, phantoms, tmp_path)
        gone = replace(prepared, slots=(replace(prepared.slots[0], hardware=replace(CARD, gpus=())),))
        supervise(tmp_path, "this", gone, lambda stage, done, total: None)
        limits = json.loads((tmp_path / "supervisor.json").read_text())["limits"]
        assert (limits["gpu_warn_bytes"], limits["gpu_limit_bytes"]) == (None, None)

    def test_an_interrupt_as_the_process_ends_by_itself_is_not_lost(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "deaf.py").write_text(DEAF)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ['PYTHONPATH']}")
        prepared = prepared_for(HardwareBudget.imagined(None, 8 * GIB), phantoms, tmp_path)

        def interrupt(stage: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(RunError, match=r"a run to its end.*interrupted.*same command again"):
            supervise(tmp_path, "deaf", prepared, interrupt)
        assert read_outcome(tmp_path).status == "finished"

    def test_files_of_the_working_folder_stand_in_for_no_library(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "psutil.py").write_text("raise SystemExit('not the library')")
        monkeypatch.chdir(tmp_path)
        prepared = prepared_for(HardwareBudget.imagined(None, 8 * GIB), phantoms, tmp_path)
        assert supervise(tmp_path, "this", prepared, lambda stage, done, total: None).status == "finished"


class Ear:
    """A observer that remembers."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.stages: list[str] = []

    def on_message(self, text: str) -> None:
        self.said.append(text)

    def on_volume_stored(self, volume: VolumeStats) -> None: ...

    def on_cell_start(self, name: str, number: int, total: int) -> None: ...

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        self.stages.append(stage)

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None: ...


class TestSuperviseCell:
    def test_waits_for_memory_that_others_took_and_changes_no_step(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(minivess.experiments.cell_process, "_PATIENCE_S", 1.0)
        prepared = prepared_for(HardwareBudget.imagined(None, 8 * GIB), phantoms, tmp_path)
        store = build_store(prepared.profile, tmp_path / "store")
        # A machine of which what is available here is less than it must keep.
        host = replace(prepared.hardware.host, ram_total_bytes=2**55, ram_available_bytes=2**56)
        short = replace(prepared, slots=(replace(prepared.slots[0], hardware=replace(prepared.hardware, host=host)),))
        cell, observer = CellFolder(tmp_path / "cell"), Ear()
        outcome = supervise_cell(cell, cell_specs(prepared, store)[-1], short, observer, None)
        assert outcome is not None
        assert (outcome.status, outcome.cause) == ("failed", Cause.SYSTEM_MEMORY_LOW)
        assert "close other programs and run the same command again" in outcome.cure
        assert "waits until other programs give it back" in observer.said[0]
        assert "wait for memory" in observer.stages
        assert not cell.retry.exists()
