"""The rule of a comparison: which metric decides, how large a difference matters, against which loss, how surely."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator

from minivess.errors import ConfigError
from minivess.metrics.catalogue import METRICS, Metric, known_metrics
from minivess.settings import Settings
from minivess.suggestions import did_you_mean


class ComparisonConfig(Settings):
    """How losses are compared, fixed before the run starts."""

    primary: str = Field(default="cldice", description="the metric that decides; it is compared even if not in metrics")
    margin: float | None = Field(
        default=None,
        gt=0,
        le=1e6,
        description="largest difference in the primary metric that does not matter, in its unit; None is 0.01 for scores "
        "from 0 to 1, 0.1 for MASD, and 1 for HD95 and Betti errors",
    )
    against: str | None = Field(
        default=None,
        description="the reference loss that each other loss is compared with; None is dice_ce, or the first loss",
    )
    level: float = Field(
        default=0.95, ge=0.5, le=0.999, description="confidence of all verdicts of this comparison together"
    )

    @field_validator("primary")
    @classmethod
    def _key(cls, name: str) -> str:
        """Return the key of a metric; the name of a metric that is not in ``METRICS`` stays (`minivess compare --csv`)."""
        try:
            return known_metrics([name])[0]
        except ConfigError:
            return name

    def completed(self, losses: Sequence[str]) -> ComparisonConfig:
        """Return the rule with every value that was left out.

        Raises:
            ValueError: ``against`` is none of the losses.
        """
        against = self.against or ("dice_ce" if "dice_ce" in losses else losses[0])
        if against not in losses:
            cure = did_you_mean(against, losses) or "set comparison.against to one of them"
            raise ValueError(
                f"against: one of the losses of this experiment ({', '.join(losses)}), not {against}; {cure}"
            )
        usual = METRICS[self.primary].margin if self.primary in METRICS else Metric("", higher_is_better=True).margin
        margin = usual if self.margin is None else self.margin
        return self.model_copy(update={"against": against, "margin": margin})
