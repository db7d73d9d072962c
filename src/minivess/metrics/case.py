"""All metrics of one predicted volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from minivess.errors import ConfigError, DataError
from minivess.metrics.centreline import cldice
from minivess.metrics.overlap import dsc
from minivess.metrics.reference import Reference, checked_spacing
from minivess.metrics.surface import hausdorff_95, measured_masd, normalised_surface_distance, surface_distances

_VOXELS = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class CaseMetrics:
    """The scores of one prediction. No score is ever NaN.

    Attributes:
        cldice: Centreline Dice (clDice) on complete centrelines, 0 to 1; None in scores of versions that lack it.
        dsc: Dice similarity coefficient, 0 to 1.
        centreline_dsc: clDice on scikit-image's Lee skeleton, as MetricsReloaded computes it, 0 to 1. This skeleton
            lacks whole vessels, so the value is only for comparison with the literature.
        measured_masd: Mean average surface distance, in micrometres.
        measured_masd_voxel: The same with a spacing of 1, in voxels; to compare with tables that ignore the spacing.
        normalised_surface_distance: Share of both borders within ``tolerance_um`` of the other border, 0 to 1.
        tolerance_um: Tolerance of ``normalised_surface_distance``, in micrometres.
        hausdorff_95: The larger of the two 95th percentiles of the border distances, in micrometres.
        betti0_error: Absolute difference in the number of pieces.
        betti1_error: Absolute difference in the number of tunnels (loops of the network).
        foreground_voxels: Number of known foreground voxels of the prediction.
        reference_voxels: Number of known foreground voxels of the reference.
        voxel_um3: Volume of a voxel in cubic micrometres. It converts both numbers of voxels to volumes.
        empty: The mask without known foreground: "", "prediction", "reference" or "both". If both are empty, overlaps are 1
            and distances 0. If one is empty, overlaps are 0 and distances are the volume's diagonal (shape times
            spacing). The case counts like any other.
    """

    cldice: float | None = field(default=None, kw_only=True)
    dsc: float
    centreline_dsc: float
    measured_masd: float
    measured_masd_voxel: float
    normalised_surface_distance: float
    tolerance_um: float
    hausdorff_95: float
    betti0_error: int
    betti1_error: int
    foreground_voxels: int
    reference_voxels: int
    voxel_um3: float
    empty: str


def score_case(
    prediction: ArrayLike,
    reference: ArrayLike | Reference,
    spacing_um: Sequence[float] | None = None,
    tolerance_um: float = 2.0,
    *,
    ignore_value: int | None = None,
) -> CaseMetrics:
    """Score a predicted mask against its reference by the definitions of MetricsReloaded (Maier-Hein et al. 2024).

    With unknown voxels, the known parts of both masks are scored: unknown voxels are background in both, and the cut
    between known and unknown is no surface. What either mask has in unknown voxels therefore changes no score.

    Args:
        prediction: (X, Y, Z) mask at native shape, without padding; bool or integer, foreground if not 0.
        reference: The label as such a mask, or a ``Reference`` computed from it.
        spacing_um: Voxel size along X, Y and Z, in micrometres. A ``Reference`` contains it, so it may then be omitted.
        tolerance_um: Tolerance of the normalised surface distance, in micrometres.
        ignore_value: Value of the reference in unknown voxels; None if every voxel is known. A ``Reference`` knows its
            unknown voxels itself, so it is then omitted.

    Returns:
        The scores, with distances in micrometres.

    Raises:
        ConfigError: The tolerance is not a finite number above 0, or ``ignore_value`` is given with a ``Reference``.
        DataError: The shapes differ, an array is not a mask, no voxel is known, or the spacing is missing or differs
            from that of the ``Reference``.
    """
    if not 0 < tolerance_um < math.inf:
        raise ConfigError(
            "a tolerance above 0 in micrometres", f"{tolerance_um}", "pass, for example, tolerance_um=2.0"
        )
    label = _as_reference(reference, spacing_um, ignore_value)
    if np.shape(prediction) != label.mask.shape:
        got = f"{np.shape(prediction)} and {label.mask.shape}"
        raise DataError(
            "prediction and reference with the same shape", got, "crop the padding and score at native shape"
        )
    predicted = Reference.of(prediction, label.spacing_um, label.known)
    empty = _which_is_empty(predicted, label)
    return CaseMetrics(
        **_empty_scores(label, agree=empty == "both") if empty else _scores(predicted, label, tolerance_um),
        tolerance_um=float(tolerance_um),
        betti0_error=abs(predicted.betti.b0 - label.betti.b0),
        betti1_error=abs(predicted.betti.b1 - label.betti.b1),
        foreground_voxels=predicted.voxels,
        reference_voxels=label.voxels,
        voxel_um3=math.prod(label.spacing_um),
        empty=empty,
    )


def _scores(predicted: Reference, label: Reference, tolerance_um: float) -> dict[str, float]:
    # Computed first, so that these distances are freed before the others exist: a speckled mask has many.
    masd_voxel = measured_masd(surface_distances(predicted.border, label.border, _VOXELS))
    micrometre = surface_distances(predicted.border, label.border, label.spacing_um)
    return {
        "cldice": cldice(predicted.mask, label.mask, predicted.centreline, label.centreline),
        "dsc": dsc(predicted.mask, label.mask),
        "centreline_dsc": cldice(predicted.mask, label.mask, predicted.skeleton, label.skeleton),
        "measured_masd": measured_masd(micrometre),
        "measured_masd_voxel": masd_voxel,
        "normalised_surface_distance": normalised_surface_distance(micrometre, tolerance_um),
        "hausdorff_95": hausdorff_95(micrometre),
    }


def _empty_scores(label: Reference, agree: bool) -> dict[str, float]:
    diagonal_um = 0.0 if agree else math.hypot(*np.multiply(label.mask.shape, label.spacing_um))
    return {
        "cldice": float(agree),
        "dsc": float(agree),
        "centreline_dsc": float(agree),
        "measured_masd": diagonal_um,
        "measured_masd_voxel": 0.0 if agree else math.hypot(*label.mask.shape),
        "normalised_surface_distance": float(agree),
        "hausdorff_95": diagonal_um,
    }


def _which_is_empty(predicted: Reference, label: Reference) -> str:
    if predicted.voxels and label.voxels:
        return ""
    return "both" if predicted.voxels == label.voxels else "reference" if predicted.voxels else "prediction"


def _as_reference(
    reference: ArrayLike | Reference, spacing_um: Sequence[float] | None, ignore_value: int | None
) -> Reference:
    if not isinstance(reference, Reference):
        if spacing_um is None:
            raise DataError("the voxel size in micrometres", "none", "pass spacing_um=(x, y, z)")
        known = None if ignore_value is None else np.asarray(reference) != ignore_value
        return Reference.of(reference, spacing_um, known)
    if ignore_value is not None:
        cure = "omit ignore_value, and give `known` to Reference.of"
        raise ConfigError("no ignore_value beside a Reference", f"ignore_value={ignore_value}", cure)
    if spacing_um is not None and not np.allclose(checked_spacing(spacing_um), reference.spacing_um):
        got = f"{tuple(spacing_um)} for a reference with {reference.spacing_um}"
        raise DataError("the spacing that the reference was prepared with", got, "omit spacing_um")
    return reference
