"""The metrics that can be compared, by name or title. Does not import SciPy, so a misspelt name is reported quickly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from minivess.errors import ConfigError
from minivess.suggestions import did_you_mean


@dataclass(frozen=True)
class Metric:
    """How a metric is shown in tables and compared.

    Attributes:
        title: Name in the literature.
        higher_is_better: Whether a higher value is better.
        unit: Unit of the value; empty for a number without a unit.
        margin: Largest difference between two losses that does not matter, if the user gives none.
        spread: Standard deviation of the difference between two losses on one volume, measured on seven volumes
            (docs/benchmarks/statistics.md); used to plan a run if no earlier run was measured.
        highest: Largest possible value, if there is one. No metric can be below 0.
    """

    title: str
    higher_is_better: bool
    unit: str = ""
    margin: float = 0.01
    spread: float = 0.05
    highest: float = inf

    @property
    def heading(self) -> str:
        """Title with unit, such as ``"MASD (µm)"``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS = {
    "cldice": Metric("clDice", higher_is_better=True, highest=1),
    "dsc": Metric("DSC", higher_is_better=True, spread=0.03, highest=1),
    "centreline_dsc": Metric("clDice (Lee skeleton)", higher_is_better=True, highest=1),
    "measured_masd": Metric("MASD", higher_is_better=False, unit="µm", margin=0.1, spread=0.46),
    "measured_masd_voxel": Metric("MASD", higher_is_better=False, unit="voxels", margin=0.1, spread=0.3),
    "normalised_surface_distance": Metric("NSD", higher_is_better=True, spread=0.06, highest=1),
    "hausdorff_95": Metric("HD95", higher_is_better=False, unit="µm", margin=1, spread=2.5),
    "betti0_error": Metric("Betti-0 error", higher_is_better=False, margin=1, spread=170),
    "betti1_error": Metric("Betti-1 error", higher_is_better=False, margin=1, spread=145),
}
"""All metrics that can be compared. The keys are attributes of ``CaseMetrics``."""


_CONNECTIVITY = {
    "cldice": "clDice compares centrelines of 26-connected vessels",
    "centreline_dsc": "clDice compares centrelines of 26-connected vessels",
    "betti0_error": "Betti-0 counts 26-connected pieces",
    "betti1_error": "Betti-1 counts tunnels of 26-connected vessels in a 6-connected background",
}


def connectivity_note(names: Iterable[str]) -> str:
    """Return the sentence that a table with topology numbers has in its note: which voxels count as connected.

    Voxels are 26-connected if they share a corner, an edge or a face, and 6-connected if they share a face.

    Args:
        names: Names of the metrics in the table.

    Returns:
        One sentence, or nothing if no metric depends on connectivity.
    """
    parts = dict.fromkeys(_CONNECTIVITY[name] for name in names if name in _CONNECTIVITY)
    return f"Connectivity: {'; '.join(parts)}." if parts else ""


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
            raise _unknown(name)
        found.append(known[name.casefold()])
    return tuple(dict.fromkeys(found))


_OTHER_NAMES = {
    "dice": "dsc",
    "cl_dice": "cldice",
    "centerline_dice": "cldice",
    "f1": "dsc",
    "assd": "measured_masd",
    "surface_dice": "normalised_surface_distance",
}
"""Names of other tools for the same or the nearest metric; without separators."""


def _unknown(name: str) -> ConfigError:
    plain = name.casefold().replace(" ", "_").removesuffix("_score").removesuffix("_coefficient")
    titles = [metric.title for metric in METRICS.values()]
    near = _OTHER_NAMES.get(plain)
    cure = f"did you mean {near!r}?" if near else did_you_mean(name, dict.fromkeys([*METRICS, *titles]))
    return ConfigError(f"a known metric ({', '.join(METRICS)})", repr(name), cure or "use one of these names")
