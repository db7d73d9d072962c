"""What a race has decided: race.json in the run folder. A decision is written once and never taken again."""

from __future__ import annotations

from dataclasses import dataclass

from minivess.statistics.racing import Beaten
from minivess.text import counted, format_p_value, format_together


@dataclass(frozen=True)
class Round:
    """The decision at one share of the steps.

    Attributes:
        share: Share of the steps, between 0 and 1.
        step: The same as a number of optimizer steps.
        metric: Metric that was compared.
        reference: The loss that is never stopped.
        judged: Losses that were compared. Not among them are losses that were stopped before, and losses of which a cell
            has not reached the step because it failed.
        stopped: The losses that go no further.
        unit: What was counted as independent: "group" or "case".
    """

    share: float
    step: int
    metric: str
    reference: str
    judged: tuple[str, ...]
    stopped: tuple[Beaten, ...]
    unit: str = "case"


@dataclass(frozen=True)
class RaceRecord:
    """All decisions of a race, in order."""

    rounds: tuple[Round, ...] = ()

    @property
    def stopped(self) -> dict[str, tuple[Round, Beaten]]:
        """Each stopped loss, with the round that stopped it and why."""
        return {one.loss: (found, one) for found in self.rounds for one in found.stopped}

    def decided(self, step: int) -> bool:
        """Whether the decision at this step was taken."""
        return any(found.step == step for found in self.rounds)

    def why(self, loss: str) -> str:
        """A sentence that says when and why a loss was stopped."""
        found, one = self.stopped[loss]
        (difference,) = format_together(one.difference)
        return (
            f"{loss} was stopped by the race at {found.share:.0%} of its steps (step {found.step}): {one.leader} was "
            f"better in {found.metric} by {difference} on average over {counted(one.units, found.unit)} "
            f"(p = {format_p_value(one.p_holm)}, one-sided, corrected)."
        )
