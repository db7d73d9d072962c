"""A cell that a race pauses: it scores its held-out cases on the way and trains bit for bit as without a race."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minivess.data.array_store import Store
from minivess.digests import digest_of_file
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import write_state
from minivess.models.model_profile import WEIGHTS_FILE, load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest
from minivess.text import GIB
from minivess.training.callbacks import Checkpoints
from minivess.training.config import TrainingConfig
from minivess.worker import cell_worker
from minivess.worker.cell_worker import run_cell
from minivess.worker.exit_status import PausedError


@pytest.fixture(scope="module")
def spec(store: Store, examples: Path) -> Iterator[CellSpec]:
    """Ten steps in two epochs; a race scores after steps 3 and 6, in the middle of an epoch and of the next."""
    model = load_model_profile("example_custom", filters=(4, 8))
    request = PlanRequest(patch_size=(16, 16, 4), batch=2, workers=0)
    made = CellSpec(
        method="dice_ce",
        fold=0,
        train=("phantom02", "phantom03"),
        held_out=("phantom01", "phantom04"),
        store=store.folder,
        plan=compute_adaptive_profile(HardwareBudget.imagined(None, 8 * GIB), store.profile, model, request),
        training=TrainingConfig(max_epochs=2, steps_per_epoch=5, learning_rate=0.01, ema_decay=0.5, validate_every=1),
        tolerance_um=2.0,
        loss_options={},
        seed=3,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(examples)
        yield made


def _cell(path: Path, spec: CellSpec, **changes: Any) -> CellFolder:
    cell = CellFolder(path)
    write_state(cell.spec, spec.model_copy(update=changes))
    return cell


def _pause(cell: CellFolder, step: int) -> None:
    write_state(cell.pause, {"step": step})
    with pytest.raises(PausedError):
        run_cell(cell)


def _trained(cell: CellFolder) -> tuple[Any, ...]:
    """What a training gives, without times."""
    lines = [{key: line[key] for key in ("step", "loss", "dsc")} for line in cell.read_journal()]
    return digest_of_file(cell.weights / WEIGHTS_FILE), cell.read_result().rows, lines


@pytest.fixture(scope="module")
def plain(spec: CellSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    cell = _cell(tmp_path_factory.mktemp("plain"), spec)
    run_cell(cell)
    return _trained(cell)


class TestRaceCell:
    def test_a_paused_cell_trains_as_without_a_race(
        self, spec: CellSpec, plain: tuple[Any, ...], tmp_path: Path
    ) -> None:
        cell = _cell(tmp_path, spec, scored_at=(3, 6))
        for step in (3, 6):
            _pause(cell, step)
            assert not cell.finished
            assert not cell.trained
        cell.pause.unlink()
        run_cell(cell)
        assert _trained(cell) == plain

    def test_without_a_pause_it_scores_at_each_step_on_the_way(
        self, spec: CellSpec, plain: tuple[Any, ...], tmp_path: Path
    ) -> None:
        cell, paused = _cell(tmp_path / "a", spec, scored_at=(3, 6)), _cell(tmp_path / "b", spec, scored_at=(3, 6))
        run_cell(cell)
        assert _trained(cell) == plain
        _pause(paused, 3)
        assert cell.rows_at(3) == paused.rows_at(3)
        assert (paused.rows_at(6), cell.rows_at(6) == cell.rows_at(3)) == (None, False)
        assert [row.case for row in cell.rows_at(3) or ()] == list(spec.held_out)
        assert not list(cell.path.rglob("race/*/predictions"))

    def test_the_scores_are_those_of_the_averaged_weights_at_the_step(self, spec: CellSpec, tmp_path: Path) -> None:
        """A training of the same schedule that ends at step 5 of 10 has these weights after its last step."""
        cell = _cell(tmp_path, spec, scored_at=(5,))
        seen = []

        def save(self: Checkpoints, state: Any) -> None:
            case = Store(spec.store).case("phantom01")
            mask = cell_worker.predictor(state.average, spec.plan, lambda *_: None)(case)
            seen.append((state.step, int(mask.sum())))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkpoints, "save", save)
            _pause(cell, 5)
        (row,) = (row for row in cell.rows_at(5) or () if row.case == "phantom01")
        assert dict(seen)[5] == row.metrics.foreground_voxels

    def test_killed_while_it_scores_it_goes_on_with_the_next_case(
        self, spec: CellSpec, plain: tuple[Any, ...], tmp_path: Path
    ) -> None:
        cell = _cell(tmp_path, spec, scored_at=(3, 6))
        _pause(cell, 3)
        scores = cell.race(3) / "scores.json"
        before = json.loads(scores.read_text())["rows"]
        scores.unlink()
        (cell.race(3) / "cases" / "phantom04.json").unlink()
        kept = (cell.race(3) / "cases" / "phantom01.json").stat().st_mtime_ns
        _pause(cell, 3)
        assert json.loads(scores.read_text())["rows"] == before
        assert (cell.race(3) / "cases" / "phantom01.json").stat().st_mtime_ns == kept
        cell.pause.unlink()
        run_cell(cell)
        assert _trained(cell) == plain
