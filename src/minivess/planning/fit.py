"""The largest plan that a memory budget holds: first fewer patches a forward pass, then smaller patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minivess.errors import PlanError
from minivess.models.registry import NetworkSpec
from minivess.sizes import format_gib
from minivess.strides import Shape

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
        f"a step within {format_gib(budget_bytes)}",
        f"{format_gib(peak_bytes)} with one patch of {network.largest_patch}",
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
