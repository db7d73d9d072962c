"""Tests of the preparation of a new run and of a run that was already started."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from minivess.errors import ConfigError, DataError, RunError
from minivess.experiments.config import make_config
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.run import run
from minivess.json_files import write_state
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB

CPU = HardwareBudget.imagined(None, 16 * GIB)
GPU = HardwareBudget.imagined(8 * GIB, 32 * GIB)


def _prepared(data: Path, out: Path, hardware: HardwareBudget = CPU, **more: Any) -> Prepared:
    model = {"name": "example_custom", "filters": [4, 8, 8]}
    values = {"name": "one", "data_dir": data, "output_dir": out, "losses": ["dice_ce"], "folds": 2, "model": model}
    return prepare(make_config({**values, **more}, "a test"), hardware, os.environ)


def _write_decisions(prepared: Prepared, *, with_config: bool = True) -> None:
    """Write what a run writes before its first cell; leave out config.yaml, the last file, without ``with_config``."""
    folder = prepared.folder
    write_state(folder.profile, prepared.profile)
    write_state(folder.splits, prepared.splits)
    write_state(folder.plan, prepared.plan)
    if with_config:
        folder.write_config(prepared.config)


def _busy(gib: int) -> HardwareBudget:
    """Two GPUs of 8 GiB with ``gib`` GiB free."""
    gpu = replace(GPU.gpus[0], free_bytes=gib * GIB)
    return replace(GPU, gpus=(replace(gpu, uuid="GPU-a"), replace(gpu, uuid="GPU-b")))


class TestStartedRun:
    def test_stays_on_the_gpu_even_if_it_is_busy_now(self, phantoms: Path, tmp_path: Path) -> None:
        _write_decisions(_prepared(phantoms, tmp_path, GPU))
        again = _prepared(phantoms, tmp_path, _busy(4))
        assert (again.plan.device, again.hardware.tier) == ("cuda", "cpu")
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in again.slots] == ["GPU-a", "GPU-b"]

    def test_stays_on_the_cpu_even_if_there_are_gpus_now(self, phantoms: Path, tmp_path: Path) -> None:
        _write_decisions(_prepared(phantoms, tmp_path))
        slots = _prepared(phantoms, tmp_path, _busy(8)).slots
        assert all("CUDA_VISIBLE_DEVICES" not in slot.environment for slot in slots)

    def test_decisions_without_a_saved_configuration_are_ignored(self, phantoms: Path, tmp_path: Path) -> None:
        _write_decisions(_prepared(phantoms, tmp_path), with_config=False)  # as after a kill between the two
        wider = _prepared(phantoms, tmp_path, model={"name": "example_custom", "filters": [8, 16, 16]}, folds=3)
        assert wider.plan.network.filters == (8, 16, 16)
        assert len(wider.splits.folds) == 3

    def test_volumes_that_are_normalised_in_another_way_are_refused(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = _prepared(phantoms, tmp_path)
        first, *others = prepared.profile.volumes
        before = first.model_copy(update={"intensity_mean": 1.01 * (first.intensity_mean or 0)})
        _write_decisions(replace(prepared, profile=prepared.profile.model_copy(update={"volumes": (before, *others)})))
        with pytest.raises(DataError, match=r"normalised.*--fresh"):
            _prepared(phantoms, tmp_path)


class TestConcurrentStart:
    """Two commands prepare the same run, and the second locks the folder after the first has finished with it."""

    def test_other_settings_are_refused(self, phantoms: Path, tmp_path: Path) -> None:
        late = _prepared(phantoms, tmp_path)
        _write_decisions(_prepared(phantoms, tmp_path, seed=1))
        with pytest.raises(ConfigError, match="seed: 1 then, 0 now"):
            run(late, cast(Any, None), cast(Any, None))
        assert late.folder.read_config().seed == 1

    def test_another_plan_is_refused(self, phantoms: Path, tmp_path: Path) -> None:
        late = _prepared(phantoms, tmp_path)
        smaller = late.plan.model_copy(update={"micro_batch": 1})
        _write_decisions(replace(late, plan=smaller))
        with pytest.raises(RunError, match=re.escape(str(late.folder.path))):
            run(late, cast(Any, None), cast(Any, None))
        assert late.folder.read_plan() == smaller


def test_data_set_is_found_from_any_working_folder(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(phantoms.parent)
    prepared = _prepared(Path(phantoms.name), tmp_path)
    assert all(Path(volume.image).is_absolute() for volume in prepared.profile.volumes)
