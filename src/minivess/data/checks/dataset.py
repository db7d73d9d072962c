"""Checks across volumes: duplicates, voxel sizes that differ from a JSON sidecar, and labels without known vessel."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from minivess.data.dataset_profile import VolumeStats
from minivess.data.formats.foreign_json import read_foreign_json
from minivess.data.formats.voxel_size_json import stated_size
from minivess.data.layouts.cases import Case
from minivess.findings import Finding
from minivess.text import first_few, format_shape


def check_copies(volumes: Sequence[VolumeStats]) -> list[Finding]:
    """Find images, and labels, that occur under two names.

    A duplicate image is critical: in two folds, it is trained on and held out at the same time. The voxels count, not the
    type, slope and intercept with which they are stored. A duplicate label is
    only a warning, because it can be intended, e.g. for two recordings at one place. Empty and full labels are
    ignored.

    Args:
        volumes: The volumes, with checksums if their voxels were read.

    Returns:
        One finding for each group of identical images or labels.
    """
    image_cure = "keep only one of them: across folds the network would be tested on an image that it was trained on"
    label_cure = "check that no label was saved under the wrong name"
    found = []
    for same in _find_identical(volumes, _image_key):
        expected = "every image only once"
        found.append(Finding("critical", "same_image", " = ".join(same), expected, "identical voxels", image_cure))
    filled = [volume for volume in volumes if volume.foreground_fraction and volume.foreground_fraction < 1]
    for same in _find_identical(filled, lambda volume: volume.label_checksum):
        expected = "a different label for every image"
        found.append(Finding("warning", "same_label", " = ".join(same), expected, "identical labels", label_cure))
    return found


def check_unknown(volumes: Sequence[VolumeStats], ignore_value: int | None) -> list[Finding]:
    """Check that the value of unknown voxels is not that of vessel: then no label has vessel, which is critical.

    Args:
        volumes: The volumes.
        ignore_value: Value of unknown voxels; None if every voxel is known.
    """
    measured = [volume for volume in volumes if volume.known_voxels]
    if ignore_value is None or not measured or any(volume.foreground_fraction for volume in measured):
        return []
    if not any(volume.has_unknown for volume in measured):
        return []
    got = f"none; {ignore_value} is read as unknown"
    cure = f"if {ignore_value} means vessel, remove data.ignore_value or correct it; if not, label some vessels as 1"
    return [Finding("critical", "label_no_vessel", "data set", "a label with known vessel voxels", got, cure)]


def check_sidecars(cases: Iterable[Case], volumes: Sequence[VolumeStats]) -> list[Finding]:
    """Check that the voxel size in a JSON sidecar, if there is one, equals the one in the header within 2 %.

    Args:
        cases: The cases, with the paths of their sidecars.
        volumes: The volumes of these cases.

    Returns:
        At most two findings: sidecars with another voxel size, and sidecars that cannot be read.
    """
    by_name = {volume.name: volume for volume in volumes}
    differing, unread = [], []
    for case in cases:
        if case.sidecar is None or case.name not in by_name:
            continue
        try:
            stated = stated_size(read_foreign_json(case.sidecar))
        except (ValueError, OverflowError):  # OverflowError: a whole number that float cannot hold
            unread.append(case.sidecar.name)
            continue
        header, spacing = by_name[case.name].spacing_um, stated.spacing_um if stated else None
        if spacing is not None and not np.allclose(spacing, header, rtol=2e-2):
            differing.append(f"{case.name} ({format_shape(header)} µm, {case.sidecar.name} {format_shape(spacing)})")
    found = []
    if differing:
        cure = "find out which one is correct; the run uses the header"
        got = first_few(differing)
        found.append(Finding("warning", "sidecar_spacing", "data set", "the same voxel size in both", got, cure))
    if unread:
        cure = "fix or remove these files; the run does not use them"
        found.append(Finding("warning", "sidecar_json", "data set", "valid JSON sidecars", first_few(unread), cure))
    return found


def _image_key(volume: VolumeStats) -> Hashable:
    """Equal for volumes with the same voxels.

    The checksum is that of float32, in which volumes with a large constant can be equal although their voxels differ; the
    deviation tells these apart.
    """
    return None if volume.image_checksum is None else (volume.image_checksum, f"{volume.intensity_std or 0:.6g}")


def _find_identical(volumes: Sequence[VolumeStats], key: Callable[[VolumeStats], Hashable]) -> list[list[str]]:
    """Names of the volumes with the same key and the same shape, for each such group of two or more."""
    groups: dict[Hashable, list[str]] = {}
    for volume in volumes:
        if key(volume) is not None:
            groups.setdefault((key(volume), volume.shape), []).append(volume.name)
    return [names for names in groups.values() if len(names) > 1]
