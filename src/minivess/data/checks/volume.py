"""What is wrong with one volume and its label. Critical is what cannot work or is surely a mistake; the rest is for the eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minivess.data.checks.intensity_statistics import Intensities
from minivess.data.checks.label_statistics import LabelCounts
from minivess.data.formats.nifti_header import Header
from minivess.findings import Finding
from minivess.text import format_shape

FINEST_UM, COARSEST_UM = 0.01, 100.0
"""No light microscope resolves a tenth of the one; a voxel of the other swallows an arteriole."""

THIN_VOXELS = 4
"""An axis of fewer voxels cannot be halved even once (``minivess.geometry``)."""

MOSTLY = 0.8
"""Vessels fill less than a third of the densest tissue; a label with more than this is likely turned inside out."""


def check_header(name: str, header: Header) -> list[Finding]:
    """Spacing, unit, depth and scaling of an image."""
    found = [*_check_spacing(name, header), *_check_unit(name, header)]
    if header.shape[2] == 1:
        cure = "export the whole stack, or take the volume out: the thinnest volume bounds the patch of all"
        found.append(Finding("critical", "single_slice", name, "a stack of slices", "one slice", cure))
    elif min(header.shape) < THIN_VOXELS:
        cure = "take the volume out if depth matters: the thinnest volume bounds the patch of all"
        got = f"{format_shape(header.shape)} voxels"
        found.append(Finding("warning", "thin", name, f"{THIN_VOXELS} voxels or more along every axis", got, cure))
    if header.is_scaled:
        slope, intercept = header.scaling
        got = f"{header.dtype} with slope {slope:g} and intercept {intercept:g}: read as float32"
        found.append(Finding("info", "scaled", name, "", got, ""))
    return found


def check_length(name: str, path: Path, header: Header) -> list[Finding]:
    """Whether the file seems to end too early, as far as a look at its end tells."""
    if header.seems_whole:
        return []
    expected = "the length that shape and type make"
    cure = "`minivess profile --full` reads it to the end and is sure; if the file is cut short, copy it again"
    return [Finding("warning", "file_length", name, expected, f"another in {path}", cure)]


def check_pair(name: str, image: Header, label: Header) -> list[Finding]:
    """Whether image and label lie on one grid; voxels are matched by index."""
    found = []
    if image.shape != label.shape:
        expected, got = "a label of its image's shape", f"label shape {label.shape}, image {image.shape}"
        cure = "export the label on the image's grid"
        found.append(Finding("critical", "pair_shape", name, expected, got, cure))
    cure = "check that label and image belong together; voxels are matched by index, spacing is the image's"
    if not np.allclose(image.spacing_um, label.spacing_um, rtol=1e-3):
        expected, got = (
            "the image's spacing",
            f"label {format_shape(label.spacing_um)} µm, image {format_shape(image.spacing_um)} µm",
        )
        found.append(Finding("warning", "pair_spacing", name, expected, got, cure))
    elif not np.allclose(_affine_um(label), _affine_um(image), rtol=1e-3, atol=1e-3 * min(image.spacing_um)):
        turned = np.sign(np.diag(_affine_um(label))) != np.sign(np.diag(_affine_um(image)))
        got = "another of its label" + (", whose axes run the other way: is it mirrored?" if turned.any() else "")
        found.append(Finding("warning", "pair_affine", name, "the image's affine", got, cure))
    return found


def check_intensities(name: str, image: Intensities) -> list[Finding]:
    """Whether the image can be normalised."""
    found = []
    if image.nan or image.infinite:
        got = f"{image.nan} NaN and {image.infinite} infinite voxels"
        cure = "mend the volume or take it out"
        found.append(Finding("critical", "finite", name, "finite intensities", got, cure))
    moments = image.moments
    if not moments.number:
        return found
    if max(-moments.minimum, moments.maximum) > float(np.finfo(np.float32).max):
        got, cure = f"values up to {moments.maximum:g}", "correct scl_slope and scl_inter in the header"
        found.append(Finding("critical", "finite", name, "values within float32", got, cure))
    if moments.minimum == moments.maximum:
        got, cure = f"constant {moments.minimum:g}", "export it again or take the volume out"
        found.append(Finding("critical", "contrast", name, "an image with contrast", got, cure))
    elif image.percentiles[0] == image.percentiles[-1]:
        got = f"{image.percentiles[0]:g} in 99 % of the voxels, so that clipping to percentiles leaves nothing"
        cure = "crop the volume to the tissue, or take it out"
        found.append(Finding("critical", "contrast", name, "an image with contrast", got, cure))
    return found


def check_label(name: str, label: LabelCounts) -> list[Finding]:
    """Whether the label says vessel or not, and plausibly so."""
    if label.nan:
        got, cure = f"{label.nan} NaN", "set them to 0 or 1"
        return [Finding("critical", "label_values", name, "label values 0 and 1", got, cure)]
    if label.wrong:
        values = ", ".join(f"{value:g}" for value in label.wrong[:5]) + (", ..." if len(label.wrong) > 5 else "")
        got, cure = f"also {values}", "write it as 0 and 1, e.g. (label > 0).astype(uint8)"
        if len(label.wrong) > 1 or label.wrong[0] < 0 or label.wrong[0] % 1:
            cure = "choose which values are vessel and write those as 1, all else as 0"
        return [Finding("critical", "label_values", name, "label values 0 and 1", got, cure)]
    if not label.foreground:
        cure = "check the label; the case is kept"
        return [Finding("warning", "label_empty", name, "some vessel", "an empty label", cure)]
    if label.foreground == label.voxels:
        cure = "export the label again, or take the case out"
        return [Finding("critical", "label_full", name, "some background", "vessel everywhere", cure)]
    if label.fraction > MOSTLY:
        got = f"{label.fraction:.0%} vessel"
        cure = "check whether 0 and 1 are exchanged; the case is kept"
        return [Finding("warning", "label_inverted", name, "mostly background", got, cure)]
    return []


def _check_spacing(name: str, header: Header) -> list[Finding]:
    found, spacing = [], header.spacing_um
    expected = f"a voxel size between {FINEST_UM:g} and {COARSEST_UM:g} µm"
    if min(spacing) < FINEST_UM:
        cure = "write the spacing in micrometre, or set the header's unit to what it is (mm or meter)"
        got = f"{format_shape(spacing)} µm, unit {header.unit}"
        found.append(Finding("critical", "spacing_tiny", name, expected, got, cure))
    elif max(spacing) > COARSEST_UM:
        got, cure = (
            f"{format_shape(spacing)} µm, unit {header.unit}",
            "check the header; distances are reported in micrometre",
        )
        found.append(Finding("warning", "spacing_huge", name, expected, got, cure))
    elif spacing == (1, 1, 1) and header.unit == "unknown":
        cure = "if it is not, write the true spacing: distances in micrometre and the plan rest on it"
        expected, got = "a spacing that was measured", "1 x 1 x 1 without a unit, as writers leave it"
        found.append(Finding("warning", "spacing_unset", name, expected, got, cure))
    by_affine = np.linalg.norm(_affine_um(header)[:, :3], axis=0)
    if not np.allclose(by_affine, spacing, rtol=1e-2):
        got = f"pixdim {format_shape(spacing)} µm, affine {format_shape(by_affine)} µm"
        cure = "make them agree; the run uses pixdim"
        found.append(Finding("warning", "spacing_twofold", name, "one voxel size in a header", got, cure))
    return found


def _check_unit(name: str, header: Header) -> list[Finding]:
    if header.unit == "mm" and header.um_per_unit == 1:
        cure = "nothing if the numbers are micrometre, as many writers say mm always; else correct the spacing"
        got = "the unit mm, with numbers too large for millimetre: read as micrometre"
        return [Finding("warning", "unit", name, "a voxel size in micrometre", got, cure)]
    if header.um_per_unit != 1:
        got = f"voxel size in {header.unit}, converted to {format_shape(header.spacing_um)} µm"
        return [Finding("info", "unit", name, "", got, "")]
    return []


def _affine_um(header: Header) -> np.ndarray:
    return np.array(header.affine)[:3] * header.um_per_unit
