"""Checks of one volume and its label.

A finding is critical if training cannot work or if the data are certainly wrong. Other findings are warnings or
information.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minivess.data.checks.intensity_statistics import Intensities
from minivess.data.checks.label_statistics import LabelCounts
from minivess.data.formats.nifti_header import Header
from minivess.findings import Finding
from minivess.text import format_shape

FINEST_UM, COARSEST_UM = 0.01, 100.0
"""Range of plausible voxel sizes.

No light microscope resolves a tenth of the lower limit. A voxel of the upper limit contains a whole arteriole.
"""

THIN_VOXELS = 4
"""An axis with fewer voxels cannot be halved even once (see ``minivess.geometry``)."""

MOSTLY = 0.8
"""Largest plausible share of vessel.

Vessels fill less than a third of the densest tissue. A larger share means that vessel and background are probably
swapped.
"""


def check_header(name: str, header: Header) -> list[Finding]:
    """Check the spacing, unit, depth and intensity scaling of an image."""
    found = [*_check_spacing(name, header), *_check_unit(name, header)]
    if header.shape[2] == 1:
        cure = "export the whole stack, or remove the volume: the thinnest volume limits the patch for all volumes"
        found.append(Finding("critical", "single_slice", name, "a stack of several slices", "one slice", cure))
    elif min(header.shape) < THIN_VOXELS:
        cure = "remove the volume if depth matters: the thinnest volume limits the patch for all volumes"
        got = f"{format_shape(header.shape)} voxels"
        found.append(Finding("warning", "thin", name, f"{THIN_VOXELS} voxels or more along every axis", got, cure))
    if header.is_scaled:
        slope, intercept = header.scaling
        got = f"{header.dtype} with slope {slope:g} and intercept {intercept:g}, read as float32"
        found.append(Finding("info", "scaled", name, "", got, ""))
    return found


def check_length(name: str, path: Path, header: Header) -> list[Finding]:
    """Check the length of a file from its header and its last bytes, without reading all of it.

    For a gzip file this is not certain, so the finding is a warning.
    """
    if header.seems_whole:
        return []
    expected = "a file length that fits shape and data type"
    cure = "run `minivess profile --full`, which reads the whole file; if the file is cut short, copy it again"
    return [Finding("warning", "file_length", name, expected, f"a different length in {path}", cure)]


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
    elif not np.allclose(_affine_um(label), _affine_um(image), rtol=1e-3, atol=1e-3 * min(image.spacing_um)):
        turned = np.sign(np.diag(_affine_um(label))) != np.sign(np.diag(_affine_um(image)))
        mirrored = " with an axis in the opposite direction, so it may be mirrored" if turned.any() else ""
        got = f"a different affine{mirrored}"
        found.append(Finding("warning", "pair_affine", name, "a label with the affine of its image", got, cure))
    return found


def check_intensities(name: str, image: Intensities) -> list[Finding]:
    """Check that the image can be normalised: finite values within float32, and contrast."""
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
    return found


def check_label(name: str, label: LabelCounts) -> list[Finding]:
    """Check that the label has only the values 0 and 1, and a plausible share of vessel."""
    if label.nan:
        got, cure = f"{label.nan} NaN voxels", "set these voxels to 0 or 1"
        return [Finding("critical", "label_values", name, "label values 0 and 1", got, cure)]
    if label.wrong:
        values = ", ".join(f"{value:g}" for value in label.wrong[:5]) + (", ..." if len(label.wrong) > 5 else "")
        got, cure = f"also {values}", "write the label as 0 and 1, e.g. (label > 0).astype(uint8)"
        if len(label.wrong) > 1 or label.wrong[0] < 0 or label.wrong[0] % 1:
            cure = "write the values that mean vessel as 1 and all other values as 0"
        return [Finding("critical", "label_values", name, "label values 0 and 1", got, cure)]
    if not label.foreground:
        cure = "check the label; the case is kept"
        return [Finding("warning", "label_empty", name, "at least one vessel voxel", "an empty label", cure)]
    if label.foreground == label.voxels:
        cure = "export the label again, or remove the case"
        return [Finding("critical", "label_full", name, "at least one background voxel", "only vessel voxels", cure)]
    if label.fraction > MOSTLY:
        got = f"{label.fraction:.0%} vessel"
        cure = "check whether 0 and 1 are swapped; the case is kept"
        return [Finding("warning", "label_inverted", name, "mostly background", got, cure)]
    return []


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
