"""Smaller plans."""

from __future__ import annotations

from minivess.data.profiler import DatasetProfile
from minivess.models.registry import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.shrink import shrink
from minivess.sizes import GIB

MODEL = load_model_profile("dynunet", filters=(4, 8, 8))


def _plan(profile: DatasetProfile, request: PlanRequest) -> TrainingPlan:
    return compute_adaptive_profile(HardwareBudget.imagined(None, 16 * GIB), profile, MODEL, request)


class TestShrink:
    def test_first_the_forward_pass_then_the_patch_never_the_batch(self, profile: DatasetProfile) -> None:
        request = PlanRequest(batch=4)
        first = _plan(profile, request)
        plans = [first]
        while (smaller := shrink(plans[-1], profile, MODEL, request)) is not None:
            plans.append(smaller)
        assert [plan.micro_batch for plan in plans[:4]] == [4, 2, 1, 1]
        assert {plan.batch for plan in plans} == {4}
        assert plans[2].patch == first.patch
        areas = [plan.patch[0] * plan.patch[1] for plan in plans[2:]]
        assert areas == sorted(areas, reverse=True)
        assert len(set(areas)) == len(areas) > 2
        assert "after the dry start ran out of memory" in plans[-1].reasons["patch"]

    def test_what_was_asked_for_is_a_contract(self, profile: DatasetProfile) -> None:
        request = PlanRequest(batch=4, micro_batch=4, patch_size=(32, 32, 4))
        assert shrink(_plan(profile, request), profile, MODEL, request) is None

    def test_predictions_for_the_larger_plan_are_dropped(self, profile: DatasetProfile) -> None:
        plan = _plan(profile, PlanRequest()).model_copy(update={"peak_bytes": GIB, "step_seconds": {"dice_ce": 1.0}})
        smaller = shrink(plan, profile, MODEL, PlanRequest())
        assert smaller is not None
        assert (smaller.peak_bytes, smaller.step_seconds) == (None, {})
