"""Which patches a data set is cut into: one for all, one with short volumes padded, or one for each bucket of depths."""

from __future__ import annotations

from collections.abc import Callable

from minivess.data.profiler import DatasetProfile
from minivess.errors import PlanError
from minivess.findings import raise_critical
from minivess.geometry import Shape, StridePlan, patch_for, round_down
from minivess.models.model_profile import ModelProfile
from minivess.planning.plan import PatchPolicy, PlanRequest
from minivess.planning.validation import validate_patch

Choice = tuple[tuple[Shape, ...], StridePlan, str]


def choose_patches(profile: DatasetProfile, model: ModelProfile, request: PlanRequest, bound: Shape) -> Choice:
    """Patches, the strides planned for them, and the reason in words.

    Args:
        profile: The data set.
        model: Plans strides for a patch and a spacing.
        request: ``patch_size`` is a contract, used exactly or refused; ``patch_policy`` decides otherwise.
        bound: Largest patch that the budget allows; what is chosen is fitted to data set and model.

    Raises:
        PlanError: The patch asked for cannot be used, or no patch fits every volume.
    """
    if request.patch_size is not None:
        strides = model.plan_strides(request.patch_size, profile.median_spacing_um)
        patches: tuple[Shape, ...] = (request.patch_size,)
        reason = f"{by(request.patch_size)} asked for"
    else:
        patches, strides, reason = _POLICIES[request.patch_policy](profile, model, bound)
    for patch in patches:
        raise_critical(validate_patch(patch, strides.divisor, profile, request.patch_policy), PlanError)
    return patches, strides, f"{reason}; the strides need multiples of {by(strides.divisor)}"


def by(shape: Shape) -> str:
    """``(96, 96, 8)`` as "96x96x8"."""
    return "x".join(str(size) for size in shape)


def _one_for_all(profile: DatasetProfile, model: ModelProfile, bound: Shape) -> Choice:
    return _single(profile, model, bound, profile.min_shape, "the smallest size an axis is")


def _padded(profile: DatasetProfile, model: ModelProfile, bound: Shape) -> Choice:
    return _single(
        profile, model, bound, profile.median_shape, "smaller volumes are padded, the median size an axis is"
    )


def _single(profile: DatasetProfile, model: ModelProfile, bound: Shape, room: Shape, words: str) -> Choice:
    within = _least(bound, room)
    strides = model.plan_strides(within, profile.median_spacing_um)
    patch = round_down(within, strides.divisor)
    return (patch,), strides, f"{by(patch)}: {by(bound)} at most is allowed, {words} {by(room)}"


def _bucketed(profile: DatasetProfile, model: ModelProfile, bound: Shape) -> Choice:
    """Depths double from the shallowest volume's to the budget's; a shallow patch is as much wider as it is shallower."""
    within = _least(bound, (profile.min_shape[0], profile.min_shape[1], profile.max_shape[2]))
    strides = model.plan_strides(within, profile.median_spacing_um)
    deepest = round_down(within, strides.divisor)
    depths = [round_down(profile.min_shape, strides.divisor)[2]]
    while 2 * depths[-1] < deepest[2]:
        depths.append(2 * depths[-1])
    candidates = [_widened(deepest, depth, profile.min_shape, strides.divisor) for depth in depths]
    if deepest[2] > depths[-1]:
        candidates.append(deepest)
    held = [patch_for(candidates, volume.shape[2]) for volume in profile.volumes]
    patches = tuple(patch for patch in candidates if patch in held)
    counts = ", ".join(f"{by(patch)} for {held.count(patch)} volumes" for patch in patches)
    return patches, strides, f"{counts}: each the deepest that its volumes hold, none of more voxels than {by(deepest)}"


def _widened(deepest: Shape, depth: int, room: Shape, divisor: Shape) -> Shape:
    factor = (deepest[2] / depth) ** 0.5
    wide = _least((int(deepest[0] * factor), int(deepest[1] * factor), depth), (room[0], room[1], depth))
    return round_down(wide, divisor)


def _least(first: Shape, second: Shape) -> Shape:
    return min(first[0], second[0]), min(first[1], second[1]), min(first[2], second[2])


_POLICIES: dict[PatchPolicy, Callable[[DatasetProfile, ModelProfile, Shape], Choice]] = {
    "min_volume": _one_for_all,
    "pad": _padded,
    "bucketed": _bucketed,
}
