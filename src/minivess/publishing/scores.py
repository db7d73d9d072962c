"""Scores of a registered model, case by case, to compare it with another one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from minivess.digests import unseal
from minivess.metrics.catalogue import METRICS
from minivess.metrics.older_scores import shared_metric
from minivess.tracking.client import TrackingError
from minivess.tracking.model_registry import ModelRegistry, Version

CASES, PROFILE = "cases.json", "profile.json"
"""Files of the run that are registered with a model."""


Rows = Sequence[Mapping[str, Any]]
"""One row for each held-out case: its name as "case", and its scores by metric."""


def read_rows(registry: ModelRegistry, version: Version) -> Rows:
    """Read the scored cases of a version.

    Raises:
        TrackingError: The file with the scores is missing or damaged.
    """
    try:
        content = json.loads(unseal(registry.read_evidence(version, CASES)))
        rows = content if isinstance(content, list) else content["rows"]  # a list in version 0.1
        return [{**row, "case": str(row["case"])} for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(version, error) from error


def scores_of(rows: Rows, metric: str, version: Version) -> dict[str, float]:
    """Return the score of each case in one metric, averaged over its repeats.

    Raises:
        TrackingError: A row lacks the metric.
    """
    try:
        scores: dict[str, list[float]] = {}
        for row in rows:
            scores.setdefault(row["case"], []).append(float(row[metric]))
        return {case: fmean(values) for case, values in scores.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(version, error) from error


def _damaged(version: Version, error: Exception) -> TrackingError:
    return TrackingError(
        f"{CASES} as minivess wrote it",
        f"a damaged one of {version} ({error})",
        "register the run again (minivess track sync RUN)",
    )


class Judge:
    """Decides which of two registered models is better on the cases that both were scored on.

    Args:
        registry: The registry of the models.
        metric: The metric to compare, a key of ``METRICS``. If one of two models was scored before minivess measured
            it, both are compared in the metric that older versions measured.
    """

    def __init__(self, registry: ModelRegistry, metric: str) -> None:
        self._registry, self._metric = registry, metric
        self._known: dict[int, tuple[Rows, Mapping[str, str]]] = {}

    def is_better(self, first: Version, second: Version) -> bool:
        """Whether the first has the better mean on the shared cases, or the second has no scores that can be read.

        Cases are shared if they have the same name and content. Without shared cases, no model is better.
        """
        metric = shared_metric(self._metric, [*self._read(first)[0], *self._read(second)[0]])
        ours, theirs = self._scores(first, metric), self._scores(second, metric)
        shared = sorted(ours.keys() & theirs.keys())
        if not shared:
            return bool(ours) and not theirs
        difference = fmean(ours[case] for case in shared) - fmean(theirs[case] for case in shared)
        return difference > 0 if METRICS[metric].higher_is_better else difference < 0

    def _scores(self, version: Version, metric: str) -> Mapping[tuple[str, str], float]:
        rows, digests = self._read(version)
        try:
            scores = scores_of(rows, metric, version)
        except TrackingError:
            return {}
        return {(case, digests.get(case, "")): scores[case] for case in scores}

    def _read(self, version: Version) -> tuple[Rows, Mapping[str, str]]:
        if version.number not in self._known:
            try:
                self._known[version.number] = read_rows(self._registry, version), _digests(self._registry, version)
            except TrackingError:
                self._known[version.number] = [], {}
        return self._known[version.number]


def _digests(registry: ModelRegistry, version: Version) -> dict[str, str]:
    """Return the digest of each volume and its label, by the name of the case."""
    try:
        volumes = json.loads(unseal(registry.read_evidence(version, PROFILE)))["volumes"]
        return {str(volume["name"]): str(volume.get("digest")) for volume in volumes}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrackingError(f"{PROFILE} as minivess wrote it", f"a damaged one of {version} ({error})") from error
