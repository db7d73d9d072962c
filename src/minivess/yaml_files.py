"""Read and write YAML 1.2, in which ``yes`` is text, ``0100`` is one hundred and ``1:30`` is text.

Every YAML file of a user or of minivess is read here. A file that is too large or too deeply nested is refused before
anything is built from it.
"""

from __future__ import annotations

import io
import re
from datetime import date
from itertools import accumulate
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node

_LARGEST_BYTES = 2**18
_MOST_VALUES = 20_000
"""Most values of a file, with those that an alias repeats counted each time."""
_DEEPEST = 20
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and halves of characters, which no file name and no JSON file can contain."""
_MOST_BRACKETS = 1000
"""Most brackets that are open at the same time, with those in quoted text counted too."""


class YamlError(ValueError):
    """The text is not YAML that minivess reads; the message says why, in one line."""


def read_yaml(text: str | bytes) -> Any:
    """Read the value of a YAML document.

    Raises:
        YamlError: The text is not valid YAML 1.2, repeats a key in a group, has more than 256 KiB, more than 20,000
            values or more than 20 levels, or contains a date, a control character, or anything else that is not text, a
            number, true, false, null, a list or a group with keys of text.
    """
    try:
        value = _reader().load(_checked(text))
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that does not exist
        raise YamlError(_reason(error)) from error
    _require_plain(value)
    return value


def parse_tree(text: str | bytes) -> Node | None:
    """Parse a document that `read_yaml` accepts to its nodes, which know their lines."""
    node: Node | None = _reader().compose(_checked(text))
    return node


def line_of(node: Node | None, location: list[str]) -> int | None:
    """Return the line (from 1) of the key at ``location``, or of the group above a missing key; None if unknown."""
    line = None
    for part in location:
        if isinstance(node, MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == part), None)
            if found is None:
                return line if part != location[-1] else None
            line, node = found[0].start_mark.line + 1, found[1]
    return line


def to_yaml(value: Any, *, flow: bool | None = False, width: int = 80) -> str:
    """Return plain values as YAML text that `read_yaml` reads back as the same values.

    Args:
        value: Dictionaries, lists, numbers, text and None. Keys keep their order.
        flow: True writes everything in brackets, False nothing, None only the innermost lists and groups.
        width: Characters after which a line is broken.
    """
    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.allow_unicode, writer.width = flow, True, width
    writer.sort_base_mapping_type_on_output = False
    text = io.StringIO()
    writer.dump(value, text)
    return text.getvalue().removesuffix("...\n")


def _reader() -> YAML:
    return YAML(typ="safe", pure=True)


def _checked(text: str | bytes) -> str:
    if len(text) > _LARGEST_BYTES:
        raise YamlError(f"{len(text)} bytes, more than {_LARGEST_BYTES}")
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    opened = max(accumulate((letter in "[{") - (letter in "]}") for letter in text), default=0)
    if opened > _MOST_BRACKETS:  # reading these would take seconds
        raise YamlError(f"more than {_DEEPEST} levels")
    return text


def _require_plain(value: Any) -> None:
    """Require that a value is small, not deep, and can be written as JSON."""
    count = 0
    waiting = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        count += 1
        if depth > _DEEPEST:
            raise YamlError(f"more than {_DEEPEST} levels")
        if count > _MOST_VALUES:
            raise YamlError(f"more than {_MOST_VALUES} values")
        if isinstance(item, dict | list):
            for key in item if isinstance(item, dict) else ():
                _require_simple(key)
                if not isinstance(key, str):  # JSON would make text of it
                    raise YamlError(f"the key {key}, which is not text; write it in quotes")
            waiting += [(child, depth + 1) for child in (item.values() if isinstance(item, dict) else item)]
        else:
            _require_simple(item)


def _require_simple(item: Any) -> None:
    if isinstance(item, date):
        raise YamlError(f"the date {item}; write it in quotes if it is a name")
    if isinstance(item, str) and (found := _UNWRITABLE.search(item)):
        raise YamlError(f"the character {found[0]!a}; leave it out")
    if not isinstance(item, str | int | float | None):
        raise YamlError(f"a value of the type {type(item).__name__}; use text, numbers, lists and groups")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"more than {_DEEPEST} levels"
    if isinstance(error, DuplicateKeyError):
        key = str(error.problem).partition('"')[2].partition('"')[0]
        return f"line {error.problem_mark.line + 1} repeats the key {key!r}; write it once"
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    if problem and mark:
        return f"line {mark.line + 1}: {' '.join(str(problem).split())}"
    return " ".join(str(error).split())
