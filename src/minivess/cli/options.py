"""Options and arguments that several commands share, each defined once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click


class _Path(click.Path):
    """A path in which ``~`` means the home folder, even if the shell does not expand it, as in ``--output-dir=~/masks``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(os.path.expanduser(value), param, ctx)


class _IgnoreValue(click.IntRange):
    """A value of a label that can mean unknown: any but 0, which means background."""

    name = "integer"

    def __init__(self) -> None:
        super().__init__(-32_768, 65_535)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number == 0:
            self.fail("0 means background; give the value of unknown voxels, such as 255", param, ctx)
        return number


IGNORE_VALUE = _IgnoreValue()
FOLDER, FILE = _Path(path_type=Path, file_okay=False), _Path(path_type=Path, dir_okay=False)
PATH = _Path(path_type=Path)

data_dir = click.option(
    "--data-dir",
    type=FOLDER,
    envvar="MINIVESS_REAL_DATA",
    show_envvar=True,
    help="Data set folder with raw/ and seg/, or imagesTr/ and labelsTr/.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a script instead of tables.")
model_name = click.option(
    "--model",
    default="dynunet",
    show_default=True,
    help="Model profile: a name in configs/model_profiles, or a YAML file.",
)
run_folder = click.argument("run", type=FOLDER)
tracking_uri = click.option(
    "--tracking-uri",
    metavar="URI",
    help="MLflow server or database; by default MLFLOW_TRACKING_URI, else the database next to the run folder.",
)


def _trust(context: click.Context, parameter: click.Parameter, paths: tuple[Path, ...]) -> None:
    if paths:
        from minivess.trusted_code import trust

        trust(paths)


trust_code = click.option(
    "--trust-code",
    multiple=True,
    type=_Path(path_type=Path, exists=True),
    expose_value=False,
    callback=_trust,
    metavar="PATH",
    help="Trust the code in this folder (your own network or loss), or this .pt file of weights; may be repeated.",
)


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Turn settings such as ``("training.max_epochs=5",)`` into nested keys; values are read as YAML.

    Args:
        settings: Texts ``KEY=VALUE``; a later setting overrides an earlier one.

    Returns:
        A nested mapping, e.g. ``{"training": {"max_epochs": 5}}``.

    Raises:
        click.BadParameter: A setting is not ``KEY=VALUE``, or its value is not valid YAML.
    """
    from minivess.experiments.config_file import merge
    from minivess.masking import mask_uri
    from minivess.yaml_files import YamlError, read_yaml

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected key=value, got {mask_uri(setting)!r}", param_hint="--set")
        try:
            value = read_yaml(text)
        except YamlError as error:
            raise click.BadParameter(
                f"expected a YAML value, got {mask_uri(setting)[:80]!r} ({error})", param_hint="--set"
            ) from None
        for part in reversed(key.split(".")):
            value = {part: value}
        values = merge(values, value)
    return values


def keys_of(settings: tuple[str, ...]) -> dict[str, str]:
    """Map each key set by ``--set`` to "--set", so that an error message can name the option."""
    return {setting.partition("=")[0]: "--set" for setting in settings}


def parse_patch(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int, int] | None:
    """Parse a patch size such as ``"96x96x8"`` into (X, Y, Z) in voxels; None stays None.

    Raises:
        click.BadParameter: The text is not three whole numbers joined by ``x``.
    """
    if text is None:
        return None
    try:
        x, y, z = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"expected X x Y x Z such as 96x96x8, got {text!r}") from None
    return x, y, z


_COUNT = click.IntRange(min=1)
_OPTIONS = {
    "compute": (
        str,
        "Compute profile from configs/compute_profiles.yaml, an upper bound; by default auto: from this machine.",
    ),
    "patch_size": (None, "Patch X x Y x Z in voxels, e.g. 96x96x8: used exactly or refused; by default planned."),
    "patch_policy": (
        click.Choice(["min_volume", "pad", "bucketed"]),
        "How short volumes are handled: one patch that fits every volume (min_volume, the default), "
        "short volumes padded (pad), or volumes grouped by depth (bucketed).",
    ),
    "batch": (_COUNT, "Patches per optimizer step; by default planned."),
    "micro_batch": (_COUNT, "Patches per forward pass; gradients are accumulated to a batch; by default planned."),
    "precision": (click.Choice(["fp32", "bf16", "fp16"]), "Number type of the forward pass; by default planned."),
    "workers": (
        click.IntRange(min=0),
        "Threads that cut patches; 0 cuts them in the training thread; by default planned.",
    ),
    "cache_rate": (
        click.FloatRange(0, 1),
        "Share of the decompressed volumes to keep in the page cache, 0 to 1; by default planned.",
    ),
    "overlap": (
        click.FloatRange(0, 1, max_open=True),
        "Overlap of neighbouring windows of a prediction, as a share of the window; by default 0.5.",
    ),
}


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the plan to a command; those that the user gives reach it as one argument, the mapping ``plan_keys``."""

    @wraps(command)
    def with_plan_keys(*arguments: Any, **options: Any) -> None:
        given = {key: options.pop(key) for key in _OPTIONS}
        command(*arguments, **options, plan_keys={key: value for key, value in given.items() if value is not None})

    decorated: Callable[..., None] = with_plan_keys
    for key, (kind, text) in reversed(_OPTIONS.items()):
        callback = parse_patch if key == "patch_size" else None
        decorated = click.option(f"--{key.replace('_', '-')}", key, type=kind, callback=callback, help=text)(decorated)
    return decorated


def _parse_spacing(
    context: click.Context, parameter: click.Parameter, text: str | None
) -> tuple[float, float, float] | None:
    if text is None:
        return None
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"expected X,Y,Z such as 0.994,0.994,5, got {text!r}") from None
    if not 0 < min(x, y, z) <= max(x, y, z) < float("inf"):
        raise click.BadParameter(f"expected three finite sizes above zero, got {text!r}")
    return x, y, z


def spacing_option(text: str) -> Callable[[Any], Any]:
    """Return the option ``--spacing-um X,Y,Z`` with this help; the parameter is ``spacing_um``."""
    return click.option("--spacing-um", callback=_parse_spacing, metavar="X,Y,Z", help=text)
