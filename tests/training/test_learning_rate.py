from __future__ import annotations

import pytest

from minivess.training.config import TrainingConfig
from minivess.training.learning_rate import learning_rate

CONFIG = TrainingConfig(max_epochs=10, steps_per_epoch=10, learning_rate=1.0, warmup_fraction=0.1)


class TestLearningRate:
    def test_rises_to_its_peak_then_falls_to_zero(self) -> None:
        rates = [learning_rate(step, CONFIG) for step in range(101)]
        assert rates[0] == pytest.approx(1 / 11)
        assert rates[10] == 1.0
        assert rates[40] == pytest.approx(0.75)  # a third of the way: (1 + cos 60°) / 2
        assert rates[55] == pytest.approx(0.5)
        assert rates[100] == pytest.approx(0.0)

    def test_without_warm_up_it_starts_at_the_peak(self) -> None:
        assert learning_rate(0, CONFIG.model_copy(update={"warmup_fraction": 0.0})) == 1.0
