"""Intervals and confidence from an estimate: Student's t, wider on the side of a long tail.

The distance from the mean to a bound is q + max(0, a) standard errors, where q is the quantile of Student's t and
a = skewness (2 q^2 + 1) / 6, with the sign of the bound, is the first term of the Edgeworth expansion of t (Johnson 1978,
Hall 1992). The bound is moved outwards only: a skewness that is estimated from few groups never makes an interval
narrower. The skewness is doubled, because that of few groups is estimated too small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from minivess.statistics.nested import Estimate

_CAUTION = 2


def bounds(estimate: Estimate, level: float) -> tuple[Any, Any]:
    """Return the lower and the upper bound of the two-sided interval at ``level``; infinite without a variance."""
    known = np.asarray(estimate.freedom) > 0
    q = stats.t.ppf((1 + level) / 2, np.maximum(estimate.freedom, 0.1))
    error, term = np.sqrt(estimate.variance), _CAUTION * np.asarray(estimate.skewness) * (2 * q**2 + 1) / 6
    low = estimate.mean - error * (q + np.maximum(0, -term))
    high = estimate.mean + error * (q + np.maximum(0, term))
    return np.where(known, low, -np.inf)[()], np.where(known, high, np.inf)[()]


def confidence_above(estimate: Estimate, value: float) -> float:
    """Return the confidence that the true mean is above ``value``, from 0 to 1.

    This is the confidence distribution that belongs to ``bounds``: 1 - p of the one-sided test of the mean against
    ``value``. It is 0.5 at the mean. For a normal estimate it is also the posterior probability with a flat prior. It is
    not the probability of a difference in a single future case. Without a variance it is 0.5: nothing is known.
    """
    if not estimate.freedom > 0:
        return 0.5
    distance = float((estimate.mean - value) / np.sqrt(estimate.variance))
    skewness = max(0.0, -_CAUTION * float(np.sign(distance) * estimate.skewness))
    tail = _tail(abs(distance), skewness, float(estimate.freedom))
    return 1 - tail if distance > 0 else tail


def _tail(distance: float, skewness: float, freedom: float) -> float:
    """Return the one-sided p of a bound at ``distance`` standard errors: the q with q + skewness (2 q^2 + 1) / 6 = distance."""
    if skewness < 1e-9:
        return float(stats.t.sf(distance, freedom))
    a, c = skewness / 3, skewness / 6 - distance
    q = max(0.0, (np.sqrt(max(0.0, 1 - 4 * a * c)) - 1) / (2 * a))
    return float(stats.t.sf(q, freedom))
