"""The result types of a comparison of methods. They are frozen and can be written to JSON and read back."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from minivess.statistics.decision import Decision
from minivess.statistics.false_claims import FalseClaim
from minivess.statistics.resampling import Interval, PairedTest


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FoldScore(_Frozen):
    """Mean of one method over the held-out cases of one fold."""

    fold: int
    interval: Interval


class MethodScore(_Frozen):
    """The score of one method in one metric.

    Attributes:
        method: Name of the loss or baseline.
        baseline: Whether the method is a baseline.
        interval: Mean and interval over all held-out cases of the method.
        folds: Mean and interval for each fold.
        shared: Mean and interval over the cases that all losses share; the losses are ranked by this mean. None if the
            losses share no case or the method is missing one of these cases.
    """

    method: str
    baseline: bool
    interval: Interval
    folds: tuple[FoldScore, ...]
    shared: Interval | None


class Pair(_Frozen):
    """Two methods, compared on the cases that both have.

    Attributes:
        first: Name of the first method.
        second: Name of the second method.
        test: Test of first - second.
        p_holm: p, Holm-corrected: without a rule over all pairs of the metric; with a rule over the losses that are
            tested against the reference, or over the exploratory pairs.
        better: The method that is shown to be better at the level of the comparison; "" if no difference is shown.
        exploratory: Whether a rule was set and this pair is not part of it.
    """

    first: str
    second: str
    test: PairedTest
    p_holm: float
    better: str
    exploratory: bool = False

    @property
    def reversed(self) -> Pair:
        """The same pair with the two methods exchanged."""
        return self.model_copy(update={"first": self.second, "second": self.first, "test": self.test.reversed})


class MetricComparison(_Frozen):
    """The comparison in one metric.

    Attributes:
        metric: Key in ``METRICS``, or the name of another metric.
        title: Name in tables.
        higher_is_better: Whether a higher value is better.
        unit: Unit of the values; "" for a number without a unit.
        methods: The score of every method.
        pairs: The test of every pair of losses that share a case.
        shared_cases: Number of cases that all losses share.
        grouped: Whether the means are over groups of cases, such as animals, instead of cases.
        best: The loss with the best mean over the shared cases (the first in the table if means are equal); "" if the
            losses share no case. This is the best mean in this sample, not a proven difference: see ``pairs`` and
            ``verdict``.
        false_claim: Risk of claiming the loss with the best mean, by a published formula, on the shared cases; None with
            one loss or one case.
        verdict: Sentences with the conclusions.
        limits: Sentences about pairs that could not be tested and about too few cases.
    """

    metric: str
    title: str
    higher_is_better: bool
    unit: str
    methods: tuple[MethodScore, ...]
    pairs: tuple[Pair, ...]
    shared_cases: int
    best: str
    grouped: bool = False
    false_claim: FalseClaim | None = None
    verdict: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        """Title with unit, such as ``"MASD (µm)"``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def sample(self) -> str:
        """What the means are over: "group" or "case"."""
        return "group" if self.grouped else "case"

    @property
    def losses(self) -> tuple[MethodScore, ...]:
        """The scores of all methods except the baselines."""
        return tuple(score for score in self.methods if not score.baseline)

    def score(self, method: str) -> MethodScore:
        """Return the score of one method.

        Raises:
            KeyError: The method has no score.
        """
        return {score.method: score for score in self.methods}[method]

    def against_best(self, method: str) -> Pair | None:
        """Return the pair method - best, or None if this pair was not tested."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (method, self.best):
                return pair
            if (pair.first, pair.second) == (self.best, method):
                return pair.reversed
        return None


class EmptyCase(_Frozen):
    """A case with an empty mask: ``which`` is "prediction", "reference" or "both"."""

    method: str
    case: str
    which: str
    repeat: int = 1


class CentrelineGap(_Frozen):
    """The difference between clDice on complete centrelines and clDice on the Lee skeleton.

    Attributes:
        cases: Number of cases in which the two differ by more than 0.01 for a method.
        of: Number of cases.
        largest: The largest difference, without sign.
        method: The method with the largest difference.
        case: The case with the largest difference.
        leaders: The loss with the best mean in ``cldice`` and in ``centreline_dsc``; "" if the losses are not ranked.
    """

    cases: int
    of: int
    largest: float
    method: str
    case: str
    leaders: tuple[str, str]


class Comparison(_Frozen):
    """The comparison of all methods in all metrics.

    Attributes:
        methods: Names of all methods, including baselines, in the order of the table.
        baselines: Methods that are shown but not tested.
        elsewhere: Methods that were trained elsewhere; they are tested like losses.
        cases: Every case with a score of at least one method, sorted.
        folds: Every fold, sorted.
        groups: Every group of cases, such as animals, sorted; empty if the cases are not grouped.
        repeats: The largest number of repeats (trainings of one fold) of a method.
        level: Nominal coverage of all intervals. The significance level of the tests is 1 - level.
        metrics: One comparison per metric, in the requested order.
        missing: The missing cases of each method that does not have all of ``cases``.
        absent: Planned losses that have no case.
        empty: Cases with an empty mask. They count like any other case.
        centreline_gap: What the choice of the centreline changes; None if that is little or not known.
        decision: The answer by the rule; None without a rule, or while the reference loss has no scores.
        notes: Sentences that apply to all metrics.
        source: Digest of the cases and settings of this comparison. A run folder uses it to detect an outdated
            comparison.
    """

    methods: tuple[str, ...]
    baselines: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()
    cases: tuple[str, ...]
    folds: tuple[int, ...]
    groups: tuple[str, ...] = ()
    repeats: int = 1
    level: float
    metrics: tuple[MetricComparison, ...]
    missing: dict[str, tuple[str, ...]]
    absent: tuple[str, ...]
    empty: tuple[EmptyCase, ...]
    centreline_gap: CentrelineGap | None = None
    decision: Decision | None = None
    notes: tuple[str, ...] = ()
    source: str = ""

    @property
    def losses(self) -> tuple[str, ...]:
        """All methods except the baselines."""
        return tuple(method for method in self.methods if method not in self.baselines)

    def mark(self, method: str) -> str:
        """Return what a table says of a method next to its name: "baseline", "trained elsewhere" or nothing."""
        return "baseline" if method in self.baselines else "trained elsewhere" if method in self.elsewhere else ""

    @property
    def shared_cases(self) -> int | None:
        """Number of cases that all losses share; None if these are all cases or if there is no loss."""
        shared = self.metrics[0].shared_cases
        return shared if self.losses and shared < len(self.cases) else None

    def metric(self, name: str) -> MetricComparison:
        """Return the comparison in one metric.

        Raises:
            KeyError: The metric was not compared.
        """
        return {found.metric: found for found in self.metrics}[name]
