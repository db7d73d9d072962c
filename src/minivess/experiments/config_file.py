"""Read the configuration of an experiment from a YAML file and command-line options, and write it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from minivess.errors import ConfigError
from minivess.experiments.config import ExperimentConfig
from minivess.validation_errors import config_error
from minivess.yaml_files import YamlError, line_of, parse_tree, read_yaml, to_yaml

if TYPE_CHECKING:
    from ruamel.yaml.nodes import Node

DEBUG: dict[str, Any] = {
    "cases": 6,
    "folds": 2,
    "training": {"max_epochs": 2, "steps_per_epoch": 5, "validate_every": 1},
}
"""Keys that --debug sets, so that any experiment takes minutes."""


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
