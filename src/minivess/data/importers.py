"""Folder layouts that hold pairs of volume and label: MiniVess's own and nnU-Net's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from minivess.errors import DataError

_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True)
class Case:
    """One volume: its name and its files; ``label`` is None where no label lies beside it."""

    name: str
    image: Path
    label: Path | None


def find_cases(folder: Path) -> list[Case]:
    """List the cases of a data set folder, sorted by name.

    Two layouts are known: ``raw/NAME.nii.gz`` with ``seg/NAME_y.nii.gz`` (MiniVess), and nnU-Net's
    ``imagesTr/NAME_0000.nii.gz`` with ``labelsTr/NAME.nii.gz``.

    Raises:
        DataError: The folder is missing, follows neither layout, holds no volume, or a label has no volume.
    """
    if not folder.is_dir():
        raise DataError("a data set folder", f"no folder at {folder}", "check --data-dir")
    for layout, find in _LAYOUTS.items():
        if (folder / layout).is_dir():
            cases = sorted(find(folder), key=lambda case: case.name)
            if not cases:
                raise DataError("NIfTI volumes", f"none in {folder / layout}", "put NAME.nii.gz files there")
            return cases
    raise DataError(
        "raw/ and seg/ (MiniVess) or imagesTr/ and labelsTr/ (nnU-Net)",
        f"neither in {folder}",
        "arrange the files so, or try `minivess data phantom OUT` for an example",
    )


def require_labels(cases: list[Case]) -> list[Case]:
    """The same cases, every one with a label.

    Raises:
        DataError: Names each case that lacks one.
    """
    missing = [case.name for case in cases if case.label is None]
    if missing:
        raise DataError(
            "a label for every volume",
            f"none for {', '.join(missing)}",
            "add seg/NAME_y.nii.gz (or labelsTr/NAME.nii.gz), or take the volume out",
        )
    return cases


def _minivess(folder: Path) -> Iterator[Case]:
    labels = {name.removesuffix("_y"): path for name, path in _volumes(folder / "seg").items()}
    images = _volumes(folder / "raw")
    _refuse_orphans(labels.keys() - images.keys(), folder / "raw")
    for name, image in images.items():
        yield Case(name, image, labels.get(name))


def _nnunet(folder: Path) -> Iterator[Case]:
    labels = _volumes(folder / "labelsTr")
    images = _volumes(folder / "imagesTr")
    extra = sorted(name for name in images if not name.endswith("_0000"))
    if extra:
        raise DataError(
            "one channel a case (NAME_0000)",
            f"{', '.join(extra[:3])} in {folder / 'imagesTr'}",
            "keep one channel a case",
        )
    names = {name.removesuffix("_0000"): path for name, path in images.items()}
    _refuse_orphans(labels.keys() - names.keys(), folder / "imagesTr")
    for name, image in names.items():
        yield Case(name, image, labels.get(name))


_LAYOUTS: dict[str, Callable[[Path], Iterator[Case]]] = {"raw": _minivess, "imagesTr": _nnunet}


def _volumes(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        suffix = next((suffix for suffix in _SUFFIXES if path.name.endswith(suffix)), None)
        if suffix is None or path.name.startswith("."):
            continue
        name = path.name.removesuffix(suffix)
        if name in found:
            raise DataError("one file a case", f"{found[name].name} and {path.name} in {folder}", "keep one of the two")
        found[name] = path
    return found


def _refuse_orphans(names: set[str], images: Path) -> None:
    if names:
        raise DataError(
            "a volume for every label",
            f"none in {images} for {', '.join(sorted(names))}",
            "add the volume or remove the label",
        )


def import_splits(folder: Path) -> list[dict[str, list[str]]] | None:
    """nnU-Net's ``splits_final.json`` as it stands, or None where the folder has none."""
    path = folder / "splits_final.json"
    if not path.is_file():
        return None
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError("JSON in splits_final.json", f"{path}: {error}", "mend or remove the file") from error
