"""The metrics that can be compared, by name or title. Does not import SciPy, so a misspelt name is reported quickly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from minivess.suggestions import unknown


@dataclass(frozen=True)
class Metric:
    """How a metric is shown in tables and compared.

    Attributes:
        title: Name in the literature.
        higher_is_better: Whether a higher value is better.
        unit: Unit of the value; empty for a number without a unit.
    """

    title: str
    higher_is_better: bool
    unit: str = ""

    @property
    def heading(self) -> str:
        """Title with unit, such as ``"MASD (µm)"``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS = {
    "dsc": Metric("DSC", higher_is_better=True),
    "centreline_dsc": Metric("clDice", higher_is_better=True),
    "measured_masd": Metric("MASD", higher_is_better=False, unit="µm"),
    "measured_masd_voxel": Metric("MASD", higher_is_better=False, unit="voxels"),
    "normalised_surface_distance": Metric("NSD", higher_is_better=True),
    "hausdorff_95": Metric("HD95", higher_is_better=False, unit="µm"),
    "betti0_error": Metric("Betti-0 error", higher_is_better=False),
    "betti1_error": Metric("Betti-1 error", higher_is_better=False),
}
"""All metrics that can be compared. The keys are attributes of ``CaseMetrics``."""


def known_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Convert names or titles of metrics to keys of ``METRICS``, each once.

    Args:
        names: Keys, titles or headings as printed in tables ("clDice", "MASD (µm)"), in upper or lower case. If two
            metrics have the same title, it selects the first.

    Returns:
        Keys of ``METRICS``, in the order of ``names``.

    Raises:
        ConfigError: A name is unknown.
    """
    known: dict[str, str] = {}
    for key, metric in METRICS.items():
        for name in (key, metric.title, metric.heading):
            known.setdefault(name.casefold(), key)
    found = []
    for name in names:
        if name.casefold() not in known:
            raise unknown("metric", name, dict.fromkeys([*METRICS, *(metric.title for metric in METRICS.values())]))
        found.append(known[name.casefold()])
    return tuple(dict.fromkeys(found))
