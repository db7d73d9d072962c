"""How sure a mean over cases is, and whether two methods differ on the same cases.

The test gives each case's difference a random sign. Its null is that the two methods are exchangeable case by case: then the
differences are symmetric about zero, and p is exact. Equal means are less than that. Where the differences are skewed, as when
one method fails on a few cases and is a little better on the others, it finds "a difference" too often: at 5 %, with 7, 24
and 70 cases, in 26, 11 and 8 % of such samples. No test that was tried has a cure at 7 cases: half of these samples hold
no failure at all (docs/benchmarks/statistics.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from minivess.errors import DataError
from minivess.text import format_together

SMALLEST_STRATUM = 5  # below it a stratum's own resampling hides most of its variance


@dataclass(frozen=True)
class Interval:
    """A mean over ``n`` cases and its confidence interval, in the unit of the values.

    With one case, or cases all equal, there is no interval: ``low`` and ``high`` are then the mean, ``resamples`` is 0,
    ``method`` says so.
    """

    mean: float
    low: float
    high: float
    level: float
    resamples: int
    method: str
    n: int

    @property
    def parts(self) -> tuple[str, str]:
        """The mean and "[low, high]" as people read them; in place of the bounds the reason why there are none."""
        mean, low, high = format_together(self.mean, self.low, self.high)
        return mean, f"[{low}, {high}]" if self.resamples else f"({self.method})"

    @property
    def too_narrow(self) -> bool:
        """Whether it is of so few cases that it covers far less than its level."""
        return bool(self.resamples) and self.n < SMALLEST_STRATUM

    @property
    def reversed(self) -> Interval:
        """The same of the values with their signs turned."""
        return replace(self, mean=0.0 - self.mean, low=0.0 - self.high, high=0.0 - self.low)  # of nothing, 0 and not -0

    def __str__(self) -> str:
        return " ".join(self.parts)


@dataclass(frozen=True)
class PairedTest:
    """Two methods, a and b, on the cases they share.

    Attributes:
        interval: Of the mean of a - b, as ``mean_interval`` gives it; not corrected for the number of pairs.
        p_value: Two-sided, above 0 and at most 1; not corrected.
        effect_size: Matched-pairs rank-biserial correlation (Kerby 2014): share of the ranks of the differences in favour
            of larger a minus the share in favour of larger b; -1 to 1, 0 when nothing differs.
        a_larger: On how many of them a exceeds b.
        b_larger: And b exceeds a; the rest are ties.
        smallest_p: The smallest p that this test can give with so many cases and resamples.
        method: How p was computed, in words.
    """

    interval: Interval
    p_value: float
    effect_size: float
    a_larger: int
    b_larger: int
    smallest_p: float
    method: str

    @property
    def difference(self) -> float:
        """Mean of a - b."""
        return self.interval.mean

    @property
    def n(self) -> int:
        """Number of cases."""
        return self.interval.n

    @property
    def parts(self) -> tuple[str, str]:
        """The difference with its sign, and its bounds or why there are none."""
        mean, bounds = self.interval.parts
        return f"{'+' * (self.difference >= 0)}{mean}", bounds

    @property
    def reversed(self) -> PairedTest:
        """The same test of b against a."""
        return replace(
            self,
            interval=self.interval.reversed,
            effect_size=0.0 - self.effect_size,
            a_larger=self.b_larger,
            b_larger=self.a_larger,
        )

    def __str__(self) -> str:
        return " ".join(self.parts)


def mean_interval(
    values: ArrayLike,
    folds: Sequence[int] | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """BCa bootstrap interval of the mean over cases (Efron 1987), resampled within folds.

    The level is widened for the sample size (Hesterberg 2015, "expanded percentile interval"), because a bootstrap
    otherwise treats n cases like infinitely many. Where a fold has fewer than 5 cases, all cases are one stratum.
    What a nominal 95 % covered in 2,000 simulations, 3 folds, normal (and log-normal, sigma 0.8) values: 95 % (93 %) with
    70 cases, 95 % (92 %) with 24, 94 % (89 %) with 7; below 5 cases it is far too narrow, 86 % with 4 and 50 % with 2, and
    says so in ``method``.

    Args:
        values: One finite score a case, at least one.
        folds: The fold of each case; none makes one stratum.
        level: Nominal coverage, between 0 and 1.
        resamples: Bootstrap resamples, at least 1,000 for a 95 % interval worth printing.
        seed: The same seed gives the same interval.

    Raises:
        DataError: No values, values that are not finite, or not one fold for each.
    """
    scores = _checked(values)
    mean = float(scores.mean())
    if len(scores) == 1:
        return Interval(mean, mean, mean, level, 0, "one case, no interval", 1)
    if np.ptp(scores) == 0:
        return Interval(mean, mean, mean, level, 0, "all cases equal, no interval", len(scores))
    strata = _strata(scores, folds)
    result = stats.bootstrap(
        strata,
        _pooled_mean,
        n_resamples=resamples,
        confidence_level=_expanded_level(level, len(scores), len(strata), resamples),
        method="BCa",
        random_state=np.random.default_rng(seed),
    )
    low, high = map(float, result.confidence_interval)
    method = "BCa bootstrap" + (", stratified by fold" if len(strata) > 1 else "")
    method += f" of {len(scores)} cases, too narrow" if len(scores) < SMALLEST_STRATUM else ""
    return Interval(mean, low, high, level, resamples, method, len(scores))


def paired_bootstrap_test(
    a: ArrayLike,
    b: ArrayLike,
    folds: Sequence[int] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedTest:
    """Do two methods differ in their mean over the same cases? Interval by ``mean_interval``, p by ``sign_flip_p_value``.

    Args:
        a: Scores of one method, one a case.
        b: Scores of the other, the same cases in the same order.
        folds: The fold of each case, for the interval.
        resamples: For p; the interval takes at most 2,000 of them.
        seed: The same seed gives the same result.
        level: Nominal coverage of the interval.

    Raises:
        DataError: No cases, values that are not finite, or lengths that differ.
    """
    first, second = _checked(a), _checked(b)
    if len(first) != len(second):
        raise DataError("the same cases for both methods", f"{len(first)} and {len(second)}", "pass shared cases only")
    differences = first - second
    exact = _is_exact(len(differences), resamples)
    patterns = f"all {2 ** len(differences)} patterns" if exact else f"{resamples} drawn"
    return PairedTest(
        interval=mean_interval(differences, folds, level, min(resamples, 2000), seed),
        p_value=sign_flip_p_value(differences, resamples, seed),
        effect_size=_rank_biserial(differences),
        a_larger=int((differences > 0).sum()),
        b_larger=int((differences < 0).sum()),
        smallest_p=2 / 2 ** len(differences) if exact else 1 / (resamples + 1),
        method=f"wild bootstrap of the paired differences with random signs (sign-flip test), {patterns}",
    )


def sign_flip_p_value(differences: ArrayLike, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of a mean difference of 0, by giving each case's difference a random sign.

    That is the wild bootstrap with Rademacher weights, the null imposed (Davidson and Flachaire 2008): if two methods are
    exchangeable, either could have produced either score of a case. Up to 13 cases (with 10,000 resamples) every pattern is
    counted and p is exact; above, patterns are drawn and p has the +1 correction. All differences zero, or one case: p = 1.

    False positives at a nominal 5 % in 4,000 simulations each of two methods with normal, bounded, heavy-tailed (t, 2 degrees
    of freedom) or log-normal scores, alike in both: 4.2 to 5.2 % with 7 cases, 4.6 to 5.1 % with 24, 4.6 to 5.2 % with 70. What
    differences that are skewed under the null cost is said above.
    """
    values = _checked(differences)
    n = len(values)
    if _is_exact(n, resamples):
        signs = np.array(list(product((1, -1), repeat=n)))
    else:
        signs = np.random.default_rng(seed).integers(0, 2, size=(resamples, n)) * 2 - 1
    rounding = 1e-12 * np.abs(values).sum()
    extreme = int((np.abs(signs @ values) >= abs(values.sum()) - rounding).sum())
    return extreme / len(signs) if _is_exact(n, resamples) else (extreme + 1) / (resamples + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Holm's step-down adjustment (1979) of a family of p values, in the order given; no p values give none."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return tuple(adjusted.tolist())


def can_stratify(sizes: Iterable[int]) -> bool:
    """Whether folds of so many cases are resampled each by itself; else all cases are one sample."""
    return min(sizes) >= SMALLEST_STRATUM


def _is_exact(n: int, resamples: int) -> bool:
    return 2**n <= resamples


def _strata(scores: NDArray[np.float64], folds: Sequence[int] | None) -> list[NDArray[np.float64]]:
    labels = np.zeros(len(scores), int) if folds is None else np.asarray(folds)
    if labels.shape != scores.shape:
        raise DataError("one fold for each value", f"{len(labels)} folds, {len(scores)} values", "pass a fold a case")
    strata = [scores[labels == fold] for fold in np.unique(labels)]
    can_vary = any(np.ptp(stratum) > 0 for stratum in strata)
    return strata if can_vary and can_stratify(map(len, strata)) else [scores]


def _pooled_mean(*strata: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    return sum(stratum.sum(axis) for stratum in strata) / sum(stratum.shape[axis] for stratum in strata)


def _expanded_level(level: float, n: int, strata: int, resamples: int) -> float:
    freedom = n - strata
    tail = stats.norm.cdf(np.sqrt(n / freedom) * stats.t.ppf((1 - level) / 2, freedom))
    return 1 - 2 * max(float(tail), 1 / (resamples + 1))


def _rank_biserial(differences: NDArray[np.float64]) -> float:
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 0.0
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise DataError("finite values, one a case", str(array), "score every case; no score is ever NaN or missing")
    return array
