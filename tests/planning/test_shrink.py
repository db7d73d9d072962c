"""Smaller plans."""

from __future__ import annotations

import math

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.models.registry import ModelProfile, NetworkSpec, load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.fit import fit_to_memory
from minivess.planning.hardware import HardwareBudget
from minivess.planning.patches import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.shrink import shrink
from minivess.sizes import GIB
from minivess.strides import Shape

MODEL = load_model_profile("dynunet", filters=(4, 8, 8))


def _plan(profile: DatasetProfile, request: PlanRequest, model: ModelProfile = MODEL) -> TrainingPlan:
    return compute_adaptive_profile(HardwareBudget.imagined(None, 16 * GIB), profile, model, request)


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


class TestBuckets:
    """Three patches of about 147,456 voxels each: 192x192x4, 128x128x8, 96x96x16."""

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

    def test_the_dry_start_keeps_every_depth(self) -> None:
        plan = _plan(self.PROFILE, self.REQUEST, self.MODEL)
        assert plan.network.patches == ((192, 192, 4), (128, 128, 8), (96, 96, 16))
        smaller = shrink(plan, self.PROFILE, self.MODEL, self.REQUEST)
        assert smaller is not None
        assert [patch[2] for patch in smaller.network.patches] == [4, 8, 16]
        assert math.prod(smaller.patch) <= math.prod(plan.patch) / 2

    def test_the_memory_budget_keeps_every_depth(self) -> None:
        def choose(bound: Shape) -> tuple[NetworkSpec, str]:
            patches, strides, reason = choose_patches(self.PROFILE, self.MODEL, self.REQUEST, bound)
            return self.MODEL.spec(patches, strides), reason

        def peak(network: NetworkSpec, micro_batch: int) -> int:
            return math.prod(network.largest_patch)

        fitted = fit_to_memory(choose, (96, 96, 16), [1], peak, 100_000)
        assert [patch[2] for patch in fitted.network.patches] == [4, 8, 16]
        assert fitted.peak_bytes <= 100_000
