"""The result types of a decision: what is shown about each loss against the reference loss. Frozen; JSON and back."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from minivess.statistics.rule import ComparisonConfig


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VarianceSource(_Frozen):
    """One source of the uncertainty of a difference.

    Attributes:
        source: "groups" (animals), "cases" (volumes), "networks" (training again with another seed; shared by all cases
            that a network predicts) or "rest" (training again, of one case).
        standard_deviation: Of one difference, in the unit of the metric.
        share: Share of the variance of the mean difference of this study; the shares add up to 1.
    """

    source: Literal["groups", "cases", "networks", "rest"]
    standard_deviation: float
    share: float


class Need(_Frozen):
    """What would probably decide an undecided loss, if the true difference is the one that was measured.

    Attributes:
        what: "repeats" (train every fold again), "cases" (further volumes; in the present groups, if there are groups) or
            "groups" (further animals, with as many volumes as the others have on average).
        further: How many further ones; None if no reasonable number would do.
        volumes: How many volumes that are to be labelled; 0 for repeats.
        cheapest: Whether it is the cheapest. Repeats cost machine time only, volumes cost labelling.
        reason: Why no number would do, or why the number is not known; "" if there is one.
        known: Whether the number could be computed.
    """

    what: Literal["repeats", "cases", "groups"]
    further: int | None
    volumes: int = 0
    cheapest: bool = False
    reason: str = ""
    known: bool = True


class LossDecision(_Frozen):
    """What is shown about one loss against the reference loss.

    Attributes:
        method: The loss.
        against: The reference loss.
        verdict: "better" or "worse" by more than the margin, "equivalent" within the margin, or "undecided".
        shown: "better" or "worse" if a difference is shown at all, whatever its size; "" if not. With the verdict
            "undecided" it means: better (or worse), but not shown by more than the margin.
        difference: Mean of loss - reference over the groups (over the cases without groups), in the unit of the metric.
        low: Lower bound of the difference.
        high: Upper bound. A verdict is made if the whole interval is on its side of the margin.
        level: Level of this interval. It is higher than that of the rule if several losses are compared, so that all
            verdicts together have the level of the rule (Holm's method).
        known: Whether there is an interval; if not, ``reason`` says why.
        reason: Why there is no interval; "" if there is one.
        p_value: Smallest 1 - level of the rule at which a verdict would have been made, corrected by Holm's method.
        confidence_better: Confidence that the loss is better by more than the margin, from 0 to 1; not corrected for the
            number of losses. See `confidence.confidence_above` for what it means.
        confidence_worse: Confidence that it is worse by more than the margin.
        confidence_equivalent: Confidence that the difference is within the margin.
        cases: Number of cases that both losses have.
        groups: Number of groups; None without groups.
        repeats: Number of trainings of each fold that were used.
        about: "losses" if each fold was trained several times: then the statement includes the luck of training.
            "networks" if not: then it holds for these trained networks only.
        sources: Where the variance of the difference sits; empty without an interval.
        needs: What would probably decide it; empty if it is decided or if there is no interval.
        undone_by: The difference that one further group (case, without groups) must have, so that this verdict could
            not be made any more; None for "undecided".
        not_above: Baselines that this loss is not shown to be better than.
    """

    method: str
    against: str
    verdict: Literal["better", "worse", "equivalent", "undecided"]
    shown: Literal["better", "worse", ""]
    difference: float
    low: float
    high: float
    level: float
    known: bool
    reason: str
    p_value: float
    confidence_better: float
    confidence_worse: float
    confidence_equivalent: float
    cases: int
    groups: int | None
    repeats: int
    about: Literal["losses", "networks"]
    sources: tuple[VarianceSource, ...] = ()
    needs: tuple[Need, ...] = ()
    undone_by: float | None = None
    not_above: tuple[str, ...] = ()


class Decision(_Frozen):
    """The answer of a comparison with a rule.

    Attributes:
        rule: Primary metric, margin, reference loss and level.
        beforehand: Whether the rule was fixed before the run started.
        fixed: The rule that was fixed before the run started; None if there was none.
        losses: What is shown about each loss, in the order of the table; without the reference loss.
        untested: Losses that share no case with the reference loss.
        reference_not_above: Baselines that the reference loss is not shown to be better than.
        best: The loss that is shown to be better than the reference by more than the margin and has the best mean of
            these; the reference if every other loss is worse by more than the margin; "" if neither. Never a loss that
            is not shown to be better than every baseline.
        text: The answer in sentences.
    """

    rule: ComparisonConfig
    beforehand: bool
    fixed: ComparisonConfig | None
    losses: tuple[LossDecision, ...]
    untested: tuple[str, ...] = ()
    reference_not_above: tuple[str, ...] = ()
    best: str = ""
    text: tuple[str, ...] = ()

    def loss(self, method: str) -> LossDecision:
        """Return what is shown about one loss.

        Raises:
            KeyError: The loss was not compared with the reference.
        """
        return {found.method: found for found in self.losses}[method]
