"""Where the variance of a difference sits: between groups, volumes and trained networks; and what another design would have.

The variances are method-of-moments estimates of the model in `nested`. Negative ones are set to 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from minivess.statistics.nested import Design


@dataclass(frozen=True)
class Variances:
    """Variances of one difference, in the squared unit of the metric.

    Attributes:
        groups: Between groups (animals), of the mean of many cases of each; 0 without groups.
        cases: Between cases (volumes) of one group.
        networks: Between trainings of one fold, shared by all cases that a network predicts; None with one repeat,
            because it is then contained in the others.
        rest: Between trainings, of one case; 0 with one repeat.
    """

    groups: float
    cases: float
    networks: float | None
    rest: float

    def scaled(self, factor: float) -> Variances:
        """Return all variances times ``factor``."""
        networks = None if self.networks is None else factor * self.networks
        return Variances(factor * self.groups, factor * self.cases, networks, factor * self.rest)

    def grouped(self) -> Variances:
        """Return the variances with half of that between cases moved to between groups, if nothing is known of groups."""
        return self if self.groups else replace(self, groups=self.cases / 2, cases=self.cases / 2)


def measure_variances(design: Design, values: ArrayLike) -> Variances:
    """Estimate the variances of the model from the differences.

    Args:
        design: Groups, folds and repeats of the cases; at least two groups.
        values: Differences, (cases, repeats).
    """
    array = np.asarray(values, float)
    networks, rest = _of_training(design, array)
    luck = networks or 0.0
    repeats = float(np.mean(design.measured.sum(axis=1)))
    sizes = np.bincount(design.group)
    means, groups = design.case_means(array), design.group_means(array)
    squares = float((design.fold_weights**2).sum())
    contained = luck / repeats * (1 - squares) * design.groups / (design.groups - 1)
    between = float(groups.var(ddof=1)) - contained
    if not design.grouped:
        return Variances(0.0, max(0.0, between - rest / repeats), networks, rest)
    within = float(((means - groups[design.group]) ** 2).sum()) / (design.cases - design.groups)
    cases = max(0.0, within - rest / repeats)
    of_cases = (cases + rest / repeats) * float(np.mean(1 / sizes))
    return Variances(max(0.0, between - of_cases), cases, networks, rest)


def _of_training(design: Design, values: np.ndarray) -> tuple[float | None, float]:
    """Return the variance between networks and the rest."""
    if not design.repeated:
        return None, 0.0
    effects = design.network_effects(values)[design.fold]
    rest = np.where(design.measured, values - design.case_means(values)[:, None] - effects, 0)
    cases_of_fold = np.bincount(design.fold)
    freedom = int(((cases_of_fold - 1) * (design.repeats_of_fold - 1)).sum())
    residual = float((rest**2).sum()) / freedom if freedom else 0.0
    inside = residual * float(np.mean(1 / cases_of_fold))
    return max(0.0, float(design.network_variance(values)) - inside), residual


@dataclass(frozen=True)
class Plan:
    """The size of a study.

    Attributes:
        groups: Number of groups; of cases, without groups.
        cases: Cases in each group; 1 without groups.
        folds: Number of folds.
        repeats: Trainings of each fold.
    """

    groups: int
    cases: float
    folds: int
    repeats: int


def parts_of_variance(variances: Variances, plan: Plan) -> dict[str, float]:
    """Return what groups, cases, networks and the rest add to the variance of the mean of such a study."""
    squares = 1 / min(plan.folds, plan.groups)
    return {
        "groups": variances.groups / plan.groups,
        "cases": variances.cases / (plan.groups * plan.cases),
        "networks": (variances.networks or 0.0) * squares / plan.repeats,
        "rest": variances.rest / (plan.groups * plan.cases * plan.repeats),
    }


def predict_error(variances: Variances, plan: Plan) -> tuple[float, float]:
    """Return the expected standard error of the mean in such a study, and its degrees of freedom.

    It is the error that `Design.estimate` would find on average, from the same two parts.
    """
    parts, n = parts_of_variance(variances, plan), plan.groups
    squares = 1 / min(plan.folds, n)
    luck = (variances.networks or 0.0) / plan.repeats
    contained = luck * (1 - squares) / (n - 1)
    between = parts["groups"] + parts["cases"] + parts["rest"] + contained
    share = max(0.0, 1 - (1 - squares) / ((n - 1) * squares)) if plan.repeats > 1 else 0.0
    inside = variances.rest / plan.repeats / (n * plan.cases / min(plan.folds, n))
    networks = share * squares * (luck + inside)
    freedom_of_networks = max(1, min(plan.folds, n) * (plan.repeats - 1))
    total = between + networks
    if total <= 0:
        return 0.0, float(n - 1)
    return total**0.5, total**2 / (between**2 / (n - 1) + networks**2 / freedom_of_networks)
