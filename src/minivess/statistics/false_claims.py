"""The probability that a claim of better performance is false, by the published formula.

Christodoulou et al. 2025, "False Promises in Medical Imaging AI? Assessing Validity of Outperformance Claims"
(arXiv 2505.04720; the tool is called Claims Reloaded), for segmentation: with means m, standard deviations s over the n
cases and the correlation r of the scores of the first-ranked method A and the second-ranked method B,

    P(A is not better than B) = T(sqrt(n) (m_B - m_A) / sqrt(s_A^2 + s_B^2 - 2 r s_A s_B)),

where T is the distribution function of Student's t with n - 1 degrees of freedom. With the scores of every case, as here,
nothing has to be assumed; it equals p of the one-sided paired t test. It takes cases as independent: groups and the luck
of training are not in it. The decision of `compare` has both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict
from scipy import stats

from minivess.text import format_p_value


class FalseClaim(BaseModel):
    """The risk of the claim that the method with the best mean is better than the second.

    Attributes:
        first: The method with the best mean.
        second: The method with the second-best mean.
        cases: Number of cases.
        probability: Probability that the first is not better, at most 0.5; above 0.05 the paper calls it high.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: str
    second: str
    cases: int
    probability: float


def false_claim_probability(first: ArrayLike, second: ArrayLike) -> float:
    """Return the probability that the first method is not better, from the scores of both on the same cases.

    Args:
        first: Scores of the method with the higher mean, at least two cases.
        second: Scores of the other method, in the same order.

    Returns:
        The probability. If all cases have the same difference it is 0; 0.5 if that difference is 0.
    """
    a, b = np.asarray(first, float), np.asarray(second, float)
    n, difference = len(a), float(a.mean() - b.mean())
    # s_A^2 + s_B^2 - 2 r s_A s_B; the covariance is r s_A s_B, and is also defined if a standard deviation is 0.
    (var_a, both), (_, var_b) = np.cov(a, b)
    variance = float(var_a + var_b - 2 * both)
    if variance <= (1e-12 * max(1.0, float(np.abs([a, b]).max()))) ** 2:
        return 0.0 if difference > 1e-12 else 0.5
    return float(stats.t.cdf(-(n**0.5) * difference / variance**0.5, n - 1))


def find_false_claim(scores: Mapping[str, ArrayLike], *, higher_is_better: bool) -> FalseClaim | None:
    """Return the risk of claiming the method with the best mean; None with one method or fewer than two cases.

    Args:
        scores: Scores of each method on the same cases in the same order.
        higher_is_better: Whether a higher score is better.
    """
    sign = 1 if higher_is_better else -1
    ranked = sorted(scores, key=lambda name: -sign * float(np.asarray(scores[name], float).mean()))
    if len(ranked) < 2 or len(np.asarray(scores[ranked[0]])) < 2:
        return None
    first, second = (sign * np.asarray(scores[name], float) for name in ranked[:2])
    probability = false_claim_probability(first, second)
    return FalseClaim(first=ranked[0], second=ranked[1], cases=len(first), probability=probability)


def false_claim_sentence(found: FalseClaim, title: str) -> str:
    """Return the risk as one sentence."""
    high = ", which is high (above 0.05)" if found.probability > 0.05 else ""
    return (
        f"{title}: the claim that {found.first} is better than {found.second} would be false with a probability of "
        f"{format_p_value(found.probability)}{high} (formula of Christodoulou et al. 2025, arXiv 2505.04720; "
        f"{found.cases} cases taken as independent)."
    )
