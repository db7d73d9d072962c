"""Run folders from the real ``run``, with cells that are scored without training."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minivess.data.array_store import Store
from minivess.data.formats.nifti import write_volume
from minivess.evaluation.evaluate import evaluate_cases
from minivess.experiments.cell_selection import Job
from minivess.experiments.cell_spec import CellResult, CellSpec
from minivess.experiments.config_file import make_config
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.run import run
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.json_files import write_state
from minivess.planning.hardware import HardwareBudget
from minivess.supervision.limits import Limits
from minivess.supervision.outcome import Cause, Outcome, cure_for, status_of, write_outcome
from minivess.supervision.recorder import MonitorRow, append_row
from minivess.supervision.supervisor import SupervisorSpec
from minivess.text import GIB

SHAPE = (24, 20, 4)
SPACING_UM = (1.0, 1.0, 5.0)
START = "2026-01-02T03:04:00+00:00"
END = "2026-01-02T03:04:40+00:00"


def write_data(folder: Path, names: tuple[str, ...], unknown: tuple[int, ...] = ()) -> None:
    """Write volumes with one straight vessel each. The width of the vessel increases with the number of the case.

    The label is 255 in the slices ``unknown``.
    """
    rng = np.random.default_rng(0)
    for number, name in enumerate(names):
        label = np.zeros(SHAPE, np.uint8)
        label[3:20, 5 : 8 + number, 1:3] = 1
        image = (100 * label + rng.integers(0, 50, SHAPE)).astype(np.uint8)
        label[:, :, list(unknown)] = 255
        write_volume(folder / "raw" / f"{name}.nii.gz", image, spacing_um=SPACING_UM)
        write_volume(folder / "seg" / f"{name}_y.nii.gz", label, spacing_um=SPACING_UM)


def outcome(cause: Cause = Cause.FINISHED, message: str = "ended") -> Outcome:
    code = 0 if cause is Cause.FINISHED else 70
    cure = cure_for(cause)
    return Outcome(
        status_of(cause), cause, message, cure, code, None, 3 * GIB, 2 * GIB, GIB, 0, START, END, 40.0, ("swap grew",)
    )


def score(cell: CellFolder, spec: CellSpec) -> None:
    """Write the files of a finished cell. Its predictions are the labels without some slices, depending on method and fold."""
    cell.path.mkdir(parents=True, exist_ok=True)
    write_state(cell.spec, spec)
    limits = Limits(
        memory_limit_bytes=24 * GIB,
        gpu_warn_bytes=6 * GIB,
        gpu_limit_bytes=7 * GIB,
        rss_budget_bytes=16 * GIB,
        swap_growth_warn_bytes=0,
    )
    write_state(cell.path / "supervisor.json", SupervisorSpec(("train",), cell.path, limits))
    for at_s in (0.0, 20.0, 40.0):
        append_row(cell.monitor, MonitorRow(START, at_s, 2 * GIB, GIB // 2, GIB, GIB, 20 * GIB, 0, 0, GIB, 2, 99.0))
    lost = 2 + spec.fold + 3 * (spec.method == "threshold") + (spec.method != "dice_ce")
    if spec.method != "threshold":
        lines = [{"epoch": e, "step": 10 * e, "loss": 1 / e, "dsc": 0.1 * e, "case": spec.held_out[0]} for e in (1, 2)]
        cell.journal.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def predict(case: Any) -> np.ndarray:
        mask = np.minimum(case.label, 1)
        mask[: 3 + lost] = 0
        return mask

    rows = evaluate_cases(
        cell.path,
        Store(spec.store),
        spec.held_out,
        predict,
        method=spec.method,
        fold=spec.fold,
        repeat=spec.repeat,
        tolerance_um=2.0,
        progress=lambda done, total: None,
    )
    result = CellResult(
        method=spec.method,
        fold=spec.fold,
        repeat=spec.repeat,
        steps=20,
        seconds=40.0,
        note="averaged weights",
        micro_batch=spec.plan.micro_batch,
        rows=tuple(rows),
    )
    write_state(cell.result, result)


def make_run(
    folder: Path,
    names: tuple[str, ...] = ("a1", "a2", "a3", "a4", "a5"),
    losses: tuple[str, ...] = ("dice_ce", "cbdice"),
    causes: dict[str, Cause] | None = None,
    unknown: tuple[int, ...] = (),
    **settings: Any,
) -> RunFolder:
    """Make a run of two folds. The cells named in ``causes`` end with that cause; all others are scored."""
    write_data(folder / "data", names, unknown)
    config = {"name": "one", "data_dir": folder / "data", "output_dir": folder / "runs", "losses": losses, "folds": 2}
    evaluation = {"evaluation": {"resamples": 1000}, "dry_start": False}
    prepared = prepare(
        make_config(config | evaluation | settings, "a test"), HardwareBudget.imagined(8 * GIB, 32 * GIB), os.environ
    )

    def runner(
        jobs: Sequence[Job], prepared: Prepared, observer: Any, lock: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        for job in jobs:
            cause = (causes or {}).get(job.name, Cause.FINISHED)
            score(job.cell, job.spec)
            if cause is not Cause.FINISHED:
                job.cell.result.unlink()
            found = outcome(cause, "the step did not fit in memory\nTraceback")
            write_outcome(job.cell.path, found)
            yield job, found

    quiet = SimpleNamespace(
        on_volume_stored=lambda volume: None,
        on_cell_start=lambda name, number, total: None,
        on_progress=lambda name, stage, done, total: None,
        on_cell_end=lambda name, outcome: None,
    )
    run(prepared, quiet, runner)
    return prepared.folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of two losses and the baseline. Tests must not change it."""
    return make_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def new_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """``make_run`` in a new folder for this test."""
    return lambda **options: make_run(tmp_path / "new", **options)


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> Callable[[], RunFolder]:
    """Copy of ``finished`` that a test may change. The images are shared with the original."""
    return lambda: RunFolder(Path(shutil.copytree(finished.path, tmp_path / "copy")))
