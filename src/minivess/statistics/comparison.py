"""What a comparison of methods found: frozen, printable, JSON both ways."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from minivess.metrics.catalogue import METRICS
from minivess.statistics.resampling import Interval, PairedTest


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FoldScore(_Frozen):
    """Mean of one method over one fold's held-out cases."""

    fold: int
    interval: Interval


class MethodScore(_Frozen):
    """One method in one metric, over all of its out-of-fold cases and fold by fold.

    ``shared`` is over the cases that all losses share, by which methods are ranked; None where it lacks one of them.
    """

    method: str
    baseline: bool
    interval: Interval
    folds: tuple[FoldScore, ...]
    shared: Interval | None


class Pair(_Frozen):
    """Two methods on the cases they share: ``test`` of first - second, ``p_holm`` over all pairs of the metric.

    ``better`` names the method that is shown to be better at the level of the comparison, "" where none is.
    """

    first: str
    second: str
    test: PairedTest
    p_holm: float
    better: str

    @property
    def reversed(self) -> Pair:
        """The same pair the other way round."""
        return self.model_copy(update={"first": self.second, "second": self.first, "test": self.test.reversed})


class MetricComparison(_Frozen):
    """One metric: every method's score, every pair of methods, and what may be concluded.

    ``best`` has the best mean over the cases that all compared methods share (the first in the table, on a tie); "" where
    they share none. It names the winner of this sample, not a proven one: see ``pairs`` and ``verdict``. ``limits`` says what
    could not be tested, and where so few cases can show nothing.
    """

    metric: str
    higher_is_better: bool
    unit: str
    methods: tuple[MethodScore, ...]
    pairs: tuple[Pair, ...]
    shared_cases: int
    best: str
    verdict: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return METRICS[self.metric].title

    @property
    def losses(self) -> tuple[MethodScore, ...]:
        """The scores of all methods but the baselines."""
        return tuple(score for score in self.methods if not score.baseline)

    def score(self, method: str) -> MethodScore:
        """The score of one method; KeyError where it has none."""
        return {score.method: score for score in self.methods}[method]

    def against_best(self, method: str) -> Pair | None:
        """The pair of a method and the best one, turned to method - best; None where that was not tested."""
        for pair in self.pairs:
            if (pair.first, pair.second) == (method, self.best):
                return pair
            if (pair.first, pair.second) == (self.best, method):
                return pair.reversed
        return None


class EmptyCase(_Frozen):
    """A case where the prediction, the reference or both have no foreground."""

    method: str
    case: str
    which: str


class Comparison(_Frozen):
    """All metrics of all methods.

    Attributes:
        methods: In the order of the table, baselines among them.
        baselines: Those that are shown and not tested.
        cases: Every case that any method scored.
        folds: Every fold, in order.
        level: Of all intervals; tests are judged at 1 - level.
        metrics: One comparison a metric, in the order asked for.
        missing: For each method that lacks any, the cases it lacks.
        absent: Losses that were to be compared and have no case.
        empty: Empty masks, which count like any case.
        notes: What holds for all metrics, in plain words.
        source: Digest of the cases and settings that it was made of, by which a run folder tells it from an older one.
    """

    methods: tuple[str, ...]
    baselines: tuple[str, ...]
    cases: tuple[str, ...]
    folds: tuple[int, ...]
    level: float
    metrics: tuple[MetricComparison, ...]
    missing: dict[str, tuple[str, ...]]
    absent: tuple[str, ...]
    empty: tuple[EmptyCase, ...]
    notes: tuple[str, ...] = ()
    source: str = ""

    @property
    def losses(self) -> tuple[str, ...]:
        """All methods but the baselines."""
        return tuple(method for method in self.methods if method not in self.baselines)

    @property
    def shared_cases(self) -> int | None:
        """How many cases all losses share, by which the best is found; None where these are all cases, or there is no loss."""
        shared = self.metrics[0].shared_cases
        return shared if self.losses and shared < len(self.cases) else None

    def metric(self, name: str) -> MetricComparison:
        """The comparison in one metric; KeyError where it was not asked for."""
        return {found.metric: found for found in self.metrics}[name]
