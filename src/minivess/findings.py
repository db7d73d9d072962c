"""What a check found, for people and programs: expected, got, cure, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from minivess.errors import MinivessError

Level = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    Attributes:
        level: "critical" stops the run, "warning" is shown and the run goes on, "info" is worth a line.
        check: Short name of the check, e.g. "ram".
        what: What the finding is about, as a phrase, e.g. "memory of the machine".
        expected: What the check wanted; empty for mere information.
        got: What it found, with the offending value.
        cure: What the user can do; empty when there is nothing to do.
    """

    level: Level
    check: str
    what: str
    expected: str
    got: str
    cure: str

    def as_dict(self) -> dict[str, str]:
        """Plain values for JSON; ``Finding(**values)`` is the inverse."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for a terminal or a log."""
        expected = f"expected {self.expected}; got " if self.expected else ""
        cure = f". Cure: {self.cure}" if self.cure else ""
        return " ".join(f"{self.level}: {self.check}: {self.what}: {expected}{self.got}{cure}".split())


def raise_critical(findings: Iterable[Finding], error: type[MinivessError]) -> None:
    """Raises ``error`` with every critical finding in one message; returns when there is none."""
    critical = [finding for finding in findings if finding.level == "critical"]
    if len(critical) == 1:
        only = critical[0]
        what = "" if only.what in only.got else f" ({only.what})"
        raise error(only.expected, f"{only.got}{what}", only.cure)
    if critical:
        lines = "".join(f"\n  {finding}" for finding in critical)
        raise error("no critical finding", f"{len(critical)} of them:{lines}\n", "mend each one as its line says")
