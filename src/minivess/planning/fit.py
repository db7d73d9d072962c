"""Fit a plan to a memory budget: first fewer patches per forward pass, then smaller patches."""

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
from minivess.text import counted, format_bytes, format_patch

Peak = Callable[[NetworkSpec, int], int]
"""Computes the peak of a training step, in bytes. Arguments: network with its patches, patches per forward pass."""

Choose = Callable[[Shape], tuple[NetworkSpec, str]]
"""Chooses the network and its patches within an upper bound on the patch, and gives the reason as text."""

_SAFETY = 0.95
_MAX_ATTEMPTS = 8


@dataclass(frozen=True)
class Fitted:
    """A plan that fits the budget.

    Attributes:
        network: The network with its patches.
        micro_batch: Patches per forward pass.
        peak_bytes: Computed peak of a training step.
        reason: Why these patches were chosen.
    """

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
    """Reduce a plan until the peak of its training step fits a budget.

    The batch is split first, and its gradients are accumulated: the network then still sees the same context. (A loss
    that sums over one forward pass, such as soft Dice, then sums over fewer patches.) After that the patch shrinks
    along X and Y, where it is largest.

    Args:
        choose: Chooses the network and the patches for a bound on the patch.
        bound: The first bound on the patch.
        micro_batches: Allowed numbers of patches per forward pass, the largest first.
        peak: Computes the peak of a step.
        budget_bytes: Memory that the step may take.
        may_shrink: False if the user fixed the patch size.

    Returns:
        The first plan that fits.

    Raises:
        PlanError: The fixed patch does not fit, or the smallest patch does not fit.
    """
    allowed, first = bound, True
    for _ in range(_MAX_ATTEMPTS):
        network, reason = choose(allowed)
        for micro_batch in micro_batches:
            peak_bytes = peak(network, micro_batch)
            if peak_bytes <= budget_bytes:
                return Fitted(
                    network, micro_batch, peak_bytes, reason if first else f"{reason}; reduced to fit the memory budget"
                )
        smaller = smaller_patch(network.largest_patch, network.divisor, budget_bytes / peak_bytes)
        if smaller == allowed or not may_shrink:
            break
        allowed, first = smaller, False
    each = f"{counted(micro_batch, 'patch', 'patches')} of {format_patch(network.largest_patch)}"
    raise PlanError(
        f"a training step that takes at most {format_bytes(budget_bytes)}",
        f"{format_bytes(peak_bytes)} with {each} per forward pass",
        "use a model with fewer filters (model.filters)"
        + ("" if may_shrink else ", a smaller patch (plan.patch_size)")
        + ", fewer cells at the same time (limits.cells_at_a_time), or a machine with more memory",
    )


def halvings(batch: int) -> list[int]:
    """Numbers of patches per forward pass to try: the whole batch, then half of it, and so on down to one."""
    sizes = [batch]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    return sizes


def smaller_patch(patch: Shape, divisor: Shape, ratio: float) -> Shape:
    """Scale the area of a patch in the XY plane by slightly less than ``ratio``.

    Args:
        patch: X, Y, Z in voxels.
        divisor: Each axis of the result is a multiple of this.
        ratio: Memory allowed over memory needed. If it is 0 or less, the result has the minimum size.

    Returns:
        A patch that is at least one divisor smaller along X and Y, but never below two divisors. Z does not change.
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
    """Reduce a plan that ran out of memory.

    Half as many patches per forward pass or, if there is only one, patches of half the area. The predictions made for
    the larger plan are dropped.

    Returns:
        The smaller plan, or None if the request allows neither or the patch already has its minimum size.
    """
    reasons = {name: why for name, why in plan.reasons.items() if name not in ("memory", "prediction", "ram", "time")}
    untraced: dict[str, object] = {"peak_bytes": None, "prediction_bytes": None, "ram_bytes": None, "step_seconds": {}}
    if plan.micro_batch > 1 and request.micro_batch is None:
        half = plan.micro_batch // 2
        reasons["batch"] += f"; {half} per forward pass because the dry start ran out of memory"
        return plan.model_copy(update={**untraced, "micro_batch": half, "reasons": reasons})
    bound = smaller_patch(plan.patch, plan.network.divisor, 0.5)
    if request.patch_size is not None or bound == plan.patch:
        return None
    patches, strides, why = choose_patches(profile, model, request, bound)
    reasons["patch"] = f"{why}; smaller than planned because the dry start ran out of memory"
    return plan.model_copy(update={**untraced, "network": model.spec(patches, strides), "reasons": reasons})
