"""A smaller plan, for when a real step took more memory than was foreseen."""

from __future__ import annotations

from minivess.data.profiler import DatasetProfile
from minivess.models.registry import ModelProfile
from minivess.planning.fit import smaller_patch
from minivess.planning.patches import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan


def shrink(
    plan: TrainingPlan, profile: DatasetProfile, model: ModelProfile, request: PlanRequest
) -> TrainingPlan | None:
    """The plan with half the patches a forward pass, or at one with patches of half the area; None where neither is allowed.

    What was predicted for the larger plan is dropped.
    """
    reasons = {name: why for name, why in plan.reasons.items() if name not in ("memory", "prediction", "ram", "time")}
    untraced: dict[str, object] = {"peak_bytes": None, "prediction_bytes": None, "ram_bytes": None, "step_seconds": {}}
    if plan.micro_batch > 1 and request.micro_batch is None:
        half = plan.micro_batch // 2
        reasons["batch"] += f"; {half} a forward pass after the dry start ran out of memory"
        return plan.model_copy(update={**untraced, "micro_batch": half, "reasons": reasons})
    bound = smaller_patch(plan.patch, plan.network.divisor, 0.5)
    if request.patch_size is not None or bound == plan.patch:
        return None
    patches, strides, why = choose_patches(profile, model, request, bound)
    reasons["patch"] = f"{why}; smaller than planned after the dry start ran out of memory"
    return plan.model_copy(update={**untraced, "network": model.spec(patches, strides), "reasons": reasons})
