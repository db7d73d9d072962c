"""Check that volumes and labels pair by name, and report the other files in their folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from minivess.data.layouts.listing import nifti_files, other_files, visible
from minivess.errors import DataError
from minivess.findings import Finding
from minivess.text import counted, first_few

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Folders:
    """Folders of a layout.

    Attributes:
        images: Folder of the volumes.
        labels: Folder of the labels; it may be missing.
        sidecars: Folder of the JSON files about the volumes; it may be missing.
        label_name: File name of the label of the volume NAME.
    """

    images: Path
    labels: Path
    sidecars: Path
    label_name: str

    @property
    def label(self) -> str:
        """File name of the label of the volume NAME, with its folder."""
        return f"{self.labels.name}/{self.label_name}"


def check_pairs(images: Set[str], labels: Mapping[str, Path], folders: Folders) -> list[Finding]:
    """Check that each volume has a label and each label a volume; if there are no labels, return one finding for all.

    Args:
        images: Names of the volumes.
        labels: The label files by the names of their volumes.
        folders: Folders of volumes and labels.

    Returns:
        The findings, sorted by name.
    """
    if not labels:
        return [_no_labels(folders)]
    expected = f"{folders.label} for every volume"
    misnamed = _misnamed(images, labels)
    found = []
    for name in images:
        if name in misnamed:
            got = f"only {folders.labels.name}/NAME{labels[misnamed[name]].name.removeprefix(name)}"
            found.append(
                Finding("critical", "label_missing", name, expected, got, "rename the label to the expected name")
            )
        elif name not in labels:
            cure = "add the label, or remove the volume"
            found.append(Finding("critical", "label_missing", name, expected, "none", cure))
    for name in labels.keys() - images - set(misnamed.values()):
        got, cure = f"none in {folders.images}", "add the volume, or rename or remove the label"
        found.append(Finding("critical", "image_missing", name, "a volume for every label", got, cure))
    return sorted(found, key=lambda finding: finding.what)


def check_names(names: Iterable[str]) -> list[Finding]:
    """Check that file systems and other programs accept the names of the volumes."""
    found = []
    alike: dict[str, str] = {}
    for name in names:
        if alike.setdefault(name.casefold(), name) != name:
            got, cure = f"{alike[name.casefold()]} and {name}", "rename one: some file systems treat them as one file"
            expected = "names that differ by more than upper and lower case"
            found.append(Finding("warning", "name_alike", name, expected, got, cure))
        if not _PLAIN_NAME.fullmatch(name):
            cure = "rename it: other programs may not accept this name"
            expected = "a name of letters, digits, dots, dashes and underscores"
            found.append(Finding("warning", "name_letters", name, expected, repr(name), cure))
    return found


def check_others(folders: Folders) -> list[Finding]:
    """Report the files and folders that are not read."""
    places = [folders.images, folders.labels]
    held = [f"{others} in {place.name}/" for place in places if (others := other_files(place))]
    if not held:
        return []
    got = f"{'; '.join(held)}: only .nii.gz and .nii files directly in {' and '.join(f'{p.name}/' for p in places)} are read"
    return [Finding("info", "left_out", "data set", "", got, "")]


def _misnamed(images: Set[str], labels: Mapping[str, Path]) -> dict[str, str]:
    """For each volume without a label, find a label whose name begins with the volume's name, such as NAME_seg."""
    lacking = images - labels.keys()
    owners = {
        label: [name for name in lacking if label.startswith((f"{name}_", f"{name}-", f"{name}."))]
        for label in sorted(labels.keys() - images, reverse=True)
    }
    return {max(names, key=len): label for label, names in owners.items() if names}


def _no_labels(folders: Folders) -> Finding:
    place = folders.labels
    own = (folders.images, place, folders.sidecars)
    candidates = [path for path in visible(place.parent) if path not in own and _holds_nifti(path)]
    got = f"no folder {place.name}/ next to {folders.images}"
    if place.is_dir():
        got = f"no NIfTI file in {place}" + (f", only {others}" if (others := other_files(place)) else "")
    cure = "add labels if you want to train; prediction needs none"
    if candidates:
        seen = first_few([f"{path.name}/ with {counted(len(nifti_files(path)), 'NIfTI file')}" for path in candidates])
        got += f", but {seen}"
        cure = f"if {' or '.join(f'{path.name}/' for path in candidates)} contains the labels, rename them to {folders.label}"
    return Finding("warning", "no_labels", "data set", "labels", got, cure)


def _holds_nifti(path: Path) -> bool:
    """Whether ``path`` is a folder with NIfTI files; false if it cannot be listed, such as lost+found of a disk."""
    try:
        return bool(nifti_files(path))
    except DataError:
        return False
