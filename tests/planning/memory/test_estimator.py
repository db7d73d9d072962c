"""What the estimator asks of the cache, and what it makes of the answers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from minivess.models.model_profile import NetworkSpec
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator
from minivess.planning.memory.workload import TrainingWorkload

LOSSES: dict[str, dict[str, Any]] = {"dice_ce": {}, "cbdice": {"iterations": 3}, "warp": {"strength": 2.0}}


class _Cache:
    """Answers with 5, 9 and 7 bytes, and with 2 seconds per forward pass."""

    def __init__(self) -> None:
        self.asked: list[TrainingWorkload] = []

    def peak(self, work: TrainingWorkload) -> int:
        self.asked.append(work)
        return {"dice_ce": 5, "cbdice": 9, "warp": 7}[work.loss]

    def seconds(self, work: TrainingWorkload) -> float:
        return 2.0


class TestEstimator:
    @pytest.mark.parametrize(("micro_batch", "accumulated"), [(2, True), (6, False)])
    def test_the_peak_is_that_of_the_costliest_loss(
        self, one_layer: NetworkSpec, micro_batch: int, accumulated: bool
    ) -> None:
        cache = _Cache()
        estimator = Estimator(LOSSES, cast(PeakCache, cache))
        assert estimator.step_bytes(one_layer, micro_batch, batch=6, precision="bf16", device="cuda") == 9
        assert {work.loss: work.loss_options for work in cache.asked} == LOSSES
        for work in cache.asked:
            assert (work.batch, work.accumulated, work.patch) == (micro_batch, accumulated, (8, 8, 4))
            assert (work.precision, work.device, work.network) == ("bf16", "cuda", one_layer)

    def test_a_step_of_three_passes_takes_three_times_as_long(self, one_layer: NetworkSpec) -> None:
        cache = cast(PeakCache, _Cache())
        seconds = Estimator(LOSSES, cache).step_seconds(one_layer, 2, batch=6, precision="fp32", device="cpu")
        assert seconds == dict.fromkeys(LOSSES, 6.0)
        elsewhere = Estimator(LOSSES, cache, timed=False)
        assert elsewhere.step_seconds(one_layer, 2, batch=6, precision="fp32", device="cpu") == {}
