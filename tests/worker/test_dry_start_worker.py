"""Tests of the worker of the dry start."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from minivess.data.array_store import Store, build_store
from minivess.errors import ConfigError
from minivess.experiments.cell_spec import CellSpec, DryStartSpec
from minivess.experiments.run_folder import CellFolder, DryStartFolder
from minivess.json_files import write_state
from minivess.losses.warping import critical_points
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest
from minivess.text import GIB
from minivess.training.config import TrainingConfig
from minivess.training.step import NanLossError
from minivess.trusted_code import TRUST_VARIABLE
from minivess.worker.cell_worker import run_cell
from minivess.worker.dry_start_worker import dry_start

LOSSES = """\
import gc
from minivess.losses.compound import dice_ce
from minivess.training.state import TrainState

alive = []

class Counting(type(dice_ce())):
    def forward(self, *arguments):
        alive.append(sum(type(thing) is TrainState for thing in gc.get_objects()))
        return super().forward(*arguments)

def first():
    return Counting(dice_ce().terms)

second = first
"""

MARKED = """\
from minivess.losses.compound import CompoundLoss, dice_ce

seen = []

class Everything:
    name = "everything"

    def __call__(self, label):
        return label

class Watching(CompoundLoss):
    def forward(self, logits, label, mask=None):
        seen.append(set(label.unique().tolist()))
        return super().forward(logits, label, mask)

def marked():
    return Watching(dice_ce().terms, Everything())
"""

LATE_FAULT = """\
from minivess.losses.compound import dice_ce
from minivess.losses.foreground import foreground
from minivess.losses.region import soft_dice
from minivess.json_files import write_state

class Late(type(dice_ce())):
    def forward(self, *arguments):
        if soft_dice(foreground(*arguments)) < 0.2:
            raise ImportError("late fault")
        return super().forward(*arguments)

def late():
    return Late(dice_ce().terms)
"""

WITHOUT_MASK = """\
from minivess.losses.compound import dice_ce

class WithoutMask(type(dice_ce())):
    def forward(self, logits, label, mask=None):
        return super().forward(logits, label)

def build():
    return WithoutMask(dice_ce().terms)
"""

LATE_NAN = LATE_FAULT.replace('raise ImportError("late fault")', "return arguments[0].sum() * float('nan')")
LATE_WORK = LATE_FAULT.replace('raise ImportError("late fault")', "__import__('time').sleep(0.5)")


def spec_of(store: Store, *methods: str) -> DryStartSpec:
    model = load_model_profile("example_custom", filters=(4, 8), options={})
    hardware, request = HardwareBudget.imagined(None, 8 * GIB), PlanRequest(patch_size=(16, 16, 4))
    cells = [
        CellSpec(
            method=method,
            fold=0,
            train=(),
            held_out=(),
            store=store.folder,
            plan=compute_adaptive_profile(hardware, store.profile, model, request),
            training=TrainingConfig(),
            tolerance_um=2.0,
            loss_options={},
            seed=1,
        )
        for method in methods
    ]
    name = store.profile.volumes[0].name
    return DryStartSpec(cells=tuple(cells), predicted=name, scored=name)


def folder_of(path: Path, spec: DryStartSpec) -> DryStartFolder:
    """Return a dry start folder with ``spec`` in it."""
    folder = DryStartFolder(path)
    write_state(folder.spec, spec)
    return folder


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make losses in the folder of the test and the example network importable."""
    monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "examples")


class TestDryStart:
    def test_only_one_training_state_exists_at_a_time(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "counting_losses.py").write_text(LOSSES)
        methods = ("counting_losses:first", "counting_losses:second")
        folder = folder_of(tmp_path, spec_of(store, *methods))
        assert tuple(dry_start(folder).step_seconds) == methods
        assert set(importlib.import_module("counting_losses").alive) == {1}

    def test_loss_sees_the_marks_that_it_wants_in_the_labels(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "marked_labels.py").write_text(MARKED)
        dry_start(folder_of(tmp_path, spec_of(store, "marked_labels:marked")))
        seen = importlib.import_module("marked_labels").seen
        assert len(seen) > 2  # the steps, and the loss alone on right and wrong logits
        assert {0, 2} in seen
        assert all(values <= {0, 2} for values in seen)

    def test_error_of_a_loss_on_good_predictions_is_raised(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "late_fault.py").write_text(LATE_FAULT)
        folder = folder_of(tmp_path, spec_of(store, "late_fault:late"))
        with pytest.raises(ImportError, match="late fault"):
            dry_start(folder)

    def test_loss_that_is_nan_on_good_predictions_is_named(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "late_nan.py").write_text(LATE_NAN)
        with pytest.raises(NanLossError, match=r"late_nan:late.*nan"):
            dry_start(folder_of(tmp_path, spec_of(store, "dice_ce", "late_nan:late")))

    def test_time_of_a_loss_on_good_predictions_is_counted(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "late_work.py").write_text(LATE_WORK)
        assert dry_start(folder_of(tmp_path, spec_of(store, "late_work:late"))).step_seconds["late_work:late"] > 0.5

    def test_loss_that_ignores_the_mask_is_refused_if_voxels_can_be_unknown(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "without_mask.py").write_text(WITHOUT_MASK)
        sparse = build_store(store.profile.model_copy(update={"ignore_value": 255}), tmp_path / "store")
        dry_start(folder_of(tmp_path / "plain", spec_of(store, "without_mask:build")))
        spec = spec_of(sparse, "without_mask:build")
        with pytest.raises(ConfigError, match="without_mask:build"):
            dry_start(folder_of(tmp_path / "sparse", spec))
        cell = CellFolder(tmp_path / "cell")
        write_state(cell.spec, spec.cells[0])
        with pytest.raises(ConfigError, match="without_mask:build"):  # also without a dry start
            run_cell(cell)

    def test_warp_loss_finds_critical_points(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = []

        def watched(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
            found.append((label.any(), (prediction != label).mean(), critical_points(prediction, label)))
            return found[-1][-1]

        monkeypatch.setattr("minivess.losses.warping.critical_points", watched)
        spec = spec_of(store, "warp")
        dry_start(folder_of(tmp_path, spec))
        assert len(found) == 2 * spec.cells[0].plan.micro_batch
        for vessel, wrong, critical in found:
            assert vessel
            assert 0 < wrong < 0.1
            assert critical.any()
