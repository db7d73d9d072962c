"""Estimate a mean difference from cases nested in groups and scored by repeated trainings.

The difference between two losses on case c of group g, in fold k and repeat r, is modelled as

    difference = mean + group[g] + case[c] + network[k, r] + rest[c, r]

A trained network predicts all cases of its fold, so its luck is shared by them: cases of one fold and repeat are not
independent, and more cases do not average it away. The estimate is the mean over groups of the mean over cases of the
mean over repeats. Its variance is the variance between groups divided by their number, plus the variance of the networks
that the groups do not already contain. Degrees of freedom are Satterthwaite's (1946).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean, how uncertain it is and how skewed. All fields have the leading shape of the values; single: ().

    Attributes:
        mean: Mean over groups.
        variance: Variance of the mean; 0 if all groups are equal.
        freedom: Degrees of freedom of the variance; 0 with one group.
        skewness: Skewness of the mean, from the skewness between groups; 0 with fewer than 3 groups.
    """

    mean: Any
    variance: Any
    freedom: Any
    skewness: Any


class Design:
    """Which group, fold and repeats each case has.

    Without groups each case is a group of its own.

    Args:
        groups: The group of each case.
        folds: The fold of each case.
        measured: Whether a case was scored in a repeat, bool (cases, repeats). Every case has at least one.
    """

    def __init__(self, groups: Sequence[Hashable], folds: Sequence[Hashable], measured: ArrayLike) -> None:
        self.names, self.group = _codes(groups)
        self.fold_names, self.fold = _codes(folds)
        self.measured = np.asarray(measured, bool)

    @classmethod
    def complete(cls, groups: Sequence[Hashable], folds: Sequence[Hashable], repeats: int) -> Design:
        """Return the design in which every case is scored in every repeat."""
        return cls(groups, folds, np.ones((len(groups), repeats), bool))

    @property
    def cases(self) -> int:
        """Number of cases."""
        return len(self.group)

    @property
    def groups(self) -> int:
        """Number of groups."""
        return len(self.names)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len(self.fold_names)

    @property
    def repeats(self) -> int:
        """The largest number of repeats of a case."""
        return int(self.measured.sum(axis=1).max())

    @property
    def grouped(self) -> bool:
        """Whether a group has several cases."""
        return self.groups < self.cases

    @property
    def repeated(self) -> bool:
        """Whether a fold was trained several times, so that the luck of training can be measured."""
        return self.network_freedom > 0

    @property
    def fold_of_group(self) -> list[int] | None:
        """The fold of each group; None if a group is in several folds."""
        places = set(zip(self.group.tolist(), self.fold.tolist(), strict=True))
        return [fold for _, fold in sorted(places)] if len(places) == self.groups else None

    @cached_property
    def weights(self) -> Values:
        """Weight of each case in the mean; the sum is 1."""
        return 1 / (self.groups * np.bincount(self.group)[self.group])

    @cached_property
    def fold_weights(self) -> Values:
        """Weight of each fold in the mean; the sum is 1."""
        return np.array([self.weights[self.fold == fold].sum() for fold in range(self.folds)])

    @cached_property
    def repeats_of_fold(self) -> NDArray[np.int64]:
        """Number of repeats of each fold."""
        return np.array([self.measured[self.fold == fold].any(axis=0).sum() for fold in range(self.folds)])

    @property
    def network_freedom(self) -> int:
        """Degrees of freedom of the variance between repeats."""
        return int((self.repeats_of_fold - 1).sum())

    @cached_property
    def network_share(self) -> float:
        """Share of the variance of the networks that the variance between groups does not contain, from 0 to 1.

        Groups of different folds have different networks, so their variance contains a part of it: all of it with one
        group per fold, none of it with one fold. If a group is in several folds, the whole variance is added.
        """
        squares = float((self.fold_weights**2).sum())
        if self.fold_of_group is None or self.groups == 1:
            return 1.0
        return min(1.0, max(0.0, 1 - (1 - squares) / ((self.groups - 1) * squares)))

    def case_means(self, values: Values) -> Values:
        """Return the mean over the repeats of each case, (..., cases)."""
        return np.where(self.measured, values, 0).sum(axis=-1) / self.measured.sum(axis=1)

    def group_means(self, values: Values) -> Values:
        """Return the mean over the cases of each group, (..., groups)."""
        share = np.zeros((self.cases, self.groups))
        share[np.arange(self.cases), self.group] = 1 / np.bincount(self.group)[self.group]
        return self.case_means(values) @ share

    def network_effects(self, values: Values) -> Values:
        """Return how far each fold and repeat is from the mean over the repeats of the fold, (..., folds, repeats)."""
        rest = np.where(self.measured, values - self.case_means(values)[..., None], 0)
        own = np.zeros((self.folds, self.cases))
        own[self.fold, np.arange(self.cases)] = self.weights
        return (own @ rest) / np.maximum(own @ self.measured, 1e-300)

    def network_variance(self, values: Values) -> Values:
        """Return the variance between the repeats of a fold, pooled over folds, of the mean over its cases."""
        return (self.network_effects(values) ** 2).sum(axis=(-1, -2)) / self.network_freedom

    def estimate(self, values: ArrayLike) -> Estimate:
        """Estimate the mean.

        Args:
            values: Differences, (..., cases, repeats). What was not measured is ignored.

        Returns:
            The estimate. With one group the variance is 0 with 0 degrees of freedom: it is not known.
        """
        array = np.asarray(values, float)
        groups = self.group_means(array)
        mean, n = groups.mean(axis=-1), self.groups
        if n == 1:
            return Estimate(mean, 0 * mean, 0 * mean, 0 * mean)
        deviations = groups - mean[..., None]
        between = (deviations**2).sum(axis=-1) / (n - 1) / n
        third = (deviations**3).sum(axis=-1) / ((n - 1) * (n - 2) * n) if n > 2 else 0 * mean
        networks = 0 * mean
        if self.repeated:
            spread = self.network_share * float((self.fold_weights**2 / self.repeats_of_fold).sum())
            networks = spread * self.network_variance(array)
        total = between + networks
        vary = total > (1e-12 * np.maximum(1, np.abs(groups).max(axis=-1))) ** 2  # below that it is rounding
        variance = np.where(vary, total, 1.0)
        parts = between**2 / (n - 1) + networks**2 / max(1, self.network_freedom)
        freedom = np.where(vary, variance**2 / np.where(vary, parts, 1.0), 0.0)
        return Estimate(mean, np.where(vary, total, 0.0), freedom, np.where(vary, third / variance**1.5, 0.0))


def _codes(names: Sequence[Hashable]) -> tuple[tuple[Hashable, ...], NDArray[np.int64]]:
    known = tuple(dict.fromkeys(names))
    numbers = {name: number for number, name in enumerate(known)}
    return known, np.array([numbers[name] for name in names])
