"""Errors that a user can fix: each says what was expected, what was found, and the cure."""

from __future__ import annotations

import re
from typing import Any

from minivess.masking import mask_uri

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, which a terminal would obey instead of showing; line breaks and tabs are allowed."""


class MinivessError(Exception):
    """Base of all errors that end a command with one clear message and a non-zero exit code.

    Passwords and tokens in addresses are masked in it.

    Args:
        expected: What the code needed, e.g. ``"a label for every volume"``.
        got: What it found instead, with the offending value or path.
        cure: What the user can do about it.
    """

    exit_code = 2

    def __init__(self, expected: str, got: str, cure: str) -> None:
        expected, got, cure = (mask_uri(printable(text)) for text in (expected, got, cure))
        self.expected = expected
        self.got = got
        self.cure = cure
        end = "" if got.endswith("\n") else ". "
        super().__init__(f"expected {expected}; got {got}{end}Cure: {cure}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling keeps all attributes, also for subclasses with other arguments.
        return _rebuild, (type(self), self.args, self.__dict__)


def printable(text: str) -> str:
    """The text with ``\\xXX`` for each control character, and ``\\udcXX`` for each byte of a file name that is not UTF-8.

    Damaged files and odd names contain them, and neither can be printed.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", in_utf8(text))


def in_utf8(text: str) -> str:
    """The text with ``\\udcXX`` for each byte of a file name that is not UTF-8; such a character cannot be written."""
    return text.encode("utf-8", "backslashreplace").decode()


def _rebuild(kind: type[MinivessError], args: tuple[Any, ...], facts: dict[str, Any]) -> MinivessError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class ConfigError(MinivessError):
    """The configuration cannot be used: unknown key, wrong type, contradiction."""


class DataError(MinivessError):
    """A file or a data set is invalid or damaged."""

    exit_code = 3


class PlanError(MinivessError):
    """The requested settings do not fit the data, the model or the machine."""

    exit_code = 4


class RunError(MinivessError):
    """Training or evaluation ended without a result."""

    exit_code = 5
