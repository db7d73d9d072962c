"""Checks of one volume and its label.

A finding is critical if training cannot work or if the data are certainly wrong. Other findings are warnings or
information.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from minivess.data.checks.intensity_statistics import Intensities
from minivess.data.checks.label_statistics import LabelCounts
from minivess.data.formats.nifti_header import TRAILING_BYTES, Header, VolumeError, require_length
from minivess.findings import Finding
from minivess.text import counted, format_bytes, format_shape, joined

FINEST_UM, COARSEST_UM = 0.01, 100.0
"""Range of plausible voxel sizes.

No light microscope resolves a tenth of the lower limit. A voxel of the upper limit contains a whole arteriole.
"""

THIN_VOXELS = 4
"""An axis with fewer voxels cannot be halved even once (see ``minivess.geometry``)."""

COARSE_STEPS = 16
"""Steps of the stored numbers in one standard deviation; with fewer, grey values are visibly lost."""

SAME_DIRECTION = 0.5
"""Smallest cosine of the angle between an axis of the image and of the label that have the same direction."""

_RIGHT_LENGTH = "a file length that fits shape and data type"

MOSTLY = 0.8
"""Largest plausible share of vessel.

Vessels fill less than a third of the densest tissue. A larger share means that vessel and background are probably
swapped.
"""


def check_header(name: str, header: Header) -> list[Finding]:
    """Check the spacing, unit, orientation, size and intensity scaling of an image."""
    found = [*_check_spacing(name, header), *_check_unit(name, header)]
    if min(header.shape) == 1:
        axes = joined(axis for axis, size in zip("XYZ", header.shape, strict=True) if size == 1)
        got = f"one voxel along {axes} ({format_shape(header.shape)})"
        cure = "export the whole stack as X, Y, Z, or remove the volume"
        found.append(Finding("critical", "single_slice", name, "several voxels along every axis", got, cure))
    elif min(header.shape) < THIN_VOXELS:
        cure = (
            "remove the volume if depth matters: under the patch policy min_volume, the default, the thinnest volume "
            "limits the patch for all volumes; under pad and bucketed it does not"
        )
        got = f"{format_shape(header.shape)} voxels"
        found.append(Finding("warning", "thin", name, f"{THIN_VOXELS} voxels or more along every axis", got, cure))
    if header.is_scaled:
        slope, intercept = header.scaling
        got = f"{header.dtype} with slope {slope:g} and intercept {intercept:g}, which are applied"
        found.append(Finding("info", "scaled", name, "", got, ""))
    return found + check_orientation(name, header)


def check_orientation(name: str, header: Header) -> list[Finding]:
    """Report an orientation that was repaired or ignored."""
    if not header.orientation_fault:
        return []
    cure = "check left and right if they matter, and write the orientation again; the voxels are not concerned"
    return [Finding("warning", "orientation", name, "an orientation", header.orientation_fault, cure)]


def check_length(name: str, path: Path, header: Header) -> list[Finding]:
    """Check the length of a file from its header and its last bytes, without reading all of it.

    The finding is critical if the file cannot contain the voxels. For a gzip file the length is not certain, so the finding
    is a warning.
    """
    if header.seems_whole:
        return []
    try:
        require_length(path, header)
    except VolumeError as error:
        return [error.as_finding(name)]
    cure = "run `minivess profile --full`, which reads the voxels; if the file is cut short, copy it again"
    return [Finding("warning", "file_length", name, _RIGHT_LENGTH, f"a different length in {path}", cure)]


def check_surplus(name: str, path: Path, surplus: bool) -> list[Finding]:
    """Report a file that has many more bytes after its last voxel."""
    if not surplus:
        return []
    got = f"{path}, which goes on for more than {format_bytes(TRAILING_BYTES)} after the last voxel"
    cure = "check the shape and the type in the header; the run reads what the header says"
    return [Finding("warning", "file_length", name, _RIGHT_LENGTH, got, cure)]


def check_pair(name: str, image: Header, label: Header) -> list[Finding]:
    """Check that image and label are on the same grid: shape, spacing and affine. Voxels are matched by index."""
    found = []
    if image.shape != label.shape:
        expected, got = "a label with the shape of its image", f"label shape {label.shape}, image {image.shape}"
        cure = "export the label on the grid of the image"
        found.append(Finding("critical", "pair_shape", name, expected, got, cure))
    cure = "check that label and image belong together; the run matches voxels by index and uses the image's spacing"
    if not np.allclose(image.spacing_um, label.spacing_um, rtol=1e-3):
        expected, got = (
            "a label with the spacing of its image",
            f"label {format_shape(label.spacing_um)} µm, image {format_shape(image.spacing_um)} µm",
        )
        found.append(Finding("warning", "pair_spacing", name, expected, got, cure))
    return found + _check_pair_affine(name, image, label, cure)


def _check_pair_affine(name: str, image: Header, label: Header, cure: str) -> list[Finding]:
    expected = "a label with the affine of its image"
    without = [part for part, header in (("image", image), ("label", label)) if header.orientation == "none"]
    if len(without) == 1:
        got = f"no orientation in the header of the {without[0]} (sform_code and qform_code are 0)"
        return [Finding("warning", "pair_affine", name, expected, got, cure)]
    ours, theirs = _affine_um(image), _affine_um(label)
    turned = [] if without else _turned_axes(ours, theirs)
    if turned:
        axes = f"{joined(turned)} {'axis points' if len(turned) == 1 else 'axes point'}"
        got = f"a label whose {axes} in another direction than in the image, so it may be mirrored"
        cure = (
            "show both as plain arrays, without their affines: if they fit, write the affine of the image into the label; "
            "if not, export the label again"
        )
        return [Finding("critical", "pair_affine", name, expected, got, cure)]
    if not np.allclose(ours[:, :3], theirs[:, :3], rtol=1e-3, atol=1e-3 * min(image.spacing_um)):
        same_size = np.allclose(image.spacing_um, label.spacing_um, rtol=1e-3)
        return [Finding("warning", "pair_affine", name, expected, "a different affine", cure)] if same_size else []
    if not np.allclose(ours, theirs, rtol=1e-3, atol=1e-3 * min(image.spacing_um)):
        return [Finding("warning", "pair_affine", name, expected, "another position", cure)]
    return []


def _turned_axes(ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """Name the axes that point in another direction in ``theirs``, such as ["X", "Y"]."""
    with np.errstate(over="ignore", invalid="ignore"):  # of a damaged affine, which differs anyway
        lengths = np.linalg.norm(ours[:, :3], axis=0) * np.linalg.norm(theirs[:, :3], axis=0)
        cosines = (ours[:, :3] * theirs[:, :3]).sum(axis=0)
    return [
        axis for axis, cosine, length in zip("XYZ", cosines, lengths, strict=True) if cosine < SAME_DIRECTION * length
    ]


def check_intensities(name: str, image: Intensities, header: Header) -> list[Finding]:
    """Check that the image can be normalised: finite values within float32, contrast, and precise enough numbers."""
    found = []
    if image.nan or image.infinite:
        got = f"{image.nan} NaN and {image.infinite} infinite voxels"
        cure = "fix the volume or remove it"
        found.append(Finding("critical", "finite", name, "finite intensities", got, cure))
    moments = image.moments
    if not moments.number:
        return found
    if max(-moments.minimum, moments.maximum) > float(np.finfo(np.float32).max):
        got, cure = f"values up to {moments.maximum:g}", "correct scl_slope and scl_inter in the header"
        found.append(Finding("critical", "finite", name, "values within float32", got, cure))
    if moments.minimum == moments.maximum:
        got, cure = f"{moments.minimum:g} in every voxel", "export the volume again or remove it"
        found.append(Finding("critical", "contrast", name, "an image with contrast", got, cure))
    elif image.percentiles[0] == image.percentiles[-1]:
        got = f"{image.percentiles[0]:g} in 99 % of the voxels, so clipping to percentiles removes all contrast"
        cure = "crop the volume to the tissue, or remove it"
        found.append(Finding("critical", "contrast", name, "an image with contrast", got, cure))
    else:
        found += _check_precision(name, image, header)
    return found


def _check_precision(name: str, image: Intensities, header: Header) -> list[Finding]:
    """Report stored numbers whose steps are coarse for the contrast, because a large number was added before storing."""
    slope, intercept = header.scaling
    largest = max(abs(value - intercept) for value in image.percentiles) / abs(slope)
    if header.dtype not in ("float32", "float64", "int64", "uint64") or not largest < np.finfo(np.float64).max:
        return []
    step = abs(slope) * float(np.spacing(np.float32(largest) if header.dtype == "float32" else np.float64(largest)))
    if step * COARSE_STEPS < image.clipped.std:
        return []
    got = f"intensities near {image.percentiles[-1]:g} in steps of {step:g}, with a standard deviation of {image.clipped.std:g}"
    cure = "export the volume again without the large constant, or as integers; its grey values are lost in this file"
    return [Finding("warning", "precision", name, "intensities in small steps", got, cure)]


def check_label(name: str, label: LabelCounts, ignore_value: int | None = None) -> list[Finding]:
    """Check that the known label is background 0 and one other value, and has a plausible share of vessel.

    Args:
        name: Name of the case.
        label: Counts of the label.
        ignore_value: Value of unknown voxels; None if every voxel is known.
    """
    if not label.known:
        got, cure = (
            f"{ignore_value}, the value of unknown voxels, everywhere",
            "label some voxels or remove the case; if this value means vessel, correct data.ignore_value",
        )
        return [Finding("critical", "label_unknown", name, "at least one known voxel", got, cure)]
    if label.nan:
        got, cure = f"{label.nan} NaN voxels", "set these voxels to 0 or 1"
        return [Finding("critical", "label_values", name, "label values 0 and 1", got, cure)]
    if any(not _is_vessel(value) for value in label.values) or len(label.values) > 1:
        values = ", ".join(f"{value:g}" for value in label.values[:5]) + (", ..." if len(label.values) > 5 else "")
        cure = "write the values that mean vessel as 1 and all other values as 0"
        if ignore_value is None:
            unknown = _probably_unknown(label.values)
            cure += f"; if {unknown:g} marks unknown voxels, set data.ignore_value to {unknown:g} (or --ignore-value)"
        return [Finding("critical", "label_values", name, "label values 0 and 1", f"0 and {values}", cure)]
    if not label.foreground:
        got, cure = "an empty label", "check the label; the case is kept"
        if label.known < label.voxels:
            got = f"no vessel in the {label.known / label.voxels:.1%} of the voxels that are known"
            cure = f"check that {ignore_value}, the value of unknown voxels, does not mean vessel; the case is kept"
        return [Finding("warning", "label_empty", name, "at least one vessel voxel", got, cure)]
    if label.foreground == label.known:
        got, cure = f"only vessel voxels (value {label.values[0]:g})", "export the label again, or remove the case"
        if label.known < label.voxels:
            cure = "mark known background as 0 too, or remove the case"
        return [Finding("critical", "label_full", name, "at least one background voxel", got, cure)]
    sparse = [] if label.known == label.voxels else [_sparse(name, label)]
    return [*_check_other_value(name, label.values[0]), *_check_fraction(name, label), *sparse]


def _probably_unknown(values: tuple[float, ...]) -> float:
    """The value that probably marks unknown voxels: one that cannot be vessel, or else the highest."""
    return next((value for value in values if value < 0 and value == round(value)), max(values))


def _sparse(name: str, label: LabelCounts) -> Finding:
    slices = counted(label.labelled_slices, "slice")
    got = f"{label.known / label.voxels:.1%} of the voxels labelled, in {slices}; artefacts of this label are not measured"
    return Finding("info", "label_sparse", name, "", got, "")


def _is_vessel(value: float) -> bool:
    """Whether a value can mean vessel: a whole number above 0; 0.5 is a probability, and -1 often means unknown."""
    return 0 < value < math.inf and math.isclose(value, round(value), rel_tol=1e-5)


def _check_other_value(name: str, value: float) -> list[Finding]:
    if math.isclose(value, 1, rel_tol=1e-5):
        return []
    if value == 255:
        return [Finding("info", "label_values", name, "", "values 0 and 255, read as background and vessel", "")]
    cure = f"check that {value:g} means vessel; it is read as vessel"
    return [Finding("warning", "label_values", name, "label values 0 and 1", f"0 and {value:g}", cure)]


def _check_fraction(name: str, label: LabelCounts) -> list[Finding]:
    if label.fraction <= MOSTLY:
        return []
    cure = "check whether vessel and background are swapped; the case is kept"
    return [Finding("warning", "label_inverted", name, "mostly background", f"{label.fraction:.0%} vessel", cure)]


def _check_spacing(name: str, header: Header) -> list[Finding]:
    found, spacing = [], header.spacing_um
    expected = f"a voxel size between {FINEST_UM:g} and {COARSEST_UM:g} µm"
    if min(spacing) < FINEST_UM:
        cure = "write the spacing in micrometre, or set the unit in the header to the correct one (mm or meter)"
        got = f"{format_shape(spacing)} µm, unit {header.unit}"
        found.append(Finding("critical", "spacing_tiny", name, expected, got, cure))
    elif max(spacing) > COARSEST_UM:
        got, cure = (
            f"{format_shape(spacing)} µm, unit {header.unit}",
            "check the header; distances are reported in micrometre",
        )
        found.append(Finding("warning", "spacing_huge", name, expected, got, cure))
    elif spacing == (1, 1, 1) and header.unit == "unknown":
        cure = "if it is wrong, write the true spacing: distances in micrometre and the plan depend on it"
        expected, got = "a measured spacing", "1 x 1 x 1 without a unit, the default of many programs"
        found.append(Finding("warning", "spacing_unset", name, expected, got, cure))
    with np.errstate(over="ignore"):  # a damaged affine differs anyway
        by_affine = np.linalg.norm(_affine_um(header)[:, :3], axis=0)
    if not np.allclose(by_affine, spacing, rtol=1e-2):
        got = f"pixdim {format_shape(spacing)} µm, affine {format_shape(by_affine)} µm"
        cure = "correct the wrong one; the run uses pixdim"
        found.append(Finding("warning", "spacing_twofold", name, "the same voxel size in pixdim and affine", got, cure))
    return found


def _check_unit(name: str, header: Header) -> list[Finding]:
    if header.unit == "mm" and header.um_per_unit == 1:
        cure = "correct the spacing if it is not in micrometre (many programs write mm for any unit)"
        got = "the unit mm with values too large for millimetre, read as micrometre"
        return [Finding("warning", "unit", name, "a voxel size in micrometre", got, cure)]
    if header.um_per_unit != 1:
        got = f"voxel size in {header.unit}, converted to {format_shape(header.spacing_um)} µm"
        return [Finding("info", "unit", name, "", got, "")]
    return []


def _affine_um(header: Header) -> np.ndarray:
    return np.array(header.affine)[:3] * header.um_per_unit
