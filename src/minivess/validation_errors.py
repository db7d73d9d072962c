"""What pydantic refuses, in our words: expected, got, cure, for the key at fault."""

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
"""By how pydantic's types of error begin; whatever is not here is said as pydantic says it."""


def config_error(error: ValidationError, model: type[BaseModel], where: Callable[[list[str]], str]) -> ConfigError:
    """The first fault as an error for people.

    Args:
        error: Of ``model``.
        model: Whose keys those are.
        where: Says where the key at a location was written.
    """
    # A misspelt key that must be there is both missing and unknown: the latter says more.
    first = min(error.errors(), key=lambda found: found["type"] == "missing")
    location = [str(part) for part in first["loc"]]
    if first["type"] == "missing" and isinstance(first["loc"][-1], int):  # of a list with a fixed length
        location.pop()
        return ConfigError(f"more values in {'.'.join(location)}", f"{first['input']} ({where(location)})", "add them")
    key, place = ".".join(location), where(location)
    if first["type"] == "extra_forbidden":
        known = _keys_at(model, location[:-1])
        listed = f"known keys: {', '.join(known)}" if known else "leave it out"
        cure = did_you_mean(location[-1], known) or listed
        return ConfigError("a known key", f"{key!r} ({place})", cure)
    if first["type"] == "missing":
        return ConfigError(f"the key {key!r}", f"none ({place})", "add it")
    return ConfigError(f"{key}: {expected_text(first)}", f"{first['input']!r} ({place})", f"mend {key!r}")


def expected_text(found: ErrorDetails) -> str:
    """What was expected."""
    kind, values = found["type"], found.get("ctx", {})
    if kind == "value_error":  # said by a validator of ours
        return str(values["error"])
    words = _words(kind)
    return words.format(**values) if words else found["msg"]


def _words(kind: str) -> str | None:
    return _KINDS.get(kind) or _KINDS.get(kind.split("_")[0])


def first_fault(error: ValidationError) -> str:
    """What the first fault is, for a message that names the file itself."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return f"{key}, which is no known key"
    if first["type"] == "missing":
        return f"no {key}"
    words = expected_text(first)
    return (
        f"{key} = {first['input']!r}, not {words}" if _words(first["type"]) else ": ".join(filter(None, [key, words]))
    )


def _keys_at(model: Any, location: list[str]) -> list[str]:
    """Keys of the group at ``location``; none where that is not a model's own group, as in a list."""
    for part in location:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else None
    return list(getattr(model, "model_fields", {}))
