"""The learning-rate schedule: linear warm-up, then half a cosine (Loshchilov and Hutter 2017) down to zero.

The rate depends on the step alone, so a resumed training needs no saved scheduler.
"""

from __future__ import annotations

import math

from minivess.training.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Learning rate of a step: linear warm-up to the peak, then a half cosine to zero at the end.

    Args:
        step: Number of finished optimizer steps.
        config: Configuration of the training.

    Returns:
        The rate of the next step, 0 to ``config.learning_rate``.
    """
    warmup = config.warmup_fraction * config.steps
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(config.steps - warmup, 1)
    return config.learning_rate * (1 + math.cos(math.pi * share)) / 2
