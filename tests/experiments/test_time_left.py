"""Tests of the estimated time left, with a clock that the test sets."""

from __future__ import annotations

import pytest

from minivess.experiments.time_estimate import CellSeconds
from minivess.experiments.time_left import TimeLeft

PREDICTED = {f"dice_ce-fold{fold}": CellSeconds(start=10, training=100, evaluation=30) for fold in (0, 1)}


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def left(clock: Clock) -> TimeLeft:
    return TimeLeft(PREDICTED, list(PREDICTED), now=clock)


class TestTimeLeft:
    def test_before_the_first_step_it_is_the_prediction(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        clock.seconds = 5
        assert left.of_cell("dice_ce-fold0") == 135
        assert left.of_run() == 135 + 140

    def test_the_rate_of_training_is_measured(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        for seconds, step in ((20, 0), (60, 10)):  # 4 s per step, not 2
            clock.seconds = seconds
            left.progress("dice_ce-fold0", "train", step, 50)
        slowness = (60 + 160) / 110  # until the last step, against 110 s predicted
        assert left.of_cell("dice_ce-fold0") == pytest.approx(160 + 30 * slowness)
        assert left.of_run() == pytest.approx(160 + 30 * slowness + 140 * slowness)

    def test_the_later_half_of_the_steps_gives_the_rate(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        for seconds, step in ((10, 0), (60, 10), (70, 20)):  # 5 s per step, then 1 s
            clock.seconds = seconds
            left.progress("dice_ce-fold0", "train", step, 50)
        slowness = (70 + 30) / 110
        assert left.of_cell("dice_ce-fold0") == pytest.approx(30 + 30 * slowness)

    def test_a_long_training_is_remembered_with_few_points(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        for step in range(5001):
            clock.seconds = 10 + 2 * step
            left.progress("dice_ce-fold0", "train", step, 6000)
        left.end("dice_ce-fold1", was_finished=True)
        slowness = (10010 + 1998) / 110
        assert left.of_cell("dice_ce-fold0") == pytest.approx(1998 + 30 * slowness, rel=0.01)

    def test_a_look_at_a_volume_between_two_epochs_is_not_the_evaluation(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        for seconds, step in ((10, 0), (20, 10)):
            clock.seconds = seconds
            left.progress("dice_ce-fold0", "train", step, 50)
        left.progress("dice_ce-fold0", "predict mv01", 50, 100)
        assert left.of_cell("dice_ce-fold0") == pytest.approx(40 + 30 * 60 / 110)

    def test_evaluation_counts_down_by_cases(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        left.progress("dice_ce-fold0", "train", 0, 50)
        clock.seconds = 100
        left.progress("dice_ce-fold0", "train", 50, 50)
        left.progress("dice_ce-fold0", "score", 0, 4)
        clock.seconds = 112
        left.progress("dice_ce-fold0", "score", 1, 4)
        assert left.of_cell("dice_ce-fold0") == pytest.approx(36)  # 12 s a case, three cases left

    def test_evaluation_takes_as_much_longer_as_that_of_finished_cells_did(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        for seconds, stage, done, total in (
            (10, "train", 0, 50),
            (110, "train", 50, 50),
            (110, "predict mv01", 0, 100),
        ):
            clock.seconds = seconds
            left.progress("dice_ce-fold0", stage, done, total)
        clock.seconds = 200  # 90 s after training, not 30
        left.end("dice_ce-fold0", was_finished=False)
        left.start("dice_ce-fold1")
        for seconds, step in ((210, 0), (220, 5)):
            clock.seconds = seconds
            left.progress("dice_ce-fold1", "train", step, 50)
        assert left.of_cell("dice_ce-fold1") == 90 + 90

    def test_cells_that_wait_take_as_much_longer_as_finished_ones_did(self, left: TimeLeft, clock: Clock) -> None:
        left.start("dice_ce-fold0")
        clock.seconds = 280
        left.end("dice_ce-fold0", was_finished=False)
        assert left.of_run() == pytest.approx(280)

    def test_finished_cells_of_the_same_loss_tell_more_than_others(self, clock: Clock) -> None:
        predicted = PREDICTED | {f"warp-fold{fold}": CellSeconds(10, 200, 30) for fold in (0, 1)}
        left = TimeLeft(predicted, list(predicted), now=clock)
        for name, seconds in (("dice_ce-fold0", 140), ("dice_ce-fold1", 140), ("warp-fold0", 120)):
            left.start(name)
            clock.seconds += seconds
            left.end(name, was_finished=False)
        assert left.of_run() == 120

    def test_a_cell_that_nothing_is_known_of_gives_no_estimate(self, clock: Clock) -> None:
        left = TimeLeft({}, ["warp-fold0", "warp-fold1"], now=clock)
        left.start("warp-fold0")
        assert left.of_run() is None
        clock.seconds = 3
        left.end("warp-fold0", was_finished=False)
        assert left.of_run() == 3

    def test_a_baseline_takes_seconds(self, clock: Clock) -> None:
        assert TimeLeft({}, ["threshold-fold0"], now=clock).of_run() == 5

    def test_two_cells_at_a_time_take_half(self, clock: Clock) -> None:
        left = TimeLeft(PREDICTED, list(PREDICTED), at_a_time=2, now=clock)
        for name in PREDICTED:
            left.start(name)
        assert left.of_run() == 140
