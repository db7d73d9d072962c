"""What is decided before a run touches the disk, and what of it stands when it is begun already."""

from __future__ import annotations

import os
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
CARD = HardwareBudget.imagined(8 * GIB, 32 * GIB)


def _prepared(data: Path, out: Path, hardware: HardwareBudget = CPU, **more: Any) -> Prepared:
    model = {"name": "example_custom", "filters": [4, 8, 8]}
    values = {"name": "one", "data_dir": data, "output_dir": out, "losses": ["dice_ce"], "folds": 2, "model": model}
    return prepare(make_config({**values, **more}, "a test"), hardware, os.environ)


def _decide(prepared: Prepared, *, begin: bool = True) -> None:
    """Write what a run writes before its first cell; all but the last of it without ``begin``."""
    folder = prepared.folder
    write_state(folder.profile, prepared.profile)
    write_state(folder.splits, prepared.splits)
    write_state(folder.plan, prepared.plan)
    if begin:
        folder.write_config(prepared.config)


def _busy(gib: int) -> HardwareBudget:
    """Two cards of 8 GiB of which so much is free."""
    card = replace(CARD.gpus[0], free_bytes=gib * GIB)
    return replace(CARD, gpus=(replace(card, uuid="GPU-a"), replace(card, uuid="GPU-b")))


class TestABegunRun:
    def test_stays_on_the_card_however_busy_that_is_now(self, phantoms: Path, tmp_path: Path) -> None:
        _decide(_prepared(phantoms, tmp_path, CARD))
        again = _prepared(phantoms, tmp_path, _busy(4))
        assert (again.plan.device, again.hardware.tier) == ("cuda", "cpu")
        assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in again.slots] == ["GPU-a", "GPU-b"]

    def test_stays_on_the_processors_whatever_cards_are_there_now(self, phantoms: Path, tmp_path: Path) -> None:
        _decide(_prepared(phantoms, tmp_path))
        assert [slot.environment for slot in _prepared(phantoms, tmp_path, _busy(8)).slots] == [{}]

    def test_decisions_without_a_configuration_are_no_decisions(self, phantoms: Path, tmp_path: Path) -> None:
        _decide(_prepared(phantoms, tmp_path), begin=False)  # as after a kill between the two
        wider = _prepared(phantoms, tmp_path, model={"name": "example_custom", "filters": [8, 16, 16]}, folds=3)
        assert wider.plan.network.filters == (8, 16, 16)
        assert len(wider.splits.folds) == 3

    def test_goes_on_with_no_volumes_that_are_normalised_otherwise(self, phantoms: Path, tmp_path: Path) -> None:
        prepared = _prepared(phantoms, tmp_path)
        first, *others = prepared.profile.volumes
        before = first.model_copy(update={"intensity_mean": 1.01 * (first.intensity_mean or 0)})
        _decide(replace(prepared, profile=prepared.profile.model_copy(update={"volumes": (before, *others)})))
        with pytest.raises(DataError, match=r"normalised as when.*--fresh"):
            _prepared(phantoms, tmp_path)


class TestWhatCameBetween:
    """Two commands prepare the same run, and the second gets the folder when the first is through with it."""

    def test_other_settings_are_refused(self, phantoms: Path, tmp_path: Path) -> None:
        late = _prepared(phantoms, tmp_path)
        _decide(_prepared(phantoms, tmp_path, seed=1))
        with pytest.raises(ConfigError, match="seed: 1 then, 0 now"):
            run(late, cast(Any, None), cast(Any, None))
        assert late.folder.read_config().seed == 1

    def test_another_plan_is_refused(self, phantoms: Path, tmp_path: Path) -> None:
        late = _prepared(phantoms, tmp_path)
        smaller = late.plan.model_copy(update={"micro_batch": 1})
        _decide(replace(late, plan=smaller))
        with pytest.raises(RunError, match="changed by another process meanwhile"):
            run(late, cast(Any, None), cast(Any, None))
        assert late.folder.read_plan() == smaller


def test_the_data_set_is_found_from_anywhere(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(phantoms.parent)
    prepared = _prepared(Path(phantoms.name), tmp_path)
    assert all(Path(volume.image).is_absolute() for volume in prepared.profile.volumes)
