"""The run folder: what a run leaves behind, where each thing is, in an order that a person can follow.

config.yaml profile.json splits.json plan.json preflight.json environment.json
dry_start/          spec.json log.txt monitor.csv outcome.json result.json
cells/LOSS-foldK/   cell.json environment.json log.txt metrics.jsonl monitor.csv checkpoints/ weights/ predictions/ cases/ result.json
results/            cases.csv comparison.json comparison.md comparison.tex comparison.csv figures/
report.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.atomic import write_text
from minivess.data.dataset_profile import DatasetProfile
from minivess.data.splits import Splits
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_spec import CellResult, CellSpec, Retry
from minivess.experiments.config import ExperimentConfig, as_yaml
from minivess.json_files import read_state
from minivess.planning.plan import TrainingPlan
from minivess.planning.preflight import PreflightResult

_START_AGAIN = "restore it, or start the run again (--fresh)"
_REBUILT = "delete it: the same command writes it again"


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
        return self.path / "monitor.csv"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    @property
    def predictions(self) -> Path:
        return self.path / "predictions"

    @property
    def retry(self) -> Path:
        return self.path / "retry.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def finished(self) -> bool:
        """A cell is finished when its result stands; the result is written last."""
        return self.result.is_file()

    @property
    def trained(self) -> bool:
        """Whether its weights are final; prediction and scoring may be left."""
        return all((self.weights / name).is_file() for name in ("network.safetensors", "network.json"))

    @property
    def environment(self) -> Path:
        return self.path / "environment.json"

    def read_spec(self) -> CellSpec:
        return read_state(self.spec, CellSpec, _REBUILT)

    def read_environment(self) -> dict[str, Any]:
        """What it was trained with, as `tracking.provenance.describe_environment` found it."""
        return read_state(self.environment, dict[str, Any], _REBUILT)

    def read_result(self) -> CellResult:
        return read_state(self.result, CellResult, _REBUILT)

    def read_retry(self, spec: CellSpec) -> Retry:
        """The patches of a forward pass: the plan's, or fewer after the cell ran out of memory."""
        if not self.retry.is_file():
            return Retry(micro_batch=spec.plan.micro_batch)
        return read_state(self.retry, Retry, _REBUILT)

    def read_journal(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one an epoch; a last line cut short by a kill is left out."""
        lines = self.journal.read_text(encoding="utf-8").splitlines() if self.journal.is_file() else []
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records


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

    def cell(self, method: str, fold: int) -> CellFolder:
        return CellFolder(self.path / "cells" / f"{method}-fold{fold}")

    def cells(self) -> list[CellFolder]:
        """All cells that were begun, by name."""
        return [CellFolder(path.parent) for path in sorted(self.path.glob("cells/*/cell.json"))]

    def read_config(self) -> ExperimentConfig:
        """The resolved configuration; raises as ``read_state`` does."""
        return read_state(self.config, ExperimentConfig, _START_AGAIN)

    def write_config(self, config: ExperimentConfig) -> None:
        write_text(self.config, as_yaml(config))

    def read_plan(self) -> TrainingPlan:
        return read_state(self.plan, TrainingPlan, _START_AGAIN)

    def read_splits(self) -> Splits:
        return read_state(self.splits, Splits, _START_AGAIN)

    def read_profile(self) -> DatasetProfile:
        return read_state(self.profile, DatasetProfile, _START_AGAIN)

    def read_preflight(self) -> PreflightResult:
        return read_state(self.preflight, PreflightResult, _START_AGAIN)

    def read_environment(self) -> dict[str, Any]:
        """Commit, packages and machine when the run was begun, as `tracking.provenance.describe_environment` found them."""
        return read_state(self.environment, dict[str, Any], _START_AGAIN)

    def read_rows(self) -> list[CaseRow]:
        """The rows of every finished cell."""
        return [row for cell in self.cells() if cell.finished for row in cell.read_result().rows]
