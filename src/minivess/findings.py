"""A finding: one thing that a check saw, in words that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from minivess.errors import MinivessError, PlanError

Level = Literal["critical", "warning", "info"]


@dataclass(frozen=True)
class Finding:
    """What a check saw.

    Attributes:
        level: "critical" stops a run before anything is spent, "warning" is shown, "info" is kept.
        check: Short name of the check, e.g. "ram" or "patch_divisible".
        what: What was looked at, e.g. the case or the axis.
        expected: What would have been right.
        got: What was there.
        cure: What the user can do; empty for level "info".
    """

    level: Level
    check: str
    what: str
    expected: str
    got: str
    cure: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        cure = f". Cure: {self.cure}" if self.cure else ""
        return f"{self.level}: {self.what}: expected {self.expected}; got {self.got}{cure}"


def raise_critical(findings: Iterable[Finding], error: type[MinivessError] = PlanError) -> None:
    """Raise one error that names every critical finding; return when there is none."""
    critical = [finding for finding in findings if finding.level == "critical"]
    if not critical:
        return
    raise error(
        expected="; ".join(f"{finding.what}: {finding.expected}" for finding in critical),
        got="; ".join(finding.got for finding in critical),
        cure="; ".join(dict.fromkeys(finding.cure for finding in critical)),
    )
