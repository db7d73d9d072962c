"""Scores of a registered model, case by case, to compare it with another one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from statistics import fmean

from minivess.digests import unseal
from minivess.metrics.catalogue import METRICS
from minivess.tracking.client import TrackingError
from minivess.tracking.model_registry import ModelRegistry, Version

CASES, PROFILE = "cases.json", "profile.json"
"""Files of the run that are registered with a model."""


def read_scores(registry: ModelRegistry, version: Version, metric: str) -> dict[str, float]:
    """Return the score of each held-out case of a version.

    Raises:
        TrackingError: The file with the scores is missing or damaged.
    """
    try:
        content = json.loads(unseal(registry.read_evidence(version, CASES)))
        rows = content if isinstance(content, list) else content["rows"]  # a list in version 0.1
        return {str(row["case"]): float(row[metric]) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f"{CASES} as minivess wrote it",
            f"a damaged one of {version} ({error})",
            "register the run again (minivess track sync RUN)",
        ) from error


class Judge:
    """Decides which of two registered models is better on the cases that both were scored on.

    Args:
        registry: The registry of the models.
        metric: The metric to compare, a key of ``METRICS``.
    """

    def __init__(self, registry: ModelRegistry, metric: str) -> None:
        self._registry, self._metric = registry, metric
        self._known: dict[int, Mapping[tuple[str, str], float]] = {}

    def is_better(self, first: Version, second: Version) -> bool:
        """Whether the first has the better mean on the shared cases, or the second has no scores that can be read.

        Cases are shared if they have the same name and content. Without shared cases, no model is better.
        """
        ours, theirs = self._scores(first), self._scores(second)
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            return bool(ours) and not theirs
        difference = fmean(ours[case] for case in shared) - fmean(theirs[case] for case in shared)
        return difference > 0 if METRICS[self._metric].higher_is_better else difference < 0

    def _scores(self, version: Version) -> Mapping[tuple[str, str], float]:
        if version.number not in self._known:
            try:
                scores = read_scores(self._registry, version, self._metric)
                digests = _digests(self._registry, version)
                self._known[version.number] = {(case, digests.get(case, "")): scores[case] for case in scores}
            except TrackingError:
                self._known[version.number] = {}
        return self._known[version.number]


def _digests(registry: ModelRegistry, version: Version) -> dict[str, str]:
    """Return the digest of each volume and its label, by the name of the case."""
    try:
        volumes = json.loads(unseal(registry.read_evidence(version, PROFILE)))["volumes"]
        return {str(volume["name"]): str(volume.get("digest")) for volume in volumes}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrackingError(f"{PROFILE} as minivess wrote it", f"a damaged one of {version} ({error})") from error
