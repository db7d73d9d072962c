"""Tests of the estimated time of a run."""

from __future__ import annotations

import pytest

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.data.splits import make_splits
from minivess.experiments.config_file import make_config
from minivess.experiments.time_estimate import predict_seconds, windows
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.text import GIB, format_duration


@pytest.fixture
def plan(profile: DatasetProfile) -> TrainingPlan:
    request = PlanRequest(patch_size=(32, 32, 4), overlap=0.5, batch=2)
    model = load_model_profile("dynunet", filters=(8, 16))
    return compute_adaptive_profile(HardwareBudget.imagined(None, 16 * GIB), profile, model, request)


class TestWindows:
    def test_number_of_windows(self, profile: DatasetProfile, plan: TrainingPlan) -> None:
        volume: VolumeStats = profile.volumes[0].model_copy(update={"shape": (96, 96, 5)})
        assert windows(volume, plan) == 5 * 5 * 2  # 32 wide in steps of 16: at 0, 16 .. 64; 4 deep: at 0 and 1


class TestPredictSeconds:
    def test_more_steps_add_their_time(self, profile: DatasetProfile, plan: TrainingPlan) -> None:
        timed = plan.model_copy(update={"step_seconds": {"dice_ce": 0.5}})
        splits = make_splits(profile.volumes, 2, 0)
        values = {"name": "x", "losses": ["dice_ce"], "folds": 2}
        short, long = (
            predict_seconds(
                make_config(
                    {**values, "training": {"max_epochs": epochs, "steps_per_epoch": 10, "validate_every": 0}}, "here"
                ),
                profile,
                splits,
                timed,
            )
            for epochs in (1, 11)
        )
        assert list(short) == ["dice_ce-fold0", "dice_ce-fold1"]
        assert long["dice_ce-fold0"].total - short["dice_ce-fold0"].total == pytest.approx(100 * 0.5)

    def test_every_repeat_takes_as_long_as_the_first(self, profile: DatasetProfile, plan: TrainingPlan) -> None:
        timed = plan.model_copy(update={"step_seconds": {"dice_ce": 0.5}})
        config = make_config({"name": "x", "losses": ["dice_ce"], "folds": 2, "repeats": 2}, "here")
        seconds = predict_seconds(config, profile, make_splits(profile.volumes, 2, 0), timed)
        assert set(seconds) == {f"dice_ce-fold{fold}{end}" for fold in (0, 1) for end in ("", "-repeat2")}
        assert seconds["dice_ce-fold1-repeat2"] == seconds["dice_ce-fold1"]

    def test_no_timed_step_gives_no_estimate(self, profile: DatasetProfile, plan: TrainingPlan) -> None:
        config = make_config({"name": "x", "losses": ["dice_ce"]}, "here")
        assert predict_seconds(config, profile, make_splits(profile.volumes, 2, 0), plan) == {}


class TestFormatDuration:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(4.551, "4.6 s"), (59.4, "59 s"), (60, "1 min"), (325, "5 min 25 s"), (3600, "1 h"), (91_800, "25 h 30 min")],
    )
    def test_two_units_at_most(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text
