"""What a user can mend: every such error says what was expected, what was found, and the cure."""

from __future__ import annotations


class MinivessError(Exception):
    """Base of all errors that end a command with one clear message and a non-zero exit code.

    Args:
        expected: What the code needed, e.g. ``"a label for every volume"``.
        got: What it found instead, with the offending value or path.
        cure: What the user can do about it.
    """

    exit_code = 2

    def __init__(self, expected: str, got: str, cure: str) -> None:
        self.expected = expected
        self.got = got
        self.cure = cure
        end = "" if got.endswith("\n") else ". "
        super().__init__(f"expected {expected}; got {got}{end}Cure: {cure}")

    def __reduce__(self) -> tuple[type[MinivessError], tuple[str, str, str]]:
        return type(self), (self.expected, self.got, self.cure)  # crosses to another process whole


class ConfigError(MinivessError):
    """The configuration is not one that can run: unknown key, wrong type, contradiction."""


class DataError(MinivessError):
    """A file or a data set is not what it should be."""

    exit_code = 3


class PlanError(MinivessError):
    """What was asked does not fit the data, the model or the machine."""

    exit_code = 4


class RunError(MinivessError):
    """Training or evaluation ended without its result."""

    exit_code = 5
