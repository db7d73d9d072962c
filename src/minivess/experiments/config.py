"""The configuration of an experiment, read from one YAML file.

The models are strict and frozen. An unknown key or a wrong value is an error with file, line and the nearest known key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, ValidationError, ValidationInfo, field_validator

from minivess.data.groups import check_pattern, is_pattern
from minivess.errors import ConfigError
from minivess.masking import has_password
from minivess.metrics.catalogue import known_metrics
from minivess.models.model_profile import MOST_LEVELS, Channels
from minivess.planning.plan import PlanRequest
from minivess.settings import Settings
from minivess.statistics.rule import ComparisonConfig
from minivess.tracking.uris import ARTIFACTS_FOLDER, DATABASE_FILE
from minivess.training.config import TrainingConfig
from minivess.validation_errors import config_error
from minivess.yaml_files import YamlError, line_of, parse_tree, read_yaml, to_yaml

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

Share = Annotated[float, Field(gt=0, lt=1)]

DEBUG: dict[str, Any] = {
    "cases": 6,
    "folds": 2,
    "training": {"max_epochs": 2, "steps_per_epoch": 5, "validate_every": 1},
}
"""Keys that --debug sets, so that any experiment takes minutes."""
STORE_FOLDER = "store"
"""The folder of decompressed volumes in an output folder. All runs share it, as they share MLflow's files."""
_LARGEST_SEED = 10**13
"""A million times this seed, plus the number of a step, still fits in the 64 bits of the seed of a torch generator."""


_SEED_STEP = 1_000_000_007
"""Distance between the seeds of two repeats, so large that no two runs with usual seeds share one by chance."""


class CellKey(NamedTuple):
    """What a cell trains: one loss or baseline on one fold, in one repeat. Folds count from 0, repeats from 1."""

    method: str
    fold: int
    repeat: int = 1

    @property
    def name(self) -> str:
        """Name of the folder of the cell: LOSS-foldK, and LOSS-foldK-repeatR from the second repeat on."""
        return f"{self.method}-fold{self.fold}" + (f"-repeat{self.repeat}" if self.repeat > 1 else "")

    @property
    def place(self) -> str:
        """The fold, and the repeat from the second one on, in words."""
        return f"fold {self.fold}" + (f", repeat {self.repeat}" if self.repeat > 1 else "")


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
        "vesselness); the cut-off is chosen on the training folds",
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
        default=(0.3, 0.6),
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


def load_config(
    path: Path,
    overrides: dict[str, Any] | None = None,
    options: Mapping[str, str] | None = None,
    *,
    debug: bool = False,
) -> ExperimentConfig:
    """Read an experiment's YAML.

    Args:
        path: The file.
        overrides: Nested keys that replace those of the file.
        options: The option that gave each override, by key ("training.max_epochs": "--set"); an error names it instead
            of the file.
        debug: Whether ``DEBUG`` and the ``debug`` keys of the file replace its other keys, and its names end in
            "-debug".

    Raises:
        ConfigError: The file is missing, is not valid YAML, or has an unknown key or a wrong value.
    """
    try:
        text = path.read_bytes()
        raw, root = read_yaml(text), parse_tree(text)
    except OSError as error:
        raise ConfigError(
            "an experiment's YAML file", f"{path}: {error.strerror}", "check the path given with --config"
        ) from error
    except YamlError as error:
        raise ConfigError("valid YAML", f"{path}: {error}", "correct the file at that place") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            "keys and values",
            f"{path} contains {type(raw).__name__}",
            "write it like the examples in configs/experiments",
        )
    shorter = merge(DEBUG, raw["debug"] if isinstance(raw.get("debug"), dict) else {})
    values, trial = (merge(merge(raw, keys), overrides or {}) for keys in ({}, shorter))
    make_config(trial, str(path), options, root)  # reports a wrong debug key even without --debug
    if debug:
        values = trial
        # Another name, so that a trial never takes the folder of the experiment.
        values |= {key: f"{values[key]}-debug" for key in ("name", "experiment_name") if values.get(key)}
    return make_config(values, str(path), options, root)


def as_yaml(config: ExperimentConfig) -> str:
    """Return every key with its value as YAML that ``load_config`` reads."""
    return to_yaml(config.model_dump(mode="json"))


def make_config(
    values: dict[str, Any], source: str, options: Mapping[str, str] | None = None, root: Node | None = None
) -> ExperimentConfig:
    """Make a configuration from plain values.

    Args:
        values: Nested keys.
        source: Where the values come from, for the error message.
        options: Options that gave some of the values, by key; an error names the option instead of the source.
        root: The YAML tree that the values were read from, for the line number in an error message.

    Raises:
        ConfigError: A key is unknown or a value is wrong; the message names source, key and the nearest known key.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error, ExperimentConfig, partial(_origin, source, options or {}, root)) from error


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return ``base`` updated with ``changes``. Nested dictionaries are merged, other values are replaced."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _origin(source: str, options: Mapping[str, str], root: Node | None, location: list[str]) -> str:
    """Return the option that gave the key at ``location``, or a key above or below it; else the line in the file."""
    for end in range(len(location), 0, -1):
        if option := options.get(".".join(location[:end])):
            return option
    below = ".".join([*location, ""])
    if option := next((option for key, option in options.items() if key.startswith(below)), None):
        return option
    line = line_of(root, location) or line_of(root, ["debug", *location])
    return f"{source}, line {line}" if line else source
