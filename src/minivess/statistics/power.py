"""How often a study would show a difference: simulated with the groups, cases, folds and repeats of a planned run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minivess.statistics.confidence import bounds
from minivess.statistics.nested import Design
from minivess.statistics.rule import ComparisonConfig
from minivess.statistics.variance import Variances

_SAMPLES, _MOST_VALUES = 2000, 2_000_000
_FOUND = 0.8
SHARES = Variances(groups=0.0, cases=0.5, networks=0.2, rest=0.3)
"""How the variance of the difference between two losses on one volume is shared, if it was not measured: seven volumes,
two seeds (docs/benchmarks/statistics.md). With groups, half of the part of the cases is between groups."""


@dataclass(frozen=True)
class Power:
    """What a planned study can show of one loss.

    Attributes:
        metric: The primary metric.
        margin: The margin.
        losses: Number of losses that are compared with the reference.
        cases: Number of cases.
        groups: Number of groups; None without groups.
        repeats: Trainings of each fold.
        difference: A true difference, five times the margin.
        found: Share of such studies that would show it to be larger than the margin.
        detectable: The true difference that would be shown to be larger than the margin in 80 of 100 such studies.
        equivalent: Share of such studies that would show equivalence if there is no difference.
        source: Where the variances come from.
    """

    metric: str
    margin: float
    losses: int
    cases: int
    groups: int | None
    repeats: int
    difference: float
    found: float
    detectable: float
    equivalent: float
    source: str


def simulate_power(
    design: Design, variances: Variances, rule: ComparisonConfig, losses: int, source: str, seed: int = 0
) -> Power | None:
    """Simulate studies of this design without a difference, and shift them.

    Args:
        design: Groups, folds and repeats of the cases.
        variances: The assumed variances of a difference between two losses.
        rule: The complete rule.
        losses: Number of losses that are compared with the reference; each interval then has a level of
            1 - (1 - level) / losses.
        source: Where the variances come from.
        seed: The same seed gives the same power.

    Returns:
        The power; None with fewer than two groups, because such a study shows nothing.
    """
    if design.groups < 2:
        return None
    margin = float(rule.margin or 0)
    level = 1 - (1 - rule.level) / max(1, losses)
    low, high = bounds(design.estimate(_draw(design, variances, np.random.default_rng(seed))), level)
    needed = margin - low  # the smallest true difference that this study would show to be larger than the margin
    return Power(
        metric=rule.primary,
        margin=margin,
        losses=losses,
        cases=design.cases,
        groups=design.groups if design.grouped else None,
        repeats=design.repeats,
        difference=5 * margin,
        found=float(np.mean(needed < 5 * margin)),
        detectable=float(np.quantile(needed, _FOUND)),
        equivalent=float(np.mean((low >= -margin) & (high <= margin))),
        source=source,
    )


def _draw(design: Design, variances: Variances, rng: np.random.Generator) -> np.ndarray:
    """Draw differences with a true mean of 0, (samples, cases, repeats)."""
    shape = design.measured.shape
    samples = max(200, min(_SAMPLES, _MOST_VALUES // (shape[0] * shape[1])))
    values = variances.groups**0.5 * rng.normal(size=(samples, design.groups))[:, design.group, None]
    values = values + variances.cases**0.5 * rng.normal(size=(samples, design.cases, 1))
    networks = (variances.networks or 0.0) ** 0.5 * rng.normal(size=(samples, design.folds, shape[1]))
    if not design.repeated:  # the difference is then that of these networks, which includes their luck
        networks = networks - (design.fold_weights @ networks)[:, None]
    return values + networks[:, design.fold] + variances.rest**0.5 * rng.normal(size=(samples, *shape))


def assumed_variances(spread: float) -> Variances:
    """Return variances from the standard deviation of the difference on one volume, shared as in ``SHARES``."""
    return SHARES.scaled(spread**2)
