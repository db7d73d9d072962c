"""The keys of an experiment.

The models are strict and frozen. An unknown key or a wrong value is an error with file, line and the nearest known key.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from minivess.data.groups import check_pattern, is_pattern
from minivess.errors import ConfigError
from minivess.experiments.cell_key import CellKey
from minivess.masking import has_password
from minivess.metrics.catalogue import known_metrics
from minivess.models.model_profile import MOST_LEVELS, Channels
from minivess.planning.plan import PlanRequest
from minivess.settings import Settings
from minivess.statistics.rule import ComparisonConfig
from minivess.tracking.uris import ARTIFACTS_FOLDER, DATABASE_FILE
from minivess.training.config import TrainingConfig

Share = Annotated[float, Field(gt=0, lt=1)]

STORE_FOLDER = "store"
"""The folder of decompressed volumes in an output folder. All runs share it, as they share MLflow's files."""
_LARGEST_SEED = 10**13
"""A million times this seed, plus the number of a step, still fits in the 64 bits of the seed of a torch generator."""


_SEED_STEP = 1_000_000_007
"""Distance between the seeds of two repeats, so large that no two runs with usual seeds share one by chance."""


class DataConfig(Settings):
    """How the files of the data set are read."""

    ignore_value: int | None = Field(
        default=None,
        ge=-32_768,
        le=65_535,
        description="value of label voxels that are unknown, such as 255: they count nowhere; without this key, the label "
        "named ignore in nnU-Net's dataset.json; without both, every voxel is known",
    )

    @field_validator("ignore_value")
    @classmethod
    def _is_no_background(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("another value than 0, which means background")
        return value


class ModelChoice(Settings):
    """The network to train."""

    name: str = Field(
        default="dynunet", description="name of a model profile in configs/model_profiles, or path of a YAML file"
    )
    filters: tuple[Channels, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MOST_LEVELS,
        description="feature maps at each level, finest first, instead of those of the model profile",
    )
    deep_supervision: int | None = Field(
        default=None, ge=0, le=10, description="number of auxiliary outputs, instead of that of the model profile"
    )

    def changes(self) -> dict[str, Any]:
        """Return the values that replace those of the model profile."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class EvaluationConfig(Settings):
    """How held-out cases are scored and losses compared."""

    tolerance_um: float = Field(
        default=2.0, gt=0, le=1e6, description="tolerance of the normalised surface distance in micrometre"
    )
    metrics: tuple[str, ...] = Field(
        default=("cldice", "dsc", "measured_masd"),
        min_length=1,
        description="metrics that are compared, the leading one first; others are betti0_error, betti1_error, "
        "hausdorff_95, normalised_surface_distance, measured_masd_voxel and centreline_dsc, which is clDice on "
        "scikit-image's skeleton, as in the literature (every case is scored by all)",
    )
    baselines: tuple[str, ...] = Field(
        default=("threshold",),
        description="methods without training to compare with the losses: threshold (on intensity), frangi (on in-plane "
        "vesselness), whose cut-off is chosen on the training folds; phantom (the network that ships, which has seen no label)",
    )
    resamples: int = Field(default=2000, ge=1000, le=1_000_000, description="number of bootstrap resamples")

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return known_metrics(metrics)
        except ConfigError as error:  # pydantic adds the key, so that the message names key and line
            raise ValueError(f"{error.expected}; {error.cure}") from None


class RaceConfig(Settings):
    """When losses that are beaten are stopped, to save their time."""

    at: tuple[Share, ...] = Field(
        default=(0.6,),
        min_length=1,
        description="shares of the steps, between 0 and 1 and ascending, at which the held-out cases are scored and beaten "
        "losses are stopped",
    )
    keep: int = Field(default=2, ge=1, le=1000, description="at least this many losses are trained to the end")

    @field_validator("at")
    @classmethod
    def _ascend(cls, at: tuple[float, ...]) -> tuple[float, ...]:
        if list(at) != sorted(set(at)):
            raise ValueError("ascending shares")
        return at


class LimitsConfig(Settings):
    """Resources that a cell may use. None means that the value follows from the detected machine."""

    memory_limit_gib: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="memory in GiB at which a cell is stopped, summed over its processes",
    )
    gpu_limit_gib: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="GPU memory in GiB to treat as the whole GPU, to share it or to imitate a smaller one",
    )
    cells_at_a_time: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="number of cells that run in parallel, each with an equal share of the machine; None is one per GPU",
    )
    monitor_interval_s: float = Field(
        default=10.0, gt=0, le=86_400, description="seconds between two rows of monitor.csv"
    )
    hang_minutes: float = Field(
        default=30.0,
        gt=0,
        le=1e6,
        description="minutes without progress after which a cell counts as hung and is stopped",
    )


class ExperimentConfig(Settings):
    """An experiment: train every loss on every fold."""

    name: str = Field(description="name of the run folder")
    experiment_name: str | None = Field(
        default=None, description="name of the MLflow experiment; None is the name of the run"
    )
    data_dir: Path | None = Field(
        default=None,
        description="data set folder with raw/ and seg/, or imagesTr/ and labelsTr/; --data-dir replaces it",
    )
    data: DataConfig = DataConfig()
    cases: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000,
        description="number of volumes to use for a trial, spread evenly from the smallest to the largest; None is all",
    )
    output_dir: Path = Field(default=Path("runs"), description="folder in which run folders are created")
    losses: tuple[str, ...] = Field(min_length=1, description="names of losses; each is trained on every fold")
    loss_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="options of each loss, by the name of the loss"
    )
    folds: int = Field(
        default=3,
        ge=1,
        le=10_000,
        description="number of folds of the cross-validation; 1 is a single split that holds out about a fifth of the "
        "cases; without this key, the number of folds in splits_final.json if the data set has this file",
    )
    repeats: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="number of times that each loss is trained on each fold, each time with another seed of initial "
        "weights and patches; may be raised later",
    )
    groups: str | None = Field(
        default=None,
        description="which cases belong together, such as all volumes of one animal: a CSV file with the columns case and "
        "group (a relative path is relative to the data set folder), or a pattern on the names of the cases with the group "
        "in parentheses, such as ^(animal\\d+)_; a group is never split between folds, and is the unit of the statistics",
    )
    test: tuple[str, ...] | None = Field(
        default=None,
        description="cases that are never trained on and not looked at before the end; the registered network is then "
        "scored on them, apart from the comparison; without this key, the labelled cases of imagesTs/; [] is none",
    )
    train_only: tuple[str, ...] = Field(
        default=(), description="cases that are trained on in every fold and never held out"
    )
    seed: int = Field(
        default=0, ge=0, le=_LARGEST_SEED, description="random seed of splits, initial weights and patches"
    )
    model: ModelChoice = ModelChoice()
    plan: PlanRequest = PlanRequest()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    final: Literal["ensemble", "none"] = Field(
        default="ensemble",
        description="what is registered at the end: ensemble is the networks of all folds and repeats of the best loss "
        "together (mean probability); none is the network of its fold 0",
    )
    race: RaceConfig | None = Field(
        default=None,
        description="stop losses that are beaten early; without this key, every loss is trained to the end",
    )
    comparison: ComparisonConfig | None = Field(
        default=None,
        description="which difference counts, fixed before the run: primary metric, margin, reference loss (against) and "
        "level; None compares all pairs, with nothing fixed",
    )
    limits: LimitsConfig = LimitsConfig()
    dry_start: bool = Field(
        default=True,
        description="before epoch 1, try real steps of each loss, a prediction, a checkpoint and a scoring",
    )
    tracking_uri: str | None = Field(
        default=None,
        description="MLflow server or database; None is a SQLite file in output_dir, 'none' switches MLflow off",
    )
    debug: dict[str, Any] = Field(
        default_factory=dict,
        description="keys that --debug sets in addition to its own, which are 6 cases, 2 folds, 2 epochs of 5 steps",
    )

    @property
    def leading_metric(self) -> str:
        """The metric that decides: the primary metric of the comparison, or the first of ``evaluation.metrics``."""
        return self.comparison.primary if self.comparison else self.evaluation.metrics[0]

    @property
    def reference_loss(self) -> str:
        """The loss that others are compared with: the reference of the comparison, or the first loss."""
        return str(self.comparison.against) if self.comparison else self.losses[0]

    @property
    def cells_in_order(self) -> list[CellKey]:
        """Every cell: baselines first, then all losses of the first repeat, and so on. A baseline has no randomness."""
        folds, repeats = range(self.folds), range(1, self.repeats + 1)
        baselines = [CellKey(method, fold) for method in self.evaluation.baselines for fold in folds]
        return baselines + [CellKey(loss, fold, repeat) for repeat in repeats for loss in self.losses for fold in folds]

    def seed_of(self, repeat: int) -> int:
        """Return the seed of all losses in a repeat; the first repeat has the seed of the splits."""
        return self.seed + (repeat - 1) * _SEED_STEP

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not name or name.startswith(".") or any(letter in name for letter in '/\\:*?"<>|'):
            raise ValueError("a usable folder name")
        if name in (STORE_FOLDER, ARTIFACTS_FOLDER) or name.startswith(
            DATABASE_FILE
        ):  # also its lock file and its journal
            raise ValueError(f"a name that is not reserved in the output folder, such as '{name.split('.')[0]}-1'")
        return name

    @field_validator("data_dir", "output_dir")
    @classmethod
    def _from_home(cls, folder: Path | None) -> Path | None:
        return folder and folder.expanduser()

    @field_validator("tracking_uri")
    @classmethod
    def _holds_no_password(cls, uri: str | None) -> str | None:
        if uri is None or uri == "none":
            return uri
        # Not ValueErrors, because pydantic would keep the password in its message.
        if has_password(uri):
            raise ConfigError(
                "a tracking_uri without a password or token, because it is saved with the run",
                "one with a password or token",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, instead "
                "(for a database, the variables of that database)",
            )
        return uri

    @field_validator("loss_options")
    @classmethod
    def _finite(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        try:
            json.dumps(options, allow_nan=False, default=str)  # the way cell.json stores them
        except ValueError:
            raise ValueError("finite numbers") from None
        return options

    @field_validator("comparison")
    @classmethod
    def _complete(cls, rule: ComparisonConfig | None, info: ValidationInfo) -> ComparisonConfig | None:
        if rule is None or not info.data.get("losses"):
            return rule
        try:
            known_metrics([rule.primary])
        except ConfigError as error:
            raise ValueError(f"primary: {error.expected}; {error.cure}") from None
        return rule.completed(info.data["losses"])

    @field_validator("losses", "test", "train_only")
    @classmethod
    def _once_each(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) != len(names):
            raise ValueError(f"each {'loss' if info.field_name == 'losses' else 'case'} once")
        return names

    @field_validator("groups")
    @classmethod
    def _is_usable(cls, groups: str | None) -> str | None:
        if groups is not None and is_pattern(groups):
            check_pattern(groups)
        return groups
