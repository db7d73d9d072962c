"""Folder layouts that hold pairs of volume and label: MiniVess's own, nnU-Net's and the Medical Segmentation Decathlon's."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minivess.errors import DataError
from minivess.findings import Finding

_SUFFIX = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
_CHANNEL = re.compile(r"_\d{4}$")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Case:
    """One volume: its name and its files.

    Attributes:
        name: Unique in the data set.
        image: The volume.
        label: Its label; None where none lies beside it.
        sidecar: JSON with facts about the volume; None where there is none.
    """

    name: str
    image: Path
    label: Path | None
    sidecar: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """Image and label, those there are."""
        return (self.image,) if self.label is None else (self.image, self.label)


@dataclass(frozen=True)
class Layout:
    """What lies in a data set folder: its cases by name, and what is wrong with files and names."""

    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]


def read_layout(folder: Path) -> Layout:
    """List the cases of a data set folder, sorted by name, and what does not pair.

    Three layouts are known: ``raw/NAME.nii.gz`` with ``seg/NAME_y.nii.gz`` and ``json/NAME.json`` (MiniVess),
    ``imagesTr/NAME_0000.nii.gz`` with ``labelsTr/NAME.nii.gz`` (nnU-Net), and the same without ``_0000`` (Decathlon).
    ``.nii`` will do as well.

    Raises:
        DataError: The folder is missing, follows no layout, or holds no volume.
    """
    if not folder.is_dir():
        raise DataError("a data set folder", f"no folder at {folder}", "check --data-dir")
    for images, read in _LAYOUTS.items():
        if (folder / images).is_dir():
            layout = read(folder)
            if not layout.cases:
                raise DataError("NIfTI volumes", f"none in {folder / images}", _no_volume_cure(folder / images))
            return layout
    raise DataError(
        "raw/ and seg/ (MiniVess) or imagesTr/ and labelsTr/ (nnU-Net)",
        f"neither in {folder}",
        "arrange the files so, `minivess data import-tiff` for TIFF stacks, or try `minivess data phantom OUT`",
    )


def name_of(path: Path) -> str:
    """The name of a NIfTI file without its suffix, in whatever case that is written."""
    return _SUFFIX.sub("", path.name)


def find_cases(folder: Path) -> list[Case]:
    """The cases of ``read_layout`` alone; raises as it does."""
    return list(read_layout(folder).cases)


def missing_label(name: str) -> Finding:
    """That a case lacks the label it is to be trained with."""
    cure = "add seg/NAME_y.nii.gz (or labelsTr/NAME.nii.gz), or take the volume out"
    return Finding("critical", "label_missing", name, "a label for every volume", f"none for {name}", cure)


def _minivess(folder: Path) -> Layout:
    images, twice = _volumes(folder / "raw")
    labels, label_twice = _volumes(folder / "seg")
    labels = {name.removesuffix("_y"): path for name, path in labels.items()}
    return _paired(images, labels, folder / "raw", folder / "json", [*twice, *label_twice])


def _nnunet(folder: Path) -> Layout:
    images, found = _volumes(folder / "imagesTr")
    labels, label_twice = _volumes(folder / "labelsTr")
    found += label_twice
    if any(_CHANNEL.search(name) for name in images):
        found += [_channel_fault(name) for name in images if not name.endswith("_0000")]
        images = {name.removesuffix("_0000"): path for name, path in images.items() if name.endswith("_0000")}
    return _paired(images, labels, folder / "imagesTr", folder / "metadata", found)


_LAYOUTS: dict[str, Callable[[Path], Layout]] = {"raw": _minivess, "imagesTr": _nnunet}


def _volumes(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """The NIfTI files of a folder by name; of a name that is there twice the compressed one, and a finding."""
    found: dict[str, Path] = {}
    twice = []
    for path in sorted(folder.glob("*"), reverse=True) if folder.is_dir() else []:
        if not _SUFFIX.search(path.name) or path.name.startswith("."):
            continue
        name = name_of(path)
        if name in found:
            got = f"{found[name].name} and {path.name} in {folder}"
            twice.append(Finding("critical", "file_twice", name, "one file a volume", got, "keep one of the two"))
        else:
            found[name] = path
    return dict(sorted(found.items())), twice


def _paired(
    images: dict[str, Path], labels: dict[str, Path], place: Path, sidecars: Path, found: list[Finding]
) -> Layout:
    if labels:
        found += [missing_label(name) for name in images if name not in labels]
    elif images:
        cure = "add labels to train on them; they can be predicted as they are"
        found.append(Finding("warning", "no_labels", "data set", "labels", f"none beside {place}", cure))
    found += [
        Finding("critical", "image_missing", name, "a volume for every label", f"none in {place} for {name}", cure)
        for cure in ["add the volume or remove the label"]
        for name in labels.keys() - images.keys()
    ]
    cases = [
        Case(name, image, labels.get(name), sidecar if (sidecar := sidecars / f"{name}.json").is_file() else None)
        for name, image in images.items()
    ]
    return Layout(tuple(cases), (*sorted(found, key=lambda finding: finding.what), *_name_faults(images)))


def _channel_fault(name: str) -> Finding:
    cure = "keep one channel a case"
    return Finding("critical", "channels", name, "one channel a case (NAME_0000)", f"{name} in imagesTr", cure)


def _name_faults(names: dict[str, Path]) -> list[Finding]:
    found = []
    alike: dict[str, str] = {}
    for name in names:
        if alike.setdefault(name.casefold(), name) != name:
            got, cure = f"{alike[name.casefold()]} and {name}", "rename one: some file systems take them for one file"
            found.append(
                Finding("warning", "name_alike", name, "names that differ by more than upper and lower case", got, cure)
            )
        if not _PLAIN_NAME.fullmatch(name):
            cure = "rename it: other programs may not take it as it is"
            expected = "letters, digits, dot, dash and underscore in a name"
            found.append(Finding("warning", "name_letters", name, expected, repr(name), cure))
    return found


def _no_volume_cure(folder: Path) -> str:
    tiffs = any(path.suffix.lower() in {".tif", ".tiff"} for path in folder.iterdir())
    return "`minivess data import-tiff` makes NIfTI of TIFF stacks" if tiffs else "put NAME.nii.gz files there"
