from __future__ import annotations

import math

import pytest

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import PlanError
from minivess.geometry import Shape, round_down
from minivess.models.model_profile import ModelProfile, NetworkSpec, load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.fit import Fitted, fit_to_memory, halvings, shrink, smaller_patch
from minivess.planning.hardware import HardwareBudget
from minivess.planning.patch_policy import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.text import GIB

DYNUNET = load_model_profile("dynunet")


def _choose(bound: Shape) -> tuple[NetworkSpec, str]:
    strides = DYNUNET.plan_strides(bound, (1, 1, 5))
    return DYNUNET.spec((round_down(bound, strides.divisor),), strides), "chosen"


def _peak(network: NetworkSpec, micro_batch: int) -> int:
    return 1000 + 10 * micro_batch * math.prod(network.largest_patch)


def _fit(budget_bytes: int) -> Fitted:
    return fit_to_memory(_choose, (64, 64, 8), halvings(2), _peak, budget_bytes)


class TestFitToMemory:
    def test_a_plan_that_fits_is_not_changed(self) -> None:
        fitted = _fit(1000 + 10 * 2 * 64 * 64 * 8)
        assert (fitted.network.largest_patch, fitted.micro_batch, fitted.reason) == ((64, 64, 8), 2, "chosen")

    def test_the_batch_is_split_before_the_patch_shrinks(self) -> None:
        fitted = _fit(1000 + 10 * 64 * 64 * 8)
        assert (fitted.network.largest_patch, fitted.micro_batch) == ((64, 64, 8), 1)

    def test_then_the_patch_shrinks_in_plane_as_little_as_needed(self) -> None:
        budget_bytes = 1000 + 10 * 48 * 48 * 8
        fitted = _fit(budget_bytes)
        assert fitted.peak_bytes <= budget_bytes
        assert fitted.network.largest_patch == (40, 40, 8)  # the largest multiple of 8 with 5 % to spare
        assert fitted.reason != "chosen"

    def test_a_budget_too_small_for_any_patch_is_refused_with_a_cure(self) -> None:
        with pytest.raises(PlanError) as caught:
            _fit(5000)
        assert "model.filters" in caught.value.cure
        assert "plan.patch_size" not in caught.value.cure

    def test_a_negative_budget_is_refused(self) -> None:
        assert smaller_patch((64, 64, 8), (8, 8, 2), -0.1) == (16, 16, 8)
        with pytest.raises(PlanError, match=r"model\.filters"):
            _fit(-5000)

    def test_a_fixed_patch_is_never_reduced(self) -> None:
        with pytest.raises(PlanError, match=r"plan\.patch_size"):
            fit_to_memory(_choose, (64, 64, 8), [2], _peak, 1000 + 10 * 64 * 64 * 8, may_shrink=False)


SMALL = load_model_profile("dynunet", filters=(4, 8, 8))


def _plan(profile: DatasetProfile, request: PlanRequest, model: ModelProfile = SMALL) -> TrainingPlan:
    return compute_adaptive_profile(HardwareBudget.imagined(None, 16 * GIB), profile, model, request)


class TestShrink:
    def test_reduces_first_the_forward_pass_then_the_patch_and_never_the_batch(self, profile: DatasetProfile) -> None:
        request = PlanRequest(batch=4)
        first = _plan(profile, request)
        plans = [first]
        while (smaller := shrink(plans[-1], profile, SMALL, request)) is not None:
            plans.append(smaller)
        assert [plan.micro_batch for plan in plans[:4]] == [4, 2, 1, 1]
        assert {plan.batch for plan in plans} == {4}
        assert plans[2].patch == first.patch
        areas = [plan.patch[0] * plan.patch[1] for plan in plans[2:]]
        assert areas == sorted(areas, reverse=True)
        assert len(set(areas)) == len(areas) > 2
        assert "dry start" in plans[-1].reasons["patch"]

    def test_requested_values_are_never_reduced(self, profile: DatasetProfile) -> None:
        request = PlanRequest(batch=4, micro_batch=4, patch_size=(32, 32, 4))
        assert shrink(_plan(profile, request), profile, SMALL, request) is None

    def test_predictions_for_the_larger_plan_are_dropped(self, profile: DatasetProfile) -> None:
        plan = _plan(profile, PlanRequest()).model_copy(update={"peak_bytes": GIB, "step_seconds": {"dice_ce": 1.0}})
        smaller = shrink(plan, profile, SMALL, PlanRequest())
        assert smaller is not None
        assert (smaller.peak_bytes, smaller.step_seconds) == (None, {})


class TestBuckets:
    """Three patches of at most 147,456 voxels each: 192x192x4, 128x128x8, 96x96x16."""

    MODEL = load_model_profile("dynunet")
    REQUEST = PlanRequest(patch_policy="bucketed", compute="cpu", batch=1)
    PROFILE = DatasetProfile(
        folder="",
        volumes=tuple(
            VolumeStats(
                name=str(depth),
                image="",
                label=None,
                shape=(512, 512, depth),
                spacing_um=(0.99, 0.99, 5),
                dtype="uint8",
                stored_bytes=1,
                cached_bytes=1,
            )
            for depth in (5, 12, 30, 60, 110)
        ),
    )

    def test_shrinking_after_the_dry_start_keeps_every_depth(self) -> None:
        plan = _plan(self.PROFILE, self.REQUEST, self.MODEL)
        assert plan.network.patches == ((192, 192, 4), (128, 128, 8), (96, 96, 16))
        smaller = shrink(plan, self.PROFILE, self.MODEL, self.REQUEST)
        assert smaller is not None
        assert [patch[2] for patch in smaller.network.patches] == [4, 8, 16]
        assert math.prod(smaller.patch) <= math.prod(plan.patch) / 2

    def test_fitting_the_memory_budget_keeps_every_depth(self) -> None:
        def choose(bound: Shape) -> tuple[NetworkSpec, str]:
            patches, strides, reason = choose_patches(self.PROFILE, self.MODEL, self.REQUEST, bound)
            return self.MODEL.spec(patches, strides), reason

        def peak(network: NetworkSpec, micro_batch: int) -> int:
            return math.prod(network.largest_patch)

        fitted = fit_to_memory(choose, (96, 96, 16), [1], peak, 100_000)
        assert [patch[2] for patch in fitted.network.patches] == [4, 8, 16]
        assert fitted.peak_bytes <= 100_000
