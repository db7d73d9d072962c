"""The child process that predicts peaks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from minivess.errors import ConfigError, PlanError
from minivess.models.model_profile import NetworkSpec
from minivess.planning.memory.peak import predict_peak
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import TrainingWorkload


@pytest.fixture(scope="module")
def process() -> Iterator[PeakProcess]:
    started = PeakProcess()
    yield started
    started.close()


def _work(network: NetworkSpec, loss: str = "dice_ce") -> TrainingWorkload:
    return TrainingWorkload(network=network, loss=loss, patch=(8, 8, 4), batch=1, precision="fp32", device="cuda")


class TestPeak:
    def test_gives_the_same_peak_as_this_process_and_continues_after_an_error(
        self, process: PeakProcess, one_layer: NetworkSpec
    ) -> None:
        with pytest.raises(ConfigError, match="'dice_ce'"):
            process.peak(_work(one_layer, "dice_cc"))
        assert process.peak(_work(one_layer)) == predict_peak(_work(one_layer))

    def test_an_unexpected_end_is_an_error_with_the_exit_status(
        self, process: PeakProcess, one_layer: NetworkSpec
    ) -> None:
        with pytest.raises(PlanError, match="exit status 9"):
            process.peak(_work(one_layer.model_copy(update={"builder": "one_layer:die"})))

    def test_runs_in_the_environment_of_its_slot(self, one_layer: NetworkSpec) -> None:
        process = PeakProcess({"MINIVESS_TEST_STATUS": "7"})
        with pytest.raises(PlanError, match="exit status 7"):
            process.peak(_work(one_layer.model_copy(update={"builder": "one_layer:die"})))


class TestSeconds:
    def test_step_time_is_proportional_to_the_voxels(self, process: PeakProcess, one_layer: NetworkSpec) -> None:
        small = TrainingWorkload(
            network=one_layer, loss="dice_ce", patch=(128, 128, 32), batch=1, precision="fp32", device="cpu"
        )
        large = small.model_copy(update={"batch": 8})
        # In turns, and steps of tens of milliseconds, because the machine is busy: shorter ones take a time slice.
        rounds = [(process.seconds(small), process.seconds(large)) for _ in range(4)]
        once, eight = (min(seconds) for seconds in zip(*rounds, strict=True))
        assert 0 < once < 5
        assert 2 < eight / once < 32  # eight times as many voxels
