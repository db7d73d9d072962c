"""Tests of the preparation of a new run and of a run that was already started."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from minivess.data.splits import make_splits
from minivess.errors import ConfigError, DataError, PlanError, RunError
from minivess.experiments.config_file import make_config
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


class TestNewRun:
    def test_folds_have_number_and_seed_of_the_configuration(self, phantoms: Path, tmp_path: Path) -> None:
        splits = {seed: _prepared(phantoms, tmp_path, seed=seed, folds=4).splits for seed in (0, 1, 2)}
        for seed, found in splits.items():
            assert found == make_splits(_prepared(phantoms, tmp_path).profile.volumes, 4, seed)
        assert len({found.folds for found in splits.values()}) > 1

    def test_folds_that_came_with_the_data_are_used(self, phantoms: Path, tmp_path: Path) -> None:
        data = Path(shutil.copytree(phantoms, tmp_path / "data"))
        halves = ["phantom01", "phantom02"], ["phantom03", "phantom04"]
        folds = [{"train": train, "val": val} for train, val in (halves, halves[::-1])]
        (data / "splits_final.json").write_text(json.dumps(folds))
        splits = _prepared(data, tmp_path).splits
        assert splits.seed is None
        assert [list(fold.held_out) for fold in splits.folds] == [halves[1], halves[0]]

    def test_the_plan_has_the_settings_of_the_request(self, phantoms: Path, tmp_path: Path) -> None:
        plan = _prepared(phantoms, tmp_path, plan={"cache_rate": 0.4, "workers": 2}).plan
        assert (plan.cache_rate, plan.workers) == (0.4, 2)

    def test_a_limit_in_gib_is_the_memory_of_a_cell(self, phantoms: Path, tmp_path: Path) -> None:
        hardware = _prepared(phantoms, tmp_path, limits={"memory_limit_gib": 5}).hardware
        assert (hardware.usable_ram_bytes, hardware.ram_abort_bytes) == (5 * GIB, 5 * GIB)

    def test_the_plan_knows_the_options_of_every_loss(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class SeenError(Exception):
            pass

        def estimator(losses: dict[str, Any], peaks: object) -> None:
            raise SeenError(losses)

        monkeypatch.setattr("minivess.experiments.prepare.Estimator", estimator)
        options = {"warp": {"strength": 2.0}, "cbdice": {"iterations": 3}}
        with pytest.raises(SeenError) as caught:
            _prepared(phantoms, tmp_path, losses=["dice_ce", "warp"], loss_options=options)
        assert caught.value.args == ({"dice_ce": {}, "warp": {"strength": 2.0}},)


class TestStartedRun:
    def test_keeps_its_plan_and_its_folds(self, phantoms: Path, tmp_path: Path) -> None:
        first = _prepared(phantoms, tmp_path)
        drawn = (make_splits(first.profile.volumes, 2, seed) for seed in range(1, 20))
        other = next(splits for splits in drawn if splits.folds != first.splits.folds)
        _write_decisions(replace(first, splits=other, plan=first.plan.model_copy(update={"workers": 3})))
        again = _prepared(phantoms, tmp_path)
        assert (again.splits, again.plan.workers) == (other, 3)

    def test_a_plan_that_does_not_fit_the_machine_is_refused(self, phantoms: Path, tmp_path: Path) -> None:
        """Of 16 GiB, 12 are usable."""
        first = _prepared(phantoms, tmp_path)
        _write_decisions(replace(first, plan=first.plan.model_copy(update={"ram_bytes": 13 * GIB})))
        with pytest.raises(PlanError, match=r"13\.0 GiB"):
            _prepared(phantoms, tmp_path)

    @pytest.mark.parametrize(
        "change", [{"seed": 1}, {"folds": 3}, {"evaluation": {"tolerance_um": 3.0}}, {"training": {"max_epochs": 2}}]
    )
    def test_other_settings_are_refused(self, phantoms: Path, tmp_path: Path, change: dict[str, Any]) -> None:
        _write_decisions(_prepared(phantoms, tmp_path))
        with pytest.raises(ConfigError, match="--fresh"):
            _prepared(phantoms, tmp_path, **change)

    def test_other_voxels_are_refused(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = _prepared(phantoms, tmp_path)
        first, *others = prepared.profile.volumes
        before = first.model_copy(update={"digest": "other"})
        _write_decisions(replace(prepared, profile=prepared.profile.model_copy(update={"volumes": (before, *others)})))
        with pytest.raises(DataError, match="content hash"):
            _prepared(phantoms, tmp_path)

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
