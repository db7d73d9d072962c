"""Choose the patches for a data set: one for all volumes, one with short volumes padded, or one per depth bucket."""

from __future__ import annotations

from collections.abc import Callable

from minivess.data.profiler import DatasetProfile
from minivess.errors import PlanError
from minivess.findings import raise_critical
from minivess.geometry import Shape, StridePlan, patch_for, round_down
from minivess.models.model_profile import ModelProfile
from minivess.planning.plan import PatchPolicy, PlanRequest
from minivess.planning.validation import validate_patch
from minivess.text import counted, format_patch

Choice = tuple[tuple[Shape, ...], StridePlan, str]


def choose_patches(profile: DatasetProfile, model: ModelProfile, request: PlanRequest, bound: Shape) -> Choice:
    """Choose the patches and plan the strides for them.

    Args:
        profile: The data set.
        model: Plans strides for a patch and a spacing.
        request: Its ``patch_size`` is used exactly or refused. If there is none, its ``patch_policy`` decides.
        bound: Largest patch that the budget allows; the patches are fitted to the data set and the model within it.

    Returns:
        The patches, the strides, and the reason as text.

    Raises:
        PlanError: The requested patch cannot be used, or no patch fits every volume.
    """
    if request.patch_size is not None:
        strides = model.plan_strides(request.patch_size, profile.median_spacing_um)
        patches: tuple[Shape, ...] = (request.patch_size,)
        reason = f"{format_patch(request.patch_size)} requested"
    else:
        patches, strides, reason = _POLICIES[request.patch_policy](profile, model, bound)
    for patch in patches:
        raise_critical(validate_patch(patch, strides.divisor, profile, request.patch_policy), PlanError)
    return patches, strides, f"{reason}; the strides require multiples of {format_patch(strides.divisor)}"


def _fits_every_volume(profile: DatasetProfile, model: ModelProfile, bound: Shape) -> Choice:
    return _single(profile, model, bound, profile.min_shape, "the smallest size along each axis is")


def _padded(profile: DatasetProfile, model: ModelProfile, bound: Shape) -> Choice:
    rule = "smaller volumes are padded, the median size along each axis is"
    return _single(profile, model, bound, profile.median_shape, rule)


def _single(profile: DatasetProfile, model: ModelProfile, bound: Shape, limit: Shape, rule: str) -> Choice:
    within = _elementwise_min(bound, limit)
    strides = model.plan_strides(within, profile.median_spacing_um)
    patch = round_down(within, strides.divisor)
    return (
        (patch,),
        strides,
        f"{format_patch(patch)}: at most {format_patch(bound)} is allowed, {rule} {format_patch(limit)}",
    )


def _bucketed(profile: DatasetProfile, model: ModelProfile, bound: Shape) -> Choice:
    """Choose one patch per depth bucket.

    Depths double, from the depth of the shallowest volume to the depth of the bound. A shallower patch is wider, so
    that all patches have about the same number of voxels.
    """
    within = _elementwise_min(bound, (profile.min_shape[0], profile.min_shape[1], profile.max_shape[2]))
    strides = model.plan_strides(within, profile.median_spacing_um)
    deepest = round_down(within, strides.divisor)
    depths = [round_down(profile.min_shape, strides.divisor)[2]]
    while 2 * depths[-1] < deepest[2]:
        depths.append(2 * depths[-1])
    candidates = [_widened(deepest, depth, profile.min_shape, strides.divisor) for depth in depths]
    if deepest[2] > depths[-1]:
        candidates.append(deepest)
    used = [patch_for(candidates, volume.shape[2]) for volume in profile.volumes]
    patches = tuple(patch for patch in candidates if patch in used)
    counts = ", ".join(f"{format_patch(patch)} for {counted(used.count(patch), 'volume')}" for patch in patches)
    return (
        patches,
        strides,
        f"{counts}: each is the deepest that fits its volumes, and none has more voxels than {format_patch(deepest)}",
    )


def _widened(deepest: Shape, depth: int, limit: Shape, divisor: Shape) -> Shape:
    """Return a patch of ``depth`` slices with about as many voxels as ``deepest``, at most ``limit`` wide."""
    factor = (deepest[2] / depth) ** 0.5
    wide = _elementwise_min((int(deepest[0] * factor), int(deepest[1] * factor), depth), (limit[0], limit[1], depth))
    return round_down(wide, divisor)


def _elementwise_min(first: Shape, second: Shape) -> Shape:
    return min(first[0], second[0]), min(first[1], second[1]), min(first[2], second[2])


_POLICIES: dict[PatchPolicy, Callable[[DatasetProfile, ModelProfile, Shape], Choice]] = {
    "min_volume": _fits_every_volume,
    "pad": _padded,
    "bucketed": _bucketed,
}
