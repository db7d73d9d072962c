"""Convert values to JSON and back, in one way for every type that is saved; damaged files become errors with a cure.

Works for frozen dataclasses and for pydantic models. It imports neither pydantic nor numpy, because the supervisor uses
it too.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from minivess.atomic import write_text
from minivess.digests import seal, unseal
from minivess.errors import RunError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """The value as dictionaries, lists, numbers and strings, ready for JSON."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def from_plain(kind: Any, value: Any) -> Any:
    """The inverse of `to_plain`.

    Args:
        kind: A dataclass, a pydantic model, or a type made of these, tuples, lists, dictionaries, enums and basic
            types.
        value: Plain values, as JSON gives them. Keys that name a property of a dataclass are computed and therefore
            skipped.

    Raises:
        ValueError: The value is not of that kind; the message names the key.
    """
    if kind is Any:
        return value
    if hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass_from(kind, value)
    if origin in (Union, types.UnionType):
        return _first_that_fits(arguments, value)
    if origin is Literal:
        return _require(value in arguments, value, f"one of {', '.join(map(repr, arguments))}")
    if origin is tuple:
        _require(isinstance(value, list | tuple), value, "a list")
        if len(arguments) == 2 and arguments[1] is ...:
            return tuple(from_plain(arguments[0], item) for item in value)
        _require(len(value) == len(arguments), value, f"{len(arguments)} values")
        return tuple(from_plain(item_kind, item) for item_kind, item in zip(arguments, value, strict=True))
    if origin is list:
        return [from_plain(arguments[0], item) for item in _require(isinstance(value, list), value, "a list")]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _require(isinstance(value, dict), value, "a group of keys")
        return {key: from_plain(arguments[1], item) for key, item in value.items()}
    return _basic_from(kind, value)


def write_state(path: Path, value: Any) -> None:
    """Write a value as indented JSON with its digest (`minivess.digests`), atomically.

    Args:
        path: The file.
        value: A dataclass, a pydantic model or a dictionary.

    Raises:
        ValueError: It contains NaN or infinity, which other programs cannot read.
    """
    if hasattr(value, "model_dump_json"):
        text: str = value.model_dump_json(indent=2)
    else:
        text = json.dumps(to_plain(value), indent=2, allow_nan=False)
    write_text(path, seal(text + "\n"))


def to_line(values: Mapping[str, Any]) -> str:
    """Return a dictionary as one line of a journal, with its digest and a line break."""
    return seal(json.dumps(to_plain(values), allow_nan=False)) + "\n"


def from_line(line: str) -> dict[str, Any]:
    """Return the dictionary of one line of a journal.

    Raises:
        ValueError: The line is damaged. Lines of older versions have no digest and are not verified.
    """
    if line.startswith('{"epoch"'):
        return dict(_loads(line))
    if not line.startswith('{"digest"'):
        raise ValueError("it has no digest")
    return dict(_loads(unseal(line.removesuffix("\n"))))


def is_cut(line: str) -> bool:
    """Whether a line is only the beginning of a JSON object, such as one that a killed process left."""
    try:
        json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return line.startswith("{")
    return False


def read_state(path: Path, kind: type[T], cure: str) -> T:
    """Read a value from a JSON file (or a YAML file) that minivess has written.

    Args:
        path: The file.
        kind: See `from_plain`.
        cure: What the user can do if the file is damaged.

    Raises:
        RunError: The file does not exist, or it was damaged after it was written: it does not match its digest, is not
            JSON, or is not a value of that kind.
    """
    try:
        value: T = from_plain(kind, _parse(path))
    except OSError as error:
        raise RunError(
            "a run folder", f"no readable {path.name} in {path.parent}", "check the path of the run folder"
        ) from error
    except ValueError as error:
        raise RunError(f"{path.name} as minivess wrote it", f"{path}, damaged: {_reason(error)}", cure) from error
    return value


def _parse(path: Path) -> Any:
    text = unseal(path.read_text(encoding="utf-8"))
    if path.suffix != ".yaml" or text.startswith("{"):  # runs before version 0.1 have JSON in config.yaml
        return _loads(text)
    from minivess.yaml_files import read_yaml

    return read_yaml(text)


def _loads(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name}, which is not a number")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("too many levels") from error


def _dataclass_from(kind: type[Any], value: Any) -> Any:
    _require(isinstance(value, dict), value, "a group of keys")
    hints, known = get_type_hints(kind), {field.name: field for field in fields(kind)}
    given = {}
    for key, item in value.items():
        if key in known:
            given[key] = _named(key, hints[key], item)
        elif not isinstance(getattr(kind, key, None), property):
            raise ValueError(f"{key}, which is not a known key")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"no key {name}")
    return kind(**given)


def _named(key: str, kind: Any, value: Any) -> Any:
    try:
        return from_plain(kind, value)
    except ValueError as error:
        raise ValueError(f"{key}: {_reason(error)}") from error


def _first_that_fits(kinds: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in kinds:
        return None
    errors = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return from_plain(kind, value)
            except ValueError as error:
                errors.append(str(error))
    raise ValueError("; ".join(errors))


def _basic_from(kind: Any, value: Any) -> Any:
    if issubclass(kind, Enum):
        return kind(value)
    if kind is Path:
        return Path(_require(isinstance(value, str), value, "a path"))
    if kind is float:
        return float(_require(isinstance(value, int | float) and not isinstance(value, bool), value, "a number"))
    is_right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    return _require(is_right, value, {int: "a whole number", str: "text"}.get(kind, kind.__name__))


def _require(condition: bool, value: Any, expected: str) -> Any:
    if not condition:
        raise ValueError(f"{str(value)[:60]!r}, not {expected}")
    return value


def _reason(error: ValueError) -> str:
    if hasattr(error, "errors"):
        from minivess.validation_errors import first_fault

        return first_fault(error)  # type: ignore[arg-type]
    return " ".join(str(error).split())
