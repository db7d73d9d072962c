"""What a check found, for people and programs: expected, got, cure, and how bad it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from minivess.errors import MinivessError

Level = Literal["critical", "warning", "info"]

_NAMES, _SHOWN = 5, 3
"""As many names are shown one by one; of more of them, or of more kinds of fault, the first few."""


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

    def __str__(self) -> str:
        """One line for a terminal or a log."""
        expected = f"expected {self.expected}; got " if self.expected else ""
        cure = f". Cure: {self.cure}" if self.cure else ""
        return " ".join(f"{self.level}: {self.check}: {self.what}: {expected}{self.got}{cure}".split())


def grouped(findings: Iterable[Finding], *, in_full: bool = False) -> list[Finding]:
    """For people: findings that differ by nothing but their subject become one, and so do more than three that differ in
    what was found alone, as where each of forty volumes has another number of NaN. The order is that of the first of each.

    Args:
        findings: Any.
        in_full: Whether every subject is named and everything found is said, where no JSON has the rest.
    """
    kinds: dict[tuple[Level, str, str, str], dict[str, list[str]]] = {}
    for finding in findings:
        kind = (finding.level, finding.check, finding.expected, finding.cure)
        kinds.setdefault(kind, {}).setdefault(finding.got, []).append(finding.what)
    return [
        Finding(level, check, what, expected, got, cure)
        for (level, check, expected, cure), found in kinds.items()
        for what, got in ([(", ".join(names), got) for got, names in found.items()] if in_full else _lines(found))
    ]


def _lines(found: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Subject and finding of each line for the subjects of each finding."""
    lines = [(_few(names), got) for got, names in found.items()]
    if len(lines) <= _SHOWN:
        return lines
    examples = "; ".join(f"{what}: {got}" for what, got in lines[:_SHOWN])
    return [(f"{sum(map(len, found.values()))} volumes", f"{examples}; ...")]


def _few(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMES else f"{len(names)} volumes ({', '.join(names[:_SHOWN])}, ...)"


def raise_critical(findings: Iterable[Finding], error: type[MinivessError]) -> None:
    """Raises ``error`` with every critical finding in one message; returns when there is none."""
    critical = grouped((finding for finding in findings if finding.level == "critical"), in_full=True)
    if len(critical) == 1:
        only = critical[0]
        raise error(only.expected, f"{only.what}: {only.got}", only.cure)
    if critical:
        lines = "".join(f"\n  {finding}" for finding in critical)
        raise error("no critical finding", f"{len(critical)} of them:{lines}\n", "mend each one as its line says")
