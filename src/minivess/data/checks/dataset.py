"""What is wrong between volumes, and between a volume and the JSON beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from minivess.data.dataset_profile import VolumeStats
from minivess.data.formats.voxel_size_json import stated_size
from minivess.data.layouts.cases import Case
from minivess.findings import Finding
from minivess.text import first_few, format_shape


def check_copies(volumes: Sequence[VolumeStats]) -> list[Finding]:
    """The same image, or the same label, under two names.

    An image in two folds is trained on and held out at once, so that is critical. One label for two images may be meant,
    as for two recordings of one place.
    """
    image_cure = "keep one: across folds the network would be tested on what it was trained on"
    label_cure = "check that no label was copied to the wrong name"
    found = []
    for same in _alike(volumes, lambda volume: volume.image_checksum):
        expected = "every image once"
        found.append(Finding("critical", "same_image", " = ".join(same), expected, "identical voxels", image_cure))
    filled = [volume for volume in volumes if volume.foreground_fraction and volume.foreground_fraction < 1]
    for same in _alike(filled, lambda volume: volume.label_checksum):
        expected = "a label of its own for every image"
        found.append(Finding("warning", "same_label", " = ".join(same), expected, "identical labels", label_cure))
    return found


def check_sidecars(cases: Iterable[Case], volumes: Sequence[VolumeStats]) -> list[Finding]:
    """Whether the voxel size that a sidecar gives, if it gives one, is the header's."""
    by_name = {volume.name: volume for volume in volumes}
    differing, unread = [], []
    for case in cases:
        if case.sidecar is None or case.name not in by_name:
            continue
        try:
            stated = stated_size(json.loads(case.sidecar.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            unread.append(case.sidecar.name)
            continue
        header, spacing = by_name[case.name].spacing_um, stated.spacing_um if stated else None
        if spacing is not None and not np.allclose(spacing, header, rtol=2e-2):
            differing.append(f"{case.name} ({format_shape(header)} µm, {case.sidecar.name} {format_shape(spacing)})")
    found = []
    if differing:
        cure = "find out which is true; the run uses the header"
        got = first_few(differing)
        found.append(Finding("warning", "sidecar_spacing", "data set", "one voxel size a volume", got, cure))
    if unread:
        cure = "mend or remove them; the run does not use them"
        found.append(Finding("warning", "sidecar_json", "data set", "JSON beside volumes", first_few(unread), cure))
    return found


def _alike(volumes: Sequence[VolumeStats], key: Callable[[VolumeStats], Hashable]) -> list[list[str]]:
    groups: dict[Hashable, list[str]] = {}
    for volume in volumes:
        if key(volume) is not None:
            groups.setdefault((key(volume), volume.shape), []).append(volume.name)
    return [names for names in groups.values() if len(names) > 1]
