"""The orientation that a NIfTI header gives: sform, otherwise qform, otherwise none; a faulty one is repaired."""

from __future__ import annotations

import math
from typing import Literal

import nibabel as nib
import numpy as np

Source = Literal["sform", "qform", "none"]

_LARGEST_CODE, _ALIGNED = 5, 2

_LONGEST = 1.01
"""Length of a quaternion up to which it is a rotation with rounding errors, which are removed."""


def repair_orientation(header: nib.Nifti1Header) -> tuple[Source, str]:
    """Remove from a header what makes its orientation unusable.

    A quaternion of length above 1 is scaled to 1. A quaternion or an sform of other numbers than a rotation is ignored:
    its code becomes 0. A qfac other than 1 and -1 becomes 1, as the standard demands for 0. A positive code that the
    standard does not know becomes "aligned".

    Args:
        header: The header; it is changed.

    Returns:
        Where the orientation comes from, and what was wrong with it (empty if nothing was).
    """
    faults = []
    for code in ("sform_code", "qform_code"):
        if not 0 <= header[code] <= _LARGEST_CODE:
            header[code] = _ALIGNED if header[code] > 0 else 0
    if header["sform_code"] != 0 and not np.isfinite(header.get_sform()).all():
        header["sform_code"] = 0
        faults.append("an sform with values that are not finite, which is ignored")
    if header["qform_code"] != 0:
        fault = _repair_quaternion(header)
        faults += [fault] if fault and header["sform_code"] == 0 else []
    source: Source = "sform" if header["sform_code"] != 0 else "qform" if header["qform_code"] != 0 else "none"
    return source, "; ".join(faults)


def _repair_quaternion(header: nib.Nifti1Header) -> str:
    names = ("quatern_b", "quatern_c", "quatern_d")
    numbers = np.array([header[name] for name in names], np.float64)
    offsets = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], np.float64)
    length = math.hypot(*numbers)
    if not (length <= _LONGEST and np.isfinite(offsets).all()):
        header["qform_code"] = 0
        return f"a quaternion of length {length:g}, which is not a rotation and is ignored"
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1
    if length < 1 or length**2 - 1 < abs(header.quaternion_threshold):
        return ""
    for name, number in zip(names, numbers / (length * (1 + np.finfo(header["quatern_b"].dtype).eps)), strict=True):
        header[name] = number
    return f"a quaternion of length {length:.8g}, which is scaled to 1"
