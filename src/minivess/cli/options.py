"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


class _Path(click.Path):
    """A path; ``~`` is the home folder also where the shell leaves it alone, as in ``--output-dir=~/masks``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


FOLDER, FILE = _Path(path_type=Path, file_okay=False), _Path(path_type=Path, dir_okay=False)

data_dir = click.option(
    "--data-dir",
    type=FOLDER,
    envvar="MINIVESS_REAL_DATA",
    show_envvar=True,
    help="Data set folder: raw/ with seg/, or imagesTr/ with labelsTr/.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script in place of tables.")
model_name = click.option(
    "--model", default="dynunet", show_default=True, help="Name in configs/model_profiles, or a YAML file."
)
run_folder = click.argument("run", type=FOLDER)


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """``("training.max_epochs=5",)`` as nested keys; values are read as YAML."""
    import yaml

    from minivess.experiments.config import merge

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected key=value, got {setting!r}", param_hint="--set")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):  # a date that is none
            raise click.BadParameter(
                f"expected a value as YAML writes it, got {setting!r}", param_hint="--set"
            ) from None
        for part in reversed(key.split(".")):
            value = {part: value}
        values = merge(values, value)
    return values


def keys_of(settings: tuple[str, ...]) -> dict[str, str]:
    """Which keys ``--set`` gave, for messages that name it."""
    return {setting.partition("=")[0]: "--set" for setting in settings}


def parse_patch(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int, int] | None:
    """``"96x96x8"`` as three sizes in voxels."""
    if text is None:
        return None
    try:
        x, y, z = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"expected X x Y x Z such as 96x96x8, got {text!r}") from None
    return x, y, z


_COUNT = click.IntRange(min=1)
_OPTIONS = {
    "compute": (str, "auto, or a name from configs/compute_profiles.yaml: a budget."),
    "patch_size": (None, "X x Y x Z in voxels: used exactly or refused."),
    "patch_policy": (click.Choice(["min_volume", "pad", "bucketed"]), "What is done about short volumes."),
    "batch": (_COUNT, "Patches of an optimizer step."),
    "micro_batch": (_COUNT, "Patches of a forward pass; gradients add up to the batch."),
    "precision": (click.Choice(["fp32", "bf16", "fp16"]), "Type of the forward pass."),
    "workers": (click.IntRange(min=0), "Threads that cut patches; 0 cuts them in the training thread."),
    "cache_rate": (click.FloatRange(0, 1), "Share of the volumes to keep in the page cache."),
    "overlap": (
        click.FloatRange(0, 1, max_open=True),
        "Share that neighbouring windows of a prediction have in common.",
    ),
}


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: what was given of these options comes as one argument, ``plan_keys``, keys and values of ``plan``."""

    @wraps(command)
    def with_plan_keys(*arguments: Any, **options: Any) -> None:
        given = {key: options.pop(key) for key in _OPTIONS}
        command(*arguments, **options, plan_keys={key: value for key, value in given.items() if value is not None})

    decorated: Callable[..., None] = with_plan_keys
    for key, (kind, words) in reversed(_OPTIONS.items()):
        callback = parse_patch if key == "patch_size" else None
        decorated = click.option(f"--{key.replace('_', '-')}", key, type=kind, callback=callback, help=words)(decorated)
    return decorated
