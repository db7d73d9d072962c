"""Results of checks, for users and programs: level, expected, got, cure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from minivess.errors import MinivessError, printable
from minivess.text import first_few

Level = Literal["critical", "warning", "info"]

_NAMES, _SHOWN = 5, 3
"""Up to ``_NAMES`` names are listed. Of more names, and of more than ``_SHOWN`` faults, only ``_SHOWN`` are listed."""


@dataclass(frozen=True)
class Finding:
    """One result of one check.

    Attributes:
        level: "critical" stops the run, "warning" is shown and the run continues, "info" is only shown.
        check: Short name of the check, e.g. "ram".
        what: Subject of the finding, as a phrase, e.g. "memory of the machine".
        expected: What the check requires; empty for information.
        got: What the check found, with the offending value.
        cure: What the user can do; empty if there is nothing to do.
    """

    level: Level
    check: str
    what: str
    expected: str
    got: str
    cure: str

    def __post_init__(self) -> None:
        for field in ("what", "expected", "got", "cure"):
            object.__setattr__(self, field, printable(getattr(self, field)))

    def __str__(self) -> str:
        """One line for a terminal or a log."""
        expected = f"expected {self.expected}; got " if self.expected else ""
        cure = f". Cure: {self.cure}" if self.cure else ""
        return " ".join(f"{self.level}: {self.check}: {self.what}: {expected}{self.got}{cure}".split())


def grouped(findings: Iterable[Finding], *, in_full: bool = False) -> list[Finding]:
    """Combine similar findings for display.

    Findings that differ only in their subject become one. More than three findings that also differ in ``got`` become
    one too, e.g. when each of forty volumes has a different number of NaN. The order is that of the first finding of
    each group.

    Args:
        findings: The findings.
        in_full: Whether every subject and every value is listed, for output that has no JSON with the details.
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
    """Subject and text of each line; ``found`` has the subjects of each text."""
    lines = [(_few(names), got) for got, names in found.items()]
    if len(lines) <= _SHOWN:
        return lines
    examples = "; ".join(f"{what}: {got}" for what, got in lines[:_SHOWN])
    return [(_few([name for names in found.values() for name in names]), f"{examples}; ...")]


def _few(names: list[str]) -> str:
    return first_few(names, _NAMES if len(names) <= _NAMES else _SHOWN)


def raise_critical(findings: Iterable[Finding], error: type[MinivessError]) -> None:
    """Raise ``error`` with all critical findings in one message; return if there are none."""
    critical = grouped((finding for finding in findings if finding.level == "critical"), in_full=True)
    if len(critical) == 1:
        only = critical[0]
        raise error(only.expected, f"{only.what}: {only.got}", only.cure)
    if critical:
        lines = "".join(f"\n  {finding}" for finding in critical)
        raise error("no critical findings", f"{len(critical)} of them:{lines}\n", "follow the cure of each finding")
