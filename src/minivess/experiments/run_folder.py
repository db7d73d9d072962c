"""The run folder: the files that a run writes, and how to read them.

config.yaml profile.json splits.json plan.json preflight.json environment.json
dry_start/          spec.json supervisor.json log.txt heartbeat monitor.csv outcome.json result.json
cells/LOSS-foldK/   cell.json supervisor.json environment.json log.txt metrics.jsonl heartbeat monitor.csv checkpoints/ weights/
                    race/step-N/ of a race, predictions/ cases/ outcome.json result.json, retry.json after it ran out of memory,
                    and environment-2.json and so on of later attempts
race.json           what a race has decided
model/              the ensemble of the best loss: ensemble.json, and the weights of each network
external/NAME/      record.json, and masks and scores of a method that was trained elsewhere (experiments.external_method)
test/LOSS-foldK/     spec.json supervisor.json log.txt heartbeat monitor.csv predictions/ cases/ outcome.json result.json:
                    the test set, as the registered network segments it
results/            test.csv test.json cases.csv comparison.json comparison.md comparison.tex comparison.csv figures/
report.html

The folder of a cell is LOSS-foldK-repeatR from the second repeat on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.atomic import write_text
from minivess.data.dataset_profile import DatasetProfile
from minivess.data.splits import Splits
from minivess.digests import seal
from minivess.errors import RunError
from minivess.evaluation.evaluate import PREDICTIONS_FOLDER, SCORES_FOLDER, CaseRow
from minivess.experiments.cell_key import CellKey
from minivess.experiments.cell_spec import CellResult, CellSpec, Pause, RaceScores, Retry
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.config_file import as_yaml
from minivess.experiments.external_method import ExternalFolder, ExternalRecord
from minivess.experiments.race_record import RaceRecord
from minivess.json_files import from_line, is_cut, read_state
from minivess.models.model_profile import SPEC_FILE, WEIGHTS_FILE
from minivess.planning.plan import TrainingPlan
from minivess.planning.preflight import PreflightResult
from minivess.supervision.recorder import MONITOR_FILE
from minivess.supervision.supervisor import LOG_FILE
from minivess.tracking.code import Code

_START_AGAIN = "restore it, or start the run again (--fresh)"
_REBUILT = "delete it; the same command then writes it again"


@dataclass(frozen=True)
class CellFolder:
    """Files of one cell."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "cell.json"

    @property
    def journal(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def monitor(self) -> Path:
        return self.path / MONITOR_FILE

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    @property
    def predictions(self) -> Path:
        return self.path / PREDICTIONS_FOLDER

    @property
    def scores(self) -> Path:
        return self.path / SCORES_FOLDER

    @property
    def log(self) -> Path:
        return self.path / LOG_FILE

    @property
    def retry(self) -> Path:
        return self.path / "retry.json"

    @property
    def pause(self) -> Path:
        """Names the step at which a race pauses the cell; without this file, it trains to its end."""
        return self.path / "pause.json"

    def race(self, step: int) -> Path:
        """Folder of the scores at a step."""
        return self.path / "race" / f"step-{step}"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def finished(self) -> bool:
        """Whether the cell is finished: its result, which is written last, exists."""
        return self.result.is_file()

    @property
    def trained(self) -> bool:
        """Whether the weights are final. Prediction and scoring may still be missing."""
        return all((self.weights / name).is_file() for name in (WEIGHTS_FILE, SPEC_FILE))

    @property
    def environments(self) -> list[Path]:
        """The record of each attempt, oldest first: environment.json, environment-2.json and so on."""
        later = sorted(self.path.glob("environment-*.json"), key=lambda path: (len(path.name), path.name))
        first = self.path / "environment.json"
        return [first, *later] if first.is_file() else later

    @property
    def environment(self) -> Path:
        """The record of the newest attempt."""
        return next(reversed(self.environments), self.path / "environment.json")

    @property
    def next_environment(self) -> Path:
        """The record that the next attempt will write."""
        done = len(self.environments)
        return self.path / (f"environment-{done + 1}.json" if done else "environment.json")

    def read_spec(self) -> CellSpec:
        return read_state(self.spec, CellSpec, _REBUILT)

    def read_environment(self) -> dict[str, Any]:
        """Read software, machine and code of the newest attempt, from `provenance.describe_environment`."""
        return _read_environment(self.environment, _REBUILT)

    def read_codes(self) -> list[Code]:
        """Read the code of each attempt, oldest first. Attempts of version 0.1 have no record of it."""
        records = [_read_environment(path, _REBUILT).get("code") for path in self.environments]
        return [Code.model_validate(record) for record in records if record is not None]

    def read_result(self) -> CellResult:
        return read_state(self.result, CellResult, _REBUILT)

    def read_retry(self, spec: CellSpec) -> Retry:
        """Read the number of patches per forward pass: that of the plan, or fewer after the cell ran out of memory."""
        if not self.retry.is_file():
            return Retry(micro_batch=spec.plan.micro_batch)
        return read_state(self.retry, Retry, _REBUILT)

    def read_pause(self) -> int | None:
        """Read the step at which a race pauses the cell; None if it trains to its end."""
        return read_state(self.pause, Pause, _REBUILT).step if self.pause.is_file() else None

    def rows_at(self, step: int) -> tuple[CaseRow, ...] | None:
        """Return the scores of the held-out cases at a step; None if they are not complete."""
        path = self.race(step) / "scores.json"
        return read_state(path, RaceScores, _REBUILT).rows if path.is_file() else None

    def read_journal(self) -> list[dict[str, Any]]:
        """Read metrics.jsonl, one line per epoch. An incomplete last line of a killed process is left out.

        Raises:
            RunError: A line is damaged.
        """
        text = self.journal.read_text(encoding="utf-8", errors="replace") if self.journal.is_file() else ""
        *lines, last = text.split("\n")
        if last and not is_cut(last):
            lines.append(last)
        return [self._journal_record(number, line) for number, line in enumerate(lines, start=1)]

    def _journal_record(self, number: int, line: str) -> dict[str, Any]:
        try:
            return from_line(line)
        except ValueError as error:
            raise RunError(
                f"{self.journal.name} as minivess wrote it",
                f"{self.journal}, damaged in line {number}: {error}",
                "delete this line; the scores stay, and only the curve of the training loses one point",
            ) from error


def refuse_links(folder: Path) -> None:
    """Require that a run folder contains no symbolic link, so that writing into it changes no file elsewhere.

    Raises:
        RunError: It contains one.
    """
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                raise RunError(
                    "a run folder without symbolic links, because a link can lead out of it",
                    f"{path}, a link to {os.readlink(path)}",
                    "replace the link by what it links to, or delete it",
                )


def _read_environment(path: Path, cure: str) -> dict[str, Any]:
    record: dict[str, Any] = read_state(path, dict[str, Any], cure)
    if "minivess" not in record:  # without the version it was not written by `describe_environment`
        raise RunError(f"{path.name} as minivess wrote it", f"{path}, without the version of minivess", cure)
    return record


@dataclass(frozen=True)
class DryStartFolder:
    """Files of the dry start."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def result(self) -> Path:
        return self.path / "result.json"


@dataclass(frozen=True)
class UnseenFolder:
    """Files of the scoring of the test set with one network."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "spec.json"

    @property
    def predictions(self) -> Path:
        return self.path / PREDICTIONS_FOLDER

    @property
    def result(self) -> Path:
        return self.path / "result.json"


@dataclass(frozen=True)
class RunFolder:
    """Files of one run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def profile(self) -> Path:
        return self.path / "profile.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.json"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def preflight(self) -> Path:
        return self.path / "preflight.json"

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    @property
    def race(self) -> Path:
        """What a race has decided; the file is missing before the first decision."""
        return self.path / "race.json"

    @property
    def model(self) -> Path:
        """Folder of the ensemble that the run keeps."""
        return self.path / "model"

    @property
    def dry_start(self) -> DryStartFolder:
        return DryStartFolder(self.path / "dry_start")

    @property
    def cases(self) -> Path:
        return self.path / "results" / "cases.csv"

    @property
    def comparison(self) -> Path:
        return self.path / "results" / "comparison.json"

    @property
    def figures(self) -> Path:
        return self.path / "results" / "figures"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def test_cases(self) -> Path:
        return self.path / "results" / "test.csv"

    @property
    def test_scores(self) -> Path:
        return self.path / "results" / "test.json"

    def unseen(self, cell: str) -> UnseenFolder:
        """Return the folder of the test set as the network of this cell segments it."""
        return UnseenFolder(self.path / "test" / cell)

    def cell(self, method: str, fold: int, repeat: int = 1) -> CellFolder:
        return self.cell_named(CellKey(method, fold, repeat).name)

    def cell_named(self, name: str) -> CellFolder:
        return CellFolder(self.path / "cells" / name)

    def cells(self) -> list[CellFolder]:
        """Return all cells that were started, in the order of their names."""
        return [CellFolder(path.parent) for path in sorted(self.path.glob("cells/*/cell.json"))]

    def cells_to_finish(self, config: ExperimentConfig) -> list[CellKey]:
        """Return the cells that the run trains to their end: all but the unfinished ones of losses that a race stopped."""
        stopped = self.read_race().stopped
        return [key for key in config.cells_in_order if key.method not in stopped or self.cell(*key).finished]

    def left_out(self) -> tuple[str, ...]:
        """Return the losses that a race stopped and that were not continued to the end of all their cells."""
        stopped = self.read_race().stopped
        if not stopped:
            return ()
        open_cells = {key.method for key in self.read_config().cells_in_order if not self.cell(*key).finished}
        return tuple(loss for loss in stopped if loss in open_cells)

    def read_config(self) -> ExperimentConfig:
        """Read the resolved configuration. A run of a version without ``final`` keeps one network, as it did.

        Raises:
            RunError: The file is missing or damaged.
        """
        config = read_state(self.config, ExperimentConfig, _START_AGAIN)
        return config if "final" in config.model_fields_set else config.model_copy(update={"final": "none"})

    def write_config(self, config: ExperimentConfig) -> None:
        write_text(self.config, seal(as_yaml(config)))

    def read_plan(self) -> TrainingPlan:
        return read_state(self.plan, TrainingPlan, _START_AGAIN)

    def read_splits(self) -> Splits:
        return read_state(self.splits, Splits, _START_AGAIN)

    def read_profile(self) -> DatasetProfile:
        return read_state(self.profile, DatasetProfile, _START_AGAIN)

    def read_preflight(self) -> PreflightResult:
        return read_state(self.preflight, PreflightResult, _START_AGAIN)

    def read_race(self) -> RaceRecord:
        """Read what a race has decided so far."""
        if not self.race.is_file():
            return RaceRecord()
        return read_state(self.race, RaceRecord, "restore it; without it, the race decides again")

    def read_environment(self) -> dict[str, Any]:
        """Read commit, packages and machine at the start of the run, from `provenance.describe_environment`."""
        return _read_environment(self.environment, _START_AGAIN)

    def read_rows(self) -> list[CaseRow]:
        """Return the rows of all finished cells, and then those of the methods that were trained elsewhere."""
        own = [row for cell in self.cells() if cell.finished for row in cell.read_result().rows]
        return own + [row for record in self.read_external() for row in record.rows]

    def external(self, name: str) -> ExternalFolder:
        return ExternalFolder(self.path / "external" / name)

    def read_external(self) -> list[ExternalRecord]:
        """Read the records of the methods that were trained elsewhere, sorted by name."""
        folders = [ExternalFolder(path.parent) for path in sorted(self.path.glob("external/*/record.json"))]
        return [record for folder in folders if (record := folder.read()) is not None]
