"""Pydantic's validation errors as errors of minivess: expected, got and cure for the key at fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minivess.errors import ConfigError
from minivess.suggestions import did_you_mean

if TYPE_CHECKING:  # only for annotations: the supervisor must not import pydantic
    from pydantic import BaseModel, ValidationError
    from pydantic_core import ErrorDetails

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list, such as [a, b]",
    "too_short": "at least {min_length} of them",
    "dict": "a group of keys",
    "model": "a group of keys",
    "literal": "{expected}",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:.15g} or less",
}
"""What was expected, by pydantic's error type or its first word; other types keep pydantic's own message."""


def config_error(error: ValidationError, model: type[BaseModel], where: Callable[[list[str]], str]) -> ConfigError:
    """Convert the first fault to an error with expected, got and cure.

    Args:
        error: The validation error of ``model``.
        model: The model that was validated.
        where: Returns the place (e.g. file and line) where the key at a location was written.
    """
    # A misspelt required key is both missing and unknown. The second fault is more helpful, so it is preferred.
    first = min(error.errors(), key=lambda found: found["type"] == "missing")
    location = [str(part) for part in first["loc"]]
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):  # a list with a fixed length
        location.pop()
        return ConfigError(f"more values in {'.'.join(location)}", f"{first['input']} ({where(location)})", "add them")
    key, place = ".".join(location), where(location)
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        listed = f"use one of the keys {', '.join(known)}" if known else "leave it out"
        cure = did_you_mean(location[-1], known) or listed
        return ConfigError("a known key", f"{key!r} ({place})", cure)
    if first["type"] == "missing":
        return ConfigError(f"the key {key!r}", f"none ({place})", "add it")
    return ConfigError(f"{key}: {expected_text(first)}", f"{first['input']!r} ({place})", f"correct {key!r}")


def expected_text(found: ErrorDetails) -> str:
    """What the value should have been, as a phrase."""
    kind, values = found["type"], found.get("ctx", {})
    if kind == "value_error":  # raised by a validator of minivess
        return str(values["error"])
    phrase = _phrase(kind)
    return phrase.format(**values) if phrase else found["msg"]


def _phrase(kind: str) -> str | None:
    return _KINDS.get(kind) or _KINDS.get(kind.split("_")[0])


def first_fault(error: ValidationError) -> str:
    """Describe the first fault, for a message that already names the file."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{key}, which is not a known key"
    if first["type"] == "missing":
        return f"no key {key}"
    words = expected_text(first)
    return (
        f"{key} = {first['input']!r}, not {words}" if _phrase(first["type"]) else ": ".join(filter(None, [key, words]))
    )


def _keys_at(model: Any, location: list[str]) -> list[str]:
    """Keys of the group at ``location``; none if it is not itself a model, e.g. if it is in a list."""
    for part in location:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else None
    return list(getattr(model, "model_fields", {}))
