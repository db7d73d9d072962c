"""What a cell is told and what it leaves: one loss (or baseline) on one fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from minivess.evaluation.evaluate import CaseRow
from minivess.planning.plan import TrainingPlan
from minivess.step.config import TrainingConfig

BASELINES = ("threshold",)


class CellSpec(BaseModel):
    """Everything a cell needs to know; two cells with equal specs give equal results."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    fold: int
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    store: Path
    plan: TrainingPlan
    training: TrainingConfig
    tolerance_um: float
    loss_options: dict[str, Any]
    seed: int


class CellResult(BaseModel):
    """What a finished cell leaves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    fold: int
    steps: int
    seconds: float
    note: str
    rows: tuple[CaseRow, ...]
