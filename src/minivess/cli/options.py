"""Options that several commands share, each defined once."""

from __future__ import annotations

import os
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
run_folder = click.argument("run", type=FOLDER)


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """``("training.max_epochs=5",)`` as nested keys; values are read as YAML."""
    import yaml

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"expected key=value, got {setting!r}", param_hint="--set")
        *parents, last = key.split(".")
        level = values
        for parent in parents:
            level = level.setdefault(parent, {})
        level[last] = yaml.safe_load(text)
    return values


def parse_patch(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int, int] | None:
    """``"96x96x8"`` as three sizes in voxels."""
    if text is None:
        return None
    try:
        x, y, z = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"expected X x Y x Z such as 96x96x8, got {text!r}") from None
    return x, y, z
