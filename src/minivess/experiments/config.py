"""One YAML in: strict, frozen, every key with its meaning; a wrong one is named with file, line and the nearest right one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from minivess.errors import ConfigError
from minivess.metrics.catalogue import known_metrics
from minivess.planning.plan import PlanRequest
from minivess.training.config import TrainingConfig
from minivess.validation_errors import config_error

DEBUG: dict[str, Any] = {
    "cases": 6,
    "folds": 2,
    "training": {"max_epochs": 2, "steps_per_epoch": 5, "validate_every": 1},
}
"""The same path in minutes, whatever the experiment."""
_BESIDE_THE_RUNS = ("store", "mlartifacts")
"""Names that the shared folders of an output folder have."""
_LARGEST_SEED = 10**13
"""A million times as much, and the number of a step, still go into the 64 bits of torch's generators."""


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a group that has a key twice: the first, with all that it says, would be dropped without a word."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: list[Any] = []
        for key, _ in node.value:
            if key.value in keys:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line} has the key {key.value!r} a second time; join the two")
            keys.append(key.value)
        return node


class ModelChoice(BaseModel):
    """Which network."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(default="dynunet", description="name in configs/model_profiles, or path of such a YAML file")
    filters: tuple[int, ...] | None = Field(
        default=None, description="feature maps a level in place of the profile's, the finest first"
    )
    deep_supervision: int | None = Field(default=None, ge=0, description="auxiliary heads in place of the profile's")

    def changes(self) -> dict[str, Any]:
        """What is set here on top of the model's profile."""
        return self.model_dump(exclude={"name"}, exclude_none=True)


class EvaluationConfig(BaseModel):
    """How held-out cases are scored and losses compared."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tolerance_um: float = Field(
        default=2.0, gt=0, description="tolerance of the normalised surface distance, micrometre"
    )
    metrics: tuple[str, ...] = Field(
        default=("dsc", "centreline_dsc", "measured_masd"),
        description="what is compared: these, or betti0_error, betti1_error, hausdorff_95, normalised_surface_distance, "
        "measured_masd_voxel; every case has all of them",
    )
    baselines: tuple[str, ...] = Field(
        default=("threshold",),
        description="rows beside the losses, cut where it is best on the training folds: threshold (of intensity), "
        "frangi (vesselness in plane)",
    )
    resamples: int = Field(default=2000, ge=1000, description="bootstrap resamples")

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return known_metrics(metrics)
        except ConfigError as error:  # said with key and line, as any other wrong value
            raise ValueError(f"{error.expected}; {error.cure}") from None


class LimitsConfig(BaseModel):
    """What a cell may take of the machine; None follows from what is detected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    memory_limit_gib: float | None = Field(
        default=None, gt=0, le=1e6, description="memory of a cell's process tree in GiB at which it is ended"
    )
    gpu_limit_gib: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="GPU memory in GiB that counts as the whole card, to share one with other programs or to stand for a smaller one",
    )
    cells_at_a_time: int | None = Field(
        default=None,
        ge=1,
        description="cells that run side by side here, with equal shares of memory, processors and graphics cards; None is one a card",
    )
    monitor_interval_s: float = Field(default=10.0, gt=0, description="seconds between rows of monitor.csv")
    hang_minutes: float = Field(
        default=30.0, gt=0, description="minutes without a step after which a cell counts as stuck"
    )


class ExperimentConfig(BaseModel):
    """An experiment: every loss on every fold."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="name of the run folder")
    experiment_name: str | None = Field(default=None, description="MLflow experiment; the run's name where None")
    data_dir: Path | None = Field(
        default=None, description="folder with raw/ and seg/ (or imagesTr/ and labelsTr/); --data-dir goes before it"
    )
    cases: int | None = Field(
        default=None,
        ge=2,
        description="volumes to use, evenly chosen from the smallest to the largest, for a trial; None is all",
    )
    output_dir: Path = Field(default=Path("runs"), description="where run folders go")
    losses: tuple[str, ...] = Field(min_length=1, description="names of losses, each trained on every fold")
    loss_options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="options by loss name")
    folds: int = Field(default=3, ge=2, description="folds of the cross-validation")
    seed: int = Field(default=0, ge=0, le=_LARGEST_SEED, description="seed of splits, initial weights and patches")
    model: ModelChoice = ModelChoice()
    plan: PlanRequest = PlanRequest()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    limits: LimitsConfig = LimitsConfig()
    dry_start: bool = Field(
        default=True,
        description="before epoch 1, try a real step of each loss, a prediction, a checkpoint and the scoring of the largest case",
    )
    tracking_uri: str | None = Field(
        default=None,
        description="MLflow server or database; None is a SQLite file beside the run folders, 'none' switches it off",
    )
    debug: dict[str, Any] = Field(
        default_factory=dict,
        description="keys of this file that --debug sets, beside its own: 6 cases, 2 folds, 2 epochs of 5 steps",
    )

    @field_validator("name")
    @classmethod
    def _is_a_folder_name(cls, name: str) -> str:
        if not name or name.startswith(".") or any(letter in name for letter in '/\\:*?"<>|'):
            raise ValueError("a usable folder name")
        if name in _BESIDE_THE_RUNS or name.startswith("mlflow.db"):  # with its lock and its journal
            raise ValueError(f"a name that no file or folder beside the runs has, such as '{name.split('.')[0]}-1'")
        return name

    @field_validator("data_dir", "output_dir")
    @classmethod
    def _from_home(cls, folder: Path | None) -> Path | None:
        return folder and folder.expanduser()

    @field_validator("tracking_uri")
    @classmethod
    def _holds_no_password(cls, uri: str | None) -> str | None:
        if uri is not None and re.search(r"//[^/@]*:[^/@]*@", uri):
            # No ValueError, of which pydantic keeps the password.
            raise ConfigError(
                "a tracking_uri without a password, for it is kept with the run and passed on with its report",
                "one with a password",
                "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (for a database, its own variables) instead",
            )
        return uri

    @field_validator("loss_options")
    @classmethod
    def _finite(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        try:
            json.dumps(options, allow_nan=False, default=str)  # as a cell is told of them
        except ValueError:
            raise ValueError("finite numbers") from None
        return options

    @field_validator("losses")
    @classmethod
    def _once_each(cls, losses: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(losses)) != len(losses):
            raise ValueError("each loss once")
        return losses


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
        overrides: Nested keys that go before the file's.
        options: What gave them, by key ("training.max_epochs": "--set"), to be named in place of the file.
        debug: Whether ``DEBUG`` and the file's ``debug`` keys go before its other keys, and its names end in "-debug".

    Raises:
        ConfigError: Names file, line, key and the nearest known key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw = yaml.load(text, _EachKeyOnce)
        root = yaml.compose(text)
    except OSError as error:
        raise ConfigError("an experiment's YAML file", f"{path}: {error.strerror}", "check --config") from error
    except (yaml.YAMLError, ValueError) as error:  # also a date that is none
        raise ConfigError("valid YAML", f"{path}: {' '.join(str(error).split())}", "mend that line") from error
    if not isinstance(raw, dict):
        raise ConfigError(
            "keys and values", f"{path} holds {type(raw).__name__}", "see configs/experiments for examples"
        )
    shorter = merge(DEBUG, raw["debug"] if isinstance(raw.get("debug"), dict) else {})
    values, trial = (merge(merge(raw, keys), overrides or {}) for keys in ({}, shorter))
    make_config(trial, str(path), options, root)  # a wrong debug key is said before the night that --debug was to save
    if debug:
        values = trial
        # A name of its own, so that a trial never stands where the experiment is to go.
        values |= {key: f"{values[key]}-debug" for key in ("name", "experiment_name") if values.get(key)}
    return make_config(values, str(path), options, root)


def as_yaml(config: ExperimentConfig) -> str:
    """Every key with its value, as ``load_config`` reads it."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def make_config(
    values: dict[str, Any], source: str, options: Mapping[str, str] | None = None, root: yaml.Node | None = None
) -> ExperimentConfig:
    """Check plain values.

    Args:
        values: Nested keys.
        source: Where they come from, for the message.
        options: Options that gave some of them, by key, to be named in place of the source.
        root: The YAML tree they were read from, to name the line.

    Raises:
        ConfigError: Names source, key and the nearest known key.
    """
    try:
        return ExperimentConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error, ExperimentConfig, partial(_origin, source, options or {}, root)) from error


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` on top, dictionary by dictionary."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _origin(source: str, options: Mapping[str, str], root: yaml.Node | None, location: list[str]) -> str:
    """The option that gave the key at ``location``, one above it or one below it, else the line of the file."""
    for end in range(len(location), 0, -1):
        if option := options.get(".".join(location[:end])):
            return option
    below = ".".join([*location, ""])
    if option := next((option for key, option in options.items() if key.startswith(below)), None):
        return option
    line = _line_of(root, location) or _line_of(root, ["debug", *location])
    return f"{source}, line {line}" if line else source


def _line_of(node: yaml.Node | None, location: list[str]) -> int | None:
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                return line if part != location[-1] else None
            line, node = found[0].start_mark.line + 1, found[1]
    return line
