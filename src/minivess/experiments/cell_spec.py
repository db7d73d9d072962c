"""Input and result of a cell, which is one loss (or baseline) on one fold in one repeat, and of the dry start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from minivess.digests import digest_of_file
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_key import CellKey
from minivess.models.model_profile import WEIGHTS_FILE, NetworkSpec
from minivess.models.shipped import SHIPPED
from minivess.planning.memory.workload import GpuStep
from minivess.planning.plan import TrainingPlan
from minivess.tracking.code import Code, code_of
from minivess.training.config import TrainingConfig

Method = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*)?$", max_length=200)]
"""Name of a loss or baseline, or import path of a loss."""


class CellSpec(BaseModel):
    """Input of a cell. Two cells with equal specs give equal results.

    Attributes:
        method: Name of the loss or baseline.
        fold: Number of the fold, from 0.
        train: Names of the training cases.
        held_out: Names of the held-out cases.
        store: Folder of the store with the decompressed volumes.
        plan: Patch, batch, precision and network.
        training: Length of the training and its settings.
        tolerance_um: Tolerance of the normalised surface distance, in micrometre.
        loss_options: Options of the loss.
        seed: Random seed of weights and patches.
        code: The code that trains, predicts and scores; None in cells of version 0.1.
        repeat: Number of the repeat, from 1.
        groups: Group of each held-out case, such as the animal; empty without groups.
        scored_at: Steps at which a race also scores the held-out cases, ascending; they do not change the training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method
    fold: int
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    store: Path
    plan: TrainingPlan
    training: TrainingConfig
    tolerance_um: float
    loss_options: dict[str, Any]
    seed: int
    code: Code | None = None
    repeat: int = 1
    groups: dict[str, str] = Field(default_factory=dict)
    scored_at: tuple[int, ...] = ()

    @property
    def key(self) -> CellKey:
        return CellKey(self.method, self.fold, self.repeat)


def code_of_cell(method: str, network: NetworkSpec) -> Code:
    """Return the code with which a process started now would run the cells of a loss or baseline.

    Raises:
        ConfigError: The file of initial weights of the network cannot be read.
    """
    weights = network.options.get("weights")
    code = code_of([method, network.builder], None if weights is None else Path(str(weights)))
    if method != "phantom":
        return code
    shipped = digest_of_file(SHIPPED / WEIGHTS_FILE)
    return code.model_copy(update={"builders": {**code.builders, "the network that ships": shipped}})


class Pause(BaseModel):
    """The step at which a race pauses a cell."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int


class RaceScores(BaseModel):
    """Scores of the held-out cases of a cell at a step of its training, with the averaged weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    rows: tuple[CaseRow, ...]


class Retry(BaseModel):
    """How a cell continues after it ran out of memory: with the same batch in more and smaller forward passes.

    Attributes:
        micro_batch: Patches per forward pass.
        because: One reason for each reduction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    micro_batch: int
    because: tuple[str, ...] = ()


class DryStartSpec(BaseModel):
    """Input of the dry start before epoch 1.

    Attributes:
        cells: One cell of each loss to try.
        predicted: Name of the volume whose prediction needs the most memory.
        scored: Name of the largest volume, which takes longest to score.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cells: tuple[CellSpec, ...]
    predicted: str
    scored: str


class DryStartResult(BaseModel):
    """Time, memory and disk space that the dry start used.

    Attributes:
        step_seconds: Seconds of a training step, by loss.
        card_use: GPU memory and time of a step, by loss; empty on a CPU.
        device_bytes: Most memory that torch reserved on the GPU after the first step; None on a CPU.
        checkpoint_bytes: Size of a checkpoint.
        checkpoint_seconds: Seconds to write a checkpoint.
        scoring_seconds: Seconds to score the largest case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_seconds: dict[str, float]
    card_use: dict[str, GpuStep] = Field(
        default_factory=dict, description="GPU memory and time of a step, by loss; empty on a CPU"
    )
    device_bytes: int | None = Field(
        description="most memory in bytes that torch reserved on the GPU after the first step; None on a CPU"
    )
    checkpoint_bytes: int
    checkpoint_seconds: float
    scoring_seconds: float


class CellResult(BaseModel):
    """Result of a finished cell.

    Attributes:
        method: Name of the loss or baseline.
        fold: Number of the fold, from 0.
        steps: Optimizer steps of the training; 0 for a baseline.
        seconds: Time of the attempt that finished the cell.
        note: How the masks were made, as text.
        micro_batch: Patches per forward pass at the end.
        rows: Scores of the held-out cases.
        repeat: Number of the repeat, from 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method
    fold: int
    steps: int
    seconds: float
    note: str
    micro_batch: int
    rows: tuple[CaseRow, ...]
    repeat: int = 1
