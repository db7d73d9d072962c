"""The largest plan that a memory budget holds: first fewer patches a forward pass, then smaller patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minivess.data.profiler import DatasetProfile
from minivess.errors import PlanError
from minivess.geometry import Shape
from minivess.models.model_profile import ModelProfile, NetworkSpec
from minivess.planning.patch_policy import choose_patches
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.text import format_bytes

Peak = Callable[[NetworkSpec, int], int]
"""Peak of a training step in bytes, for a network (and its largest patch) and the patches of one forward pass."""

Choose = Callable[[Shape], tuple[NetworkSpec, str]]
"""The network for the patches that a bound allows, and the reason in words."""

_SAFETY = 0.95
_TRIES = 8


@dataclass(frozen=True)
class Fitted:
    """A network with its patches, the patches of one forward pass, and the peak that was computed for them."""

    network: NetworkSpec
    micro_batch: int
    peak_bytes: int
    reason: str


def fit_to_memory(
    choose: Choose,
    bound: Shape,
    micro_batches: Sequence[int],
    peak: Peak,
    budget_bytes: int,
    *,
    may_shrink: bool = True,
) -> Fitted:
    """Shrink a plan until the peak of its step lies within a budget.

    A batch is split and its gradients accumulated before a patch is made smaller: that costs no context. (A loss that sums over
    a pass, as soft Dice does, then sums over fewer patches.) Patches then shrink in plane, where they are largest.

    Args:
        choose: What a bound on the patch leads to.
        bound: The bound to begin with.
        micro_batches: Patches of a forward pass that are allowed, the most first.
        peak: Computes the peak of a step.
        budget_bytes: What the step may take.
        may_shrink: False where the patch is a contract.

    Raises:
        PlanError: The contract, or the smallest patch, does not fit.
    """
    allowed, first = bound, True
    for _ in range(_TRIES):
        network, reason = choose(allowed)
        for micro_batch in micro_batches:
            peak_bytes = peak(network, micro_batch)
            if peak_bytes <= budget_bytes:
                return Fitted(
                    network, micro_batch, peak_bytes, reason if first else f"{reason}; shrunk to the memory budget"
                )
        smaller = smaller_patch(network.largest_patch, network.divisor, budget_bytes / peak_bytes)
        if smaller == allowed or not may_shrink:
            break
        allowed, first = smaller, False
    raise PlanError(
        f"a step within {format_bytes(budget_bytes)}",
        f"{format_bytes(peak_bytes)} with one patch of {network.largest_patch}",
        "use a model with fewer filters (model.filters)"
        + ("" if may_shrink else " or a smaller patch")
        + ", fewer cells side by side (limits.cells_at_a_time), or a machine with more memory",
    )


def halvings(batch: int) -> list[int]:
    """Ways to split a batch: all at once, then half of it, down to one patch at a time."""
    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return sizes


def smaller_patch(patch: Shape, divisor: Shape, ratio: float) -> Shape:
    """The patch with its area scaled by ``ratio`` and a little more, no smaller than two divisors, at least one step smaller.

    A ratio of 0 or less, as a budget of nothing gives, leads to the two divisors.
    """
    factor = math.sqrt(max(ratio, 0) * _SAFETY)
    x, y = (
        max(min(int(size * factor) // step * step, size - step), 2 * step)
        for size, step in zip(patch[:2], divisor[:2], strict=True)
    )
    return x, y, patch[2]


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
