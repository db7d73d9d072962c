"""What a cell is told and what it leaves: one loss (or baseline) on one fold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from minivess.evaluation.evaluate import CaseRow
from minivess.planning.memory.workload import GpuStep
from minivess.planning.plan import TrainingPlan
from minivess.training.config import TrainingConfig


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


class Retry(BaseModel):
    """What a cell that ran out of memory goes on with: the same batch in more and smaller forward passes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    micro_batch: int
    because: tuple[str, ...] = ()


class DryStartSpec(BaseModel):
    """What is tried before epoch 1: a cell of each loss, and the volumes that take most to predict and to score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: tuple[CellSpec, ...]
    predicted: str
    scored: str


class DryStartResult(BaseModel):
    """What the dry start took."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_seconds: dict[str, float]
    card_use: dict[str, GpuStep] = Field(default_factory=dict, description="of a step, by loss; empty on a CPU")
    device_bytes: int | None = Field(
        description="most that torch reserved on the card after the first step; None on a CPU"
    )
    checkpoint_bytes: int
    checkpoint_seconds: float
    scoring_seconds: float


class CellResult(BaseModel):
    """What a finished cell leaves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    fold: int
    steps: int
    seconds: float
    note: str
    micro_batch: int
    rows: tuple[CaseRow, ...]
