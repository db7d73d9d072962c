"""Scores of older versions lack some metrics: which metric is used for all scores then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_BEFORE = {"cldice": "centreline_dsc"}
"""What older versions measured, by the metric that they lack."""


def shared_metric(metric: str, scores: Iterable[Mapping[str, Any]]) -> str:
    """Return the metric if all scores have it; otherwise the one that older versions measured.

    So all scores are compared in one metric, which is named: a value of one is never compared with a value of the
    other.

    Args:
        metric: Key of ``METRICS``.
        scores: Scores by metric, of any number of cases; a metric that was not measured is None or absent.
    """
    older = _BEFORE.get(metric)
    return older if older is not None and any(values.get(metric) is None for values in scores) else metric
