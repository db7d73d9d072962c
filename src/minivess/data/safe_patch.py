"""The largest patch that fits every volume of a data set, before any plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from minivess.strides import Shape, plan_strides, round_down

if TYPE_CHECKING:
    from minivess.data.profile import DatasetProfile

_VISTA3D_DIVISOR = 16


def compute_safe_patch_sizes(
    profile: DatasetProfile, *, cap: Sequence[int] = (512, 512, 512), levels: int = 4
) -> dict[str, Shape]:
    """The largest patch that fits every volume, for each model family with ``levels`` levels.

    DynUNet and SegResNet plan their strides axis by axis (``minivess.strides``); VISTA-3D halves every axis four times. An
    axis shorter than that divisor gets one divisor: the volume must be padded.
    """
    x, y, z = (min(size, most) for size, most in zip(profile.min_shape, cap, strict=True))
    planned = round_down((x, y, z), plan_strides((x, y, z), profile.median_spacing_um, levels).divisor)
    return {"dynunet": planned, "segresnet": planned, "vista3d": round_down((x, y, z), (_VISTA3D_DIVISOR,) * 3)}
