"""The metrics that can be compared, by name or title; without scipy, so that a misspelt one is said at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from minivess.suggestions import unknown


@dataclass(frozen=True)
class Metric:
    """What the literature calls a metric, which way is better, and its unit."""

    title: str
    higher_is_better: bool
    unit: str = ""

    @property
    def heading(self) -> str:
        """Title and unit, ``"MASD (µm)"``."""
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
"""All that can be compared, by the names that ``CaseMetrics`` has."""


def known_metrics(names: Iterable[str]) -> tuple[str, ...]:
    """Keys of ``METRICS``, each once, of names or of titles as a table prints them ("clDice", "MASD (µm)"), in any case.

    Raises:
        ConfigError: One is neither.
    """
    known: dict[str, str] = {}
    for key, metric in METRICS.items():
        for name in (key, metric.title, metric.heading):
            known.setdefault(name.casefold(), key)  # of two metrics with one title, the first
    found = []
    for name in names:
        if name.casefold() not in known:
            raise unknown("metric", name, dict.fromkeys([*METRICS, *(metric.title for metric in METRICS.values())]))
        found.append(known[name.casefold()])
    return tuple(dict.fromkeys(found))
