"""Write the reference pages that come from the code: the command line and the keys of the YAML files.

MkDocs runs this file through the plugin gen-files; the pages exist only in the built site.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

import click
import mkdocs_gen_files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from minivess.cli.main import cli
from minivess.experiments.config import ExperimentConfig
from minivess.models.model_profile import ModelProfile
from minivess.planning.adaptive_profiles import ComputeProfile

EXIT_CODES = {
    0: "The command did what it was asked.",
    2: "An option, a YAML key or a configuration is wrong.",
    3: "The data is wrong: a file or the data set.",
    4: "The plan does not fit the data, the model or the machine.",
    5: "A run ended without its result, or was interrupted.",
    6: "MLflow cannot be reached.",
    7: "The model was not promoted.",
    130: "Interrupted (Ctrl-C) outside a run, or a second time during one.",
}


def command_page() -> Iterator[str]:
    """Markdown lines of reference/cli.md."""
    yield "# Command line\n"
    yield "`minivess COMMAND --help` prints the same on a terminal. Add `--json` where it is listed for output that a script can read.\n"
    yield "| exit code | meaning |\n|---|---|"
    yield from (f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    yield from _commands("minivess", cli, level=2)


def _commands(path: str, group: click.Group, level: int) -> Iterator[str]:
    for name, command in group.commands.items():
        full = f"{path} {name}"
        if isinstance(command, click.Group):
            yield from _commands(full, command, level)
            continue
        yield f"\n{'#' * level} `{full}`\n"
        yield inspect.cleandoc((command.help or "").replace("\b", "")) + "\n"
        context = click.Context(command, info_name=full)
        yield f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```\n"
        records = [found for option in command.params if (found := option.get_help_record(context)) and found[1]]
        if records:
            yield "| option | meaning |\n|---|---|"
            yield from (f"| `{_cell(option)}` | {_cell(meaning)} |" for option, meaning in records)


def yaml_page() -> Iterator[str]:
    """Markdown lines of reference/yaml.md."""
    yield "# Experiment YAML\n"
    yield (
        "Every key is optional except `name` and `losses`. An unknown key is an error that names the file, the line and the "
        "nearest known key. `--set GROUP.KEY=VALUE` sets a key on the command line. Editors check the file against "
        "`configs/experiment.schema.json`.\n"
    )
    yield from _model_table("Top level", ExperimentConfig)
    for name, field in ExperimentConfig.model_fields.items():
        if _is_model(field.annotation):
            yield from _model_table(f"`{name}`", field.annotation)
    yield "\n# Model profile YAML\n\nFiles in `configs/model_profiles`, or any path ending in `.yaml`.\n"
    yield from _model_table("Model profile", ModelProfile)
    yield "\n# Compute profiles\n\nEntries of `configs/compute_profiles.yaml`: upper bounds by size of the GPU.\n"
    yield from _model_table("Compute profile", ComputeProfile)


def _model_table(title: str, model: type[BaseModel]) -> Iterator[str]:
    yield f"\n## {title}\n\n| key | type | default | meaning |\n|---|---|---|---|"
    for name, field in model.model_fields.items():
        meaning = field.description or (f"see [`{name}`](#{name})" if _is_model(field.annotation) else "")
        yield f"| `{name}` | {_cell(_type_name(field.annotation))} | {_cell(_default(field))} | {_cell(meaning)} |"


def _is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments if argument is not type(None))
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        return (
            f"list of {_type_name(arguments[0])}"
            if arguments[-1] is ...
            else f"{len(arguments)} x {_type_name(arguments[0])}"
        )
    if origin is dict:
        return "group"
    if _is_model(annotation):
        return "group"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Path": "path"}
    return names.get(getattr(annotation, "__name__", ""), "any value")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel) or value in ({}, ()):
        return ""
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


for page, lines in (("reference/cli.md", command_page()), ("reference/yaml.md", yaml_page())):
    with mkdocs_gen_files.open(page, "w") as file:
        file.write("\n".join(lines) + "\n")
