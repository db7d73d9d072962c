"""Tests of the dry start of a loss that is added to a started run, in one real process and without cells."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from minivess.data.array_store import build_store
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.data.splits import make_splits
from minivess.errors import RunError
from minivess.experiments.cell_process import RunObserver
from minivess.experiments.cell_selection import Job, cell_specs
from minivess.experiments.cell_spec import DryStartResult
from minivess.experiments.config_file import make_config
from minivess.experiments.dry_start import _summary, _with_step_times
from minivess.experiments.prepare import Prepared, store_root
from minivess.experiments.run import run
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import read_state, write_state
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.cell_slots import cell_slots
from minivess.planning.hardware import detect_hardware
from minivess.planning.memory.peak import CONTEXT_BYTES
from minivess.planning.plan import PlanRequest
from minivess.planning.preflight import run_preflight
from minivess.supervision.outcome import Cause, Outcome
from minivess.text import GIB

KNOWN = DryStartResult(
    step_seconds={"dice_ce": 7.0}, device_bytes=None, checkpoint_bytes=1, checkpoint_seconds=0, scoring_seconds=0
)


class _Silent:
    def on_message(self, text: str) -> None: ...

    def on_volume_stored(self, volume: VolumeStats) -> None: ...

    def on_cell_start(self, name: str, number: int, total: int) -> None: ...

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None: ...

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None: ...


class _Runner:
    """Record the names of the jobs and run none of them."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(
        self, jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, lock: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        self.names = [job.name for job in jobs]
        yield from ()


@pytest.fixture
def started(phantoms: Path, profile: DatasetProfile, tmp_path: Path) -> Prepared:
    """A run with a finished dry start of dice_ce and with one started cell."""
    values = {
        "name": "started",
        "data_dir": phantoms,
        "output_dir": tmp_path,
        "losses": ["dice_ce"],
        "folds": 2,
        "evaluation": {"baselines": []},
    }
    config, hardware, folder = make_config(values, "a test"), detect_hardware(), RunFolder(tmp_path / "started")
    model = load_model_profile("example_custom", filters=(4, 8), options={})
    plan = compute_adaptive_profile(hardware, profile, model, PlanRequest(compute="cpu", patch_size=(16, 16, 4)))
    prepared = Prepared(
        config=config,
        folder=folder,
        slots=cell_slots(hardware, "cpu"),
        scanned=profile,
        profile=profile,
        splits=make_splits(profile.volumes, 2, 0),
        plan=plan.model_copy(update={"step_seconds": KNOWN.step_seconds}),
        preflight=run_preflight(hardware, phantoms, folder.path, environ=os.environ),
    )
    spec = cell_specs(prepared, build_store(profile, store_root(config)))[0]
    for path in (folder.dry_start.path, folder.cell("dice_ce", 0).path):
        path.mkdir(parents=True)
    write_state(folder.dry_start.result, KNOWN)
    write_state(folder.cell("dice_ce", 0).spec, spec)
    return prepared


def _with(prepared: Prepared, *losses: str) -> Prepared:
    return replace(prepared, config=prepared.config.model_copy(update={"losses": losses}))


class TestAddedLoss:
    def test_is_tried_alone_and_keeps_the_existing_cells(self, started: Prepared) -> None:
        runner, folder = _Runner(), started.folder
        run(_with(started, "dice_ce", "my_loss:tversky"), _Silent(), runner)
        (tried,) = json.loads(folder.dry_start.spec.read_text())["cells"]
        assert tried["method"] == "my_loss:tversky"
        seconds = read_state(folder.dry_start.result, DryStartResult, "").step_seconds
        assert (list(seconds), seconds["dice_ce"]) == (["dice_ce", "my_loss:tversky"], 7.0)
        assert folder.read_plan().step_seconds == seconds
        assert runner.names == [f"{loss}-fold{fold}" for loss in seconds for fold in (0, 1)]

    def test_broken_loss_is_found_before_its_first_cell(self, started: Prepared) -> None:
        runner = _Runner()
        with pytest.raises(RunError, match="my_loss:no_such"):
            run(_with(started, "dice_ce", "my_loss:no_such"), _Silent(), runner)
        assert runner.names == []
        assert read_state(started.folder.dry_start.result, DryStartResult, "") == KNOWN


class TestAttempt:
    def test_predicts_the_volume_that_needs_the_most_memory(self, started: Prepared) -> None:
        """phantom04 is the widest volume, but is only 8 slices deep."""
        network = started.plan.network.model_copy(update={"patches": ((32, 32, 4), (16, 16, 16))})
        deep = replace(started, plan=started.plan.model_copy(update={"network": network}))
        write_state(started.folder.plan, deep.plan)
        with pytest.raises(RunError, match="no_such"):
            run(_with(deep, "dice_ce", "my_loss:no_such"), _Silent(), _Runner())
        assert json.loads(started.folder.dry_start.spec.read_text())["predicted"] == "phantom03"


class TestSummary:
    def test_measured_and_predicted_gpu_memory_count_the_same_parts(self, started: Prepared) -> None:
        """Values of an H200 in the study of six losses. Neither number includes the CUDA context."""
        result = KNOWN.model_copy(update={"device_bytes": 572_522_496})
        plan = _with_step_times(started.plan.model_copy(update={"peak_bytes": 572_522_496 + CONTEXT_BYTES}), result)
        outcome = Outcome("finished", Cause.FINISHED, "", "", 0, None, GIB, GIB, GIB, 0, "", "", 1.0)
        text = _summary(replace(started, plan=plan), result, outcome)
        assert "1.0 GiB of memory" in text
        assert text.count("0.5 GiB") == 2
