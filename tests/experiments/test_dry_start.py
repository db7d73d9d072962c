"""Everything that a cell does, once."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from minivess.data.store import Store
from minivess.experiments.dry_start import dry_start
from minivess.experiments.folder import DryStartFolder, write_model
from minivess.experiments.spec import CellSpec, DryStartSpec
from minivess.models.registry import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest
from minivess.sizes import GIB
from minivess.step.config import TrainingConfig

LOSSES = """\
import gc
from minivess.losses.compound import dice_ce
from minivess.step.state import TrainState

alive = []

class Counting(type(dice_ce())):
    def forward(self, *arguments):
        alive.append(sum(type(thing) is TrainState for thing in gc.get_objects()))
        return super().forward(*arguments)

def first():
    return Counting(dice_ce().terms)

second = first
"""


class TestDryStart:
    def test_holds_the_weights_of_one_loss_at_a_time(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "counting_losses.py").write_text(LOSSES)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "examples")
        model = load_model_profile("example_custom", filters=(4, 8), options={})
        hardware, request = HardwareBudget.imagined(None, 8 * GIB), PlanRequest(patch_size=(16, 16, 4))
        cells = [
            CellSpec(
                method=f"counting_losses:{name}",
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
            for name in ("first", "second")
        ]
        folder = DryStartFolder(tmp_path)
        name = store.profile.volumes[0].name
        write_model(folder.spec, DryStartSpec(cells=tuple(cells), predicted=name, scored=name))
        assert list(dry_start(folder).step_seconds) == [cell.method for cell in cells]
        assert set(importlib.import_module("counting_losses").alive) == {1}
