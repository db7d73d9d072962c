"""Find the cases of a data set folder, in the layout of MiniVess, nnU-Net or the Medical Segmentation Decathlon."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path

from minivess.data.layouts.listing import name_of, nifti_files, other_files, visible
from minivess.data.layouts.pairing import Folders, check_names, check_others, check_pairs
from minivess.errors import DataError, in_utf8
from minivess.findings import Finding, raise_critical

_CHANNEL = re.compile(r"_\d{4}$")


@dataclass(frozen=True)
class Case:
    """The name and the files of one volume.

    Attributes:
        name: Name of the case, unique in the data set.
        image: File of the volume.
        label: File of its label; None if there is none.
        sidecar: JSON file with facts about the volume; None if there is none.
    """

    name: str
    image: Path
    label: Path | None
    sidecar: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """The image, and the label if there is one."""
        return (self.image,) if self.label is None else (self.image, self.label)


@dataclass(frozen=True)
class Layout:
    """The content of a data set folder.

    Attributes:
        cases: The cases, sorted by name.
        findings: What is wrong with files and names.
    """

    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]


def read_layout(folder: Path) -> Layout:
    """List the cases of a data set folder, the files that do not pair, and the files that are not read.

    There are three layouts: ``raw/NAME.nii.gz`` with ``seg/NAME_y.nii.gz`` and ``json/NAME.json`` (MiniVess),
    ``imagesTr/NAME_0000.nii.gz`` with ``labelsTr/NAME.nii.gz`` (nnU-Net), and the same without ``_0000`` (Decathlon).
    Uncompressed ``.nii`` files are read too. Hidden files are ignored.

    Args:
        folder: Folder of the data set.

    Returns:
        The cases and the findings.

    Raises:
        DataError: The folder is missing, cannot be listed, has none of the layouts, or contains no volume. Or its path is
            not UTF-8.
    """
    if not folder.is_dir():
        raise DataError("a data set folder", f"no folder at {folder}", "check the path (--data-dir of a run)")
    if in_utf8(place := str(folder.absolute())) != place:  # a record of the data set could not name it
        raise DataError("a data set folder with a path in UTF-8", place, "rename the folder")
    for images, read in _LAYOUTS.items():
        if (folder / images).is_dir():
            layout = read(folder)
            if not layout.cases:
                raise_critical([finding for finding in layout.findings if finding.check == "name_letters"], DataError)
                raise _no_volume(folder / images)
            return layout
    folders = ", ".join(f"{path.name}/" for path in visible(folder) if path.is_dir())
    raise DataError(
        "raw/ and seg/ (MiniVess) or imagesTr/ and labelsTr/ (nnU-Net)",
        f"neither in {folder}" + (f", which contains {folders}" if folders else ""),
        "move the files into such folders, convert TIFF stacks with `minivess data import-tiff`, "
        "or create example data with `minivess data phantom OUT`",
    )


def read_test_layout(folder: Path) -> tuple[Case, ...]:
    """List the labelled cases of nnU-Net's test set, ``imagesTs/`` with ``labelsTs/``, sorted by name.

    Images without a label are left out, because they cannot be scored. No file is opened.

    Args:
        folder: Folder of the data set.

    Returns:
        The cases; empty if one of the two folders is missing.

    Raises:
        DataError: A label has no image, or a file name cannot be used.
    """
    if not all((folder / part).is_dir() for part in ("imagesTs", "labelsTs")):
        return ()
    layout = _nnunet(folder, "Ts")
    unlabelled = ("label_missing", "no_labels")
    raise_critical([finding for finding in layout.findings if finding.check not in unlabelled], DataError)
    return tuple(case for case in layout.cases if case.label is not None)


def find_cases(folder: Path) -> list[Case]:
    """Return the cases of a data set folder, sorted by name, without the findings.

    Raises:
        DataError: See ``read_layout``.
    """
    return list(read_layout(folder).cases)


def _minivess(folder: Path) -> Layout:
    images, twice = _volumes(folder / "raw")
    labels, label_twice = _volumes(folder / "seg")
    labels = _without_suffix(labels, label_twice)
    folders = Folders(folder / "raw", folder / "seg", folder / "json", "NAME_y.nii.gz")
    return _paired(images, labels, folders, [*twice, *label_twice])


def _nnunet(folder: Path, part: str = "Tr") -> Layout:
    images, found = _volumes(folder / f"images{part}")
    labels, label_twice = _volumes(folder / f"labels{part}")
    found += label_twice
    if _have_channels(images.keys(), labels.keys()):
        found += [_channel_fault(name, f"images{part}") for name in images if not name.endswith("_0000")]
        images = {name.removesuffix("_0000"): path for name, path in images.items() if name.endswith("_0000")}
    folders = Folders(folder / f"images{part}", folder / f"labels{part}", folder / "metadata", "NAME.nii.gz")
    return _paired(images, labels, folders, found)


def _have_channels(images: Set[str], labels: Set[str]) -> bool:
    """Whether four digits at the end of a name are the channel of nnU-Net (NAME_0000), not part of the name (img_0001).

    They are part of the name if labels have exactly these names, and if no image has the first channel.
    """
    numbered = {name for name in images if _CHANNEL.search(name)}
    exact = {name for name in numbered & labels if _CHANNEL.sub("", name) not in labels}
    return not exact and any(name.endswith("_0000") for name in numbered)


_LAYOUTS: dict[str, Callable[[Path], Layout]] = {"raw": _minivess, "imagesTr": _nnunet}


def _volumes(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """Map names to the NIfTI files of a folder, and report the files that are left out.

    If a name has two files, the compressed one is taken. A name that is not UTF-8 cannot be written to a record.
    """
    found: dict[str, Path] = {}
    faults = []
    for path in reversed(nifti_files(folder)):
        name = name_of(path)
        if in_utf8(name) != name:
            faults.append(_unprintable(path))
        elif name in found:
            faults.append(_file_twice(name, found[name], path, "one file per volume"))
        else:
            found[name] = path
    return dict(sorted(found.items())), faults


def _unprintable(path: Path) -> Finding:
    expected, got = "file names in UTF-8", f"{path.name} in {path.parent}"
    return Finding("critical", "name_letters", path.name, expected, got, "rename the file")


def _without_suffix(labels: dict[str, Path], twice: list[Finding]) -> dict[str, Path]:
    """Map the name of each volume to its label; if NAME_y and NAME both exist, take NAME_y and add a finding."""
    found: dict[str, Path] = {}
    for name, path in sorted(labels.items(), key=lambda label: not label[0].endswith("_y")):
        case = name.removesuffix("_y")
        if case in found:
            twice.append(_file_twice(case, found[case], path, "one label per volume"))
        found.setdefault(case, path)
    return found


def _file_twice(name: str, one: Path, other: Path, expected: str) -> Finding:
    got = f"{one.name} and {other.name} in {one.parent}"
    return Finding("critical", "file_twice", name, expected, got, "remove one of the two")


def _paired(images: dict[str, Path], labels: dict[str, Path], folders: Folders, found: list[Finding]) -> Layout:
    cases = [
        Case(name, image, labels.get(name), sidecar if sidecar.is_file() else None)
        for name, image in images.items()
        for sidecar in [folders.sidecars / f"{name}.json"]
    ]
    pairs = check_pairs(images.keys(), labels, folders)
    return Layout(tuple(cases), (*found, *pairs, *check_names(images), *check_others(folders)))


def _channel_fault(name: str, folder: str) -> Finding:
    cure = "keep one channel per case"
    return Finding("critical", "channels", name, "one channel per case (NAME_0000)", f"{name} in {folder}", cure)


def _no_volume(folder: Path) -> DataError:
    others = other_files(folder)
    cure = "put NAME.nii.gz files into this folder"
    if ".tif" in others:
        cure = "convert TIFF stacks to NIfTI with `minivess data import-tiff`"
    return DataError("NIfTI volumes", f"none in {folder}" + (f", only {others}" if others else ""), cure)
