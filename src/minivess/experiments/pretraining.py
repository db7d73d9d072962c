"""Train a network on an endless stream of random phantoms, without any real volume or label.

One folder holds one training: ``pretrain.json`` (its input), log, journal, checkpoints, and at the end ``weights/``. The
same command continues it after any interruption, and the weights are the same to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minivess.data.dataset_profile import DatasetProfile, VolumeStats
from minivess.data.phantoms.recipes import Recipe, find_recipe
from minivess.data.phantoms.stream import PhantomStream
from minivess.errors import ConfigError, RunError
from minivess.experiments.cell_process import Progress, supervise
from minivess.experiments.cell_spec import code_of_cell
from minivess.experiments.config import LimitsConfig, ModelChoice
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import read_state, write_state
from minivess.locks import hold
from minivess.losses.registry import require_known
from minivess.models.model_profile import PatchShape, load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.cell_slots import CellSlot, cell_slots
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator, cache_folder
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.settings import Settings
from minivess.supervision.outcome import Outcome
from minivess.text import GIB
from minivess.tracking.code import Code
from minivess.training.config import TrainingConfig
from minivess.validation_errors import config_error

_TYPICAL = VolumeStats(
    name="phantom",
    image="",
    label=None,
    shape=(512, 512, 24),
    spacing_um=(1.0, 1.0, 5.0),
    dtype="uint8",
    stored_bytes=0,
    cached_bytes=0,
)
"""The volume that the network is planned for, unless there are volumes to draw around."""
_EPOCH_STEPS = 100
_MAY_CHANGE = ("checkpoint_minutes", "checkpoint_steps")
"""Settings of the training that change no weight."""
_RESTORE = "restore it, or delete the folder and run the same command again"


class PretrainConfig(Settings):
    """What to train on phantoms."""

    recipe: str = Field(default="broad", description="name of the recipe from which phantoms are drawn")
    steps: int = Field(default=3000, ge=1, le=10**7, description="optimizer steps")
    until: int | None = Field(
        default=None, ge=1, description="save the averaged weights after this step and stop; None is the last step"
    )
    loss: str = Field(default="dice_ce", description="name of a loss")
    loss_options: dict[str, Any] = Field(default_factory=dict, description="options of the loss")
    model: ModelChoice = ModelChoice(filters=(8, 16, 32, 64, 96), deep_supervision=0)
    patch_size: PatchShape = Field(default=(128, 128, 8), description="patch, X, Y, Z in voxels")
    batch: int = Field(default=2, ge=1, le=4096, description="patches per optimizer step, each of another phantom")
    workers: int | None = Field(default=None, ge=0, le=10_000, description="threads that draw; None is by the machine")
    seed: int = Field(default=0, ge=0, le=10**13, description="random seed of initial weights and phantoms")
    half: bool = Field(default=False, description="save the weights in half precision, which halves the file")
    training: TrainingConfig = TrainingConfig()
    limits: LimitsConfig = LimitsConfig()


class PretrainSpec(BaseModel):
    """Input of a pretraining. Two trainings with equal specs give equal weights.

    Attributes:
        method: Name of the loss.
        loss_options: Options of the loss.
        recipe: What the phantoms are drawn from.
        plan: Patch, batch, precision and network.
        training: Length of the training and its settings.
        until: The step after which the averaged weights are saved.
        seed: Random seed of weights and phantoms.
        half: Whether the weights are saved in half precision.
        code: The code that draws and trains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    loss_options: dict[str, Any]
    recipe: Recipe
    plan: TrainingPlan
    training: TrainingConfig
    until: int
    seed: int
    half: bool
    code: Code

    @property
    def fold(self) -> int:
        """The fold whose initial weights a cell with this seed would have: there is only one."""
        return 0

    @property
    def stream(self) -> PhantomStream:
        """The phantoms that it trains on."""
        return PhantomStream(self.recipe, self.plan.patch, batch=self.plan.batch, seed=self.seed)


@dataclass(frozen=True)
class PreparedPretraining:
    """A pretraining that is ready to start: its folder, its input and the part of the machine that it may use."""

    folder: CellFolder
    spec: PretrainSpec
    config: PretrainConfig
    slots: tuple[CellSlot, ...]

    @property
    def plan(self) -> TrainingPlan:
        return self.spec.plan

    @property
    def hardware(self) -> HardwareBudget:
        return self.slots[0].hardware


def make_pretrain_config(values: Mapping[str, Any]) -> PretrainConfig:
    """Make a configuration from nested keys.

    Raises:
        ConfigError: A key is unknown or a value is wrong.
    """
    try:
        return PretrainConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error, PretrainConfig, lambda location: "command line") from error


def prepare_pretraining(
    config: PretrainConfig,
    out: Path,
    hardware: HardwareBudget,
    environ: Mapping[str, str],
    around: DatasetProfile | None = None,
) -> PreparedPretraining:
    """Plan a pretraining, or check that the one in the folder is the same. Write nothing.

    Args:
        config: What to train.
        out: Folder of the training.
        hardware: The machine.
        environ: Environment variables.
        around: Data set around whose voxel sizes and depths phantoms are drawn; only its headers are used.

    Raises:
        ConfigError: A name is unknown, or the folder contains another training.
        PlanError: The patch does not suit the network or the memory.
        RunError: The folder contains something else, or was started with other code.
    """
    require_known(config.loss)
    recipe = find_recipe(config.recipe, around)
    folder = CellFolder(out)
    if config.limits.memory_limit_gib is not None:
        hardware = HardwareBudget(
            hardware.host, hardware.gpus, hardware.gpu_notes, int(config.limits.memory_limit_gib * GIB)
        )
    before = _read_before(out)
    compute = "auto" if before is None else "cpu" if before.plan.device == "cpu" else "gpu"
    slots = cell_slots(hardware, compute, 1, environ.get("OMP_NUM_THREADS"))
    # A training that goes on keeps its plan, whatever the machine would allow now.
    plan = _plan(config, recipe, around, slots[0], environ) if before is None else before.plan
    model = load_model_profile(config.model.name, **config.model.changes())
    spec = PretrainSpec(
        method=config.loss,
        loss_options=config.loss_options,
        recipe=recipe,
        plan=plan,
        training=config.training.model_copy(update=_epochs(config.steps)),
        until=min(config.until or config.steps, config.steps),
        seed=config.seed,
        half=config.half,
        code=code_of_cell(config.loss, plan.network),
    )
    if before is not None:
        asked = (config.patch_size, config.batch, model.name, model.filters[: len(plan.network.filters)])
        had = (plan.patch, plan.batch, plan.network.model, plan.network.filters)
        _refuse_another(before, spec, out, also=[] if asked == had else [f"network {had} then, {asked} now"])
    return PreparedPretraining(folder, spec, config, slots)


def pretrain(prepared: PreparedPretraining, on_progress: Progress) -> Outcome | None:
    """Train to the end under a supervisor, continuing from the newest checkpoint.

    Returns:
        How it ended; None if the weights were complete before.

    Raises:
        RunError: Another process trains in this folder, or the supervisor was killed.
    """
    folder = prepared.folder
    folder.path.mkdir(parents=True, exist_ok=True)
    with hold(folder.path / ".lock") as lock:
        if folder.trained:
            return None
        write_state(_spec_file(folder.path), prepared.spec)
        return supervise(folder.path, "pretrain", prepared, on_progress, lock)


def read_pretrain_spec(folder: Path) -> PretrainSpec:
    """Read the input of the training in a folder.

    Raises:
        RunError: The file is missing or damaged.
    """
    return read_state(_spec_file(folder), PretrainSpec, _RESTORE)


def _spec_file(folder: Path) -> Path:
    return folder / "pretrain.json"


def _read_before(out: Path) -> PretrainSpec | None:
    if _spec_file(out).is_file():
        return read_pretrain_spec(out)
    foreign = [path for path in out.iterdir() if not path.name.startswith(".")] if out.is_dir() else []
    if foreign:
        raise RunError("a new or empty folder for the training", str(foreign[0]), "choose another folder")
    return None


def _plan(
    config: PretrainConfig,
    recipe: Recipe,
    around: DatasetProfile | None,
    slot: CellSlot,
    environ: Mapping[str, str],
) -> TrainingPlan:
    """Plan as for a data set, then check that the threads that draw fit into the memory, too."""
    profile = around or DatasetProfile(folder="", volumes=(_TYPICAL,))
    model = load_model_profile(config.model.name, **config.model.changes())
    request = PlanRequest(
        patch_size=config.patch_size, batch=config.batch, workers=config.workers, patch_policy="pad", cache_rate=0.0
    )
    losses = {config.loss: config.loss_options}
    with PeakCache(cache_folder(environ), slot.environment) as peaks:
        plan = compute_adaptive_profile(slot.hardware, profile, model, request, Estimator(losses, peaks))
    each = PhantomStream(recipe, plan.patch, batch=1).bytes_per_sample
    room = slot.hardware.usable_ram_bytes - (plan.ram_bytes or 0)
    workers = plan.workers if config.workers is not None else max(1, min(plan.workers, math.floor(room / each)))
    ram_bytes = (plan.ram_bytes or 0) + max(workers, 1) * each
    return plan.model_copy(update={"workers": workers, "ram_bytes": ram_bytes})


def _epochs(steps: int) -> dict[str, int]:
    """Split the steps into epochs of equal length, at most ``_EPOCH_STEPS`` long: one line of the journal each."""
    length = next(size for size in range(min(steps, _EPOCH_STEPS), 0, -1) if steps % size == 0)
    return {"steps_per_epoch": length, "max_epochs": steps // length, "validate_every": 0}


def _refuse_another(before: PretrainSpec, now: PretrainSpec, out: Path, also: list[str]) -> None:
    then, today = _settings_of(before), _settings_of(now)
    changed = [f"{key}: {then[key]!r} then, {today[key]!r} now" for key in then if then[key] != today[key]] + also
    if changed:
        cure = "restore these settings to continue, or choose another folder"
        raise ConfigError(f"the settings with which {out} was started", "; ".join(changed), cure)
    if different := before.code.differences(now.code):
        cure = "restore the code to continue, or choose another folder"
        raise RunError(f"the code with which {out} was started", "; ".join(different), cure)


def _settings_of(spec: PretrainSpec) -> dict[str, Any]:
    """What must stay equal when a training continues, by the key of the configuration."""
    training = spec.training.model_dump(exclude={"max_epochs", "steps_per_epoch", *_MAY_CHANGE})
    return {
        "recipe": spec.recipe.name,
        "around": [(grid.spacing_um, grid.slices) for grid in spec.recipe.grids],
        "steps": spec.training.steps,
        "until": spec.until,
        "loss": spec.method,
        "loss_options": spec.loss_options,
        "seed": spec.seed,
        "half": spec.half,
        **{f"training.{key}": value for key, value in training.items()},
    }
