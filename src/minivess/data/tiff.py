"""TIFF stacks, which carry no voxel size that one could trust, become a data set in MiniVess's layout."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageSequence

from minivess.data.consistency import find_spacing
from minivess.data.nifti import write_volume
from minivess.errors import DataError
from minivess.strides import Spacing

SPACING_TABLE = "spacing.csv"

_IMAGE_FOLDERS = ("denoised", "raw", "images", "imagesTr")
_LABEL_FOLDERS = ("labels", "seg", "masks", "labelsTr")
# "stack1_BM4D_denoised" and "stack1_manualLabels_v2" are both "stack1".
_TAIL = re.compile(
    r"_(?:bm4d|denoised|raw|image|[a-z]*labels?|labels?[a-z]*|seg|mask|gt|y|0000)(?:_.*)?$", re.IGNORECASE
)


@dataclass(frozen=True)
class TiffCase:
    """One stack, its label and its voxel size."""

    name: str
    image: Path
    label: Path | None
    spacing_um: Spacing


def find_tiffs(folder: Path, spacing_um: Spacing | None = None) -> list[TiffCase]:
    """The stacks of ``denoised/`` (or raw/, images/, imagesTr/) with the labels of ``labels/`` (or seg/, masks/, labelsTr/).

    A case is named by what its files' names have in common: "stack1_BM4D_denoised.tif" and "stack1_labels_v1.tif" are
    "stack1".

    Args:
        folder: Where the two folders lie, as VesselNN is published.
        spacing_um: Voxel size along X, Y, Z of every stack. Where None, a row ``name,x_um,y_um,z_um`` of ``spacing.csv``
            gives it, or three numbers "spacing_um" in a JSON of the stack's name beside it.

    Raises:
        DataError: No such folder, no stack, names that cannot be paired, or a stack without a voxel size.
    """
    stacks = _existing(folder, _IMAGE_FOLDERS)
    images = _named(stacks)
    labels = _named(_existing(folder, _LABEL_FOLDERS, optional=True))
    if not images:
        raise DataError("TIFF stacks", f"none in {stacks}", "put .tif files there")
    if orphans := sorted(labels.keys() - images.keys()):
        cure = "rename the files so that those of one case begin alike, or remove the labels"
        raise DataError("a stack for every label", f"none for {', '.join(orphans)}", cure)
    table = {} if spacing_um else _read_table(folder / SPACING_TABLE)
    sizes = {name: spacing_um or table.get(name) or _sidecar_spacing(path) for name, path in images.items()}
    if lacking := [name for name, size in sizes.items() if size is None]:
        cure = f"give --spacing-um, or a row name,x_um,y_um,z_um for each in {folder / SPACING_TABLE}"
        raise DataError("a voxel size for every stack", f"none for {', '.join(lacking)}", cure)
    return [
        TiffCase(name, path, labels.get(name), size)
        for (name, path), size in zip(images.items(), sizes.values(), strict=True)
        if size is not None
    ]


def import_tiffs(cases: list[TiffCase], out: Path, progress: Callable[[str], None]) -> None:
    """Write each case as ``raw/NAME.nii.gz`` and ``seg/NAME_y.nii.gz``.

    A TIFF stack (pages, rows, columns) is (Z, Y, X); the volume is (X, Y, Z), so that voxel ``[x, y, z]`` is column x of
    row y of page z. A label's two values become 0 and 1.

    Args:
        cases: From ``find_tiffs``.
        out: The data set folder to be.
        progress: Called with the name of every case that is written.

    Raises:
        DataError: A file to be written is there already (before anything is written), a stack cannot be read or is not
            one channel of Z, Y, X, a label has more than two values or another shape than its image.
    """
    targets = {case.name: (out / f"raw/{case.name}.nii.gz", out / f"seg/{case.name}_y.nii.gz") for case in cases}
    if taken := [str(path) for pair in targets.values() for path in pair if path.exists()]:
        raise DataError("a new or empty folder", f"{taken[0]} is there already", "name another folder")
    for case in cases:
        image = _read_stack(case.image)
        label = None if case.label is None else _binary(case.label, _read_stack(case.label))
        if label is not None and label.shape != image.shape:
            got = f"{case.label} of shape {label.shape} for {image.shape}"
            raise DataError("a label of its stack's shape (X, Y, Z)", got, "export the label on the stack's grid")
        image_path, label_path = targets[case.name]
        if label is not None:
            write_volume(label_path, label, spacing_um=case.spacing_um)
        write_volume(image_path, image, spacing_um=case.spacing_um)
        progress(case.name)


def _existing(folder: Path, names: tuple[str, ...], optional: bool = False) -> Path | None:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None and not optional:
        cure = f"put the stacks into {folder / names[0]} and their labels into {folder / _LABEL_FOLDERS[0]}"
        raise DataError(f"a folder {', '.join(names[:-1])} or {names[-1]}", f"none in {folder}", cure)
    return found


def _named(folder: Path | None) -> dict[str, Path]:
    paths = (
        [] if folder is None else sorted(path for path in folder.iterdir() if path.suffix.lower() in {".tif", ".tiff"})
    )
    found: dict[str, Path] = {}
    for path in paths:
        name = _TAIL.sub("", path.stem)
        if name in found:
            got = f"{found[name].name} and {path.name} in {folder}"
            raise DataError(f"one file for {name!r}", got, "rename or remove one of the two")
        found[name] = path
    return found


def _read_table(path: Path) -> dict[str, Spacing]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {
                row["name"]: _checked_spacing((row["x_um"], row["y_um"], row["z_um"])) for row in csv.DictReader(file)
            }
    except (KeyError, ValueError, TypeError) as error:
        raise DataError("columns name,x_um,y_um,z_um with sizes above zero", f"{path}: {error}", "mend it") from error


def _checked_spacing(texts: tuple[str, str, str]) -> Spacing:
    x, y, z = (float(text) for text in texts)
    if not 0 < min(x, y, z) <= max(x, y, z) < float("inf"):
        raise ValueError(f"{texts}")
    return x, y, z


def _sidecar_spacing(path: Path) -> Spacing | None:
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return None
    try:
        return find_spacing(json.loads(sidecar.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError("JSON", f"{sidecar}: {error}", "mend or remove it") from error


def _read_stack(path: Path) -> np.ndarray:
    """One TIFF stack as (X, Y, Z)."""
    try:
        axes, pages = _read_pages(path)
    except (OSError, ValueError, IndexError, tifffile.TiffFileError) as error:
        raise DataError("a TIFF stack", f"{path}: {error}", "export it again as an uncompressed TIFF stack") from error
    # ImageJ often calls the pages of a stack times.
    if pages.ndim != 3 or axes[-2:] != "YX" or axes[0] == "C":
        cure = "export one channel as a stack of grey pages"
        raise DataError("one channel (Z, Y, X)", f"axes {axes} of shape {pages.shape} in {path}", cure)
    return np.ascontiguousarray(pages.T.astype(np.uint8) if pages.dtype == bool else pages.T)


def _read_pages(path: Path) -> tuple[str, np.ndarray]:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        axes = series.axes
        try:
            return axes, series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
    # LZW, as VesselNN is compressed, takes tifffile a large package more; Pillow has it built in.
    with Image.open(path) as image:
        return axes, np.stack([np.asarray(page) for page in ImageSequence.Iterator(image)]).reshape(series.shape)


def _binary(path: Path, label: np.ndarray) -> np.ndarray:
    values = np.unique(label)
    if len(values) > 2 or values[0] != 0:
        got = f"{', '.join(f'{value:g}' for value in values[:5])}{', ...' if len(values) > 5 else ''} in {path}"
        raise DataError("a label of two values, background 0", got, "write vessel as 255 and all else as 0")
    return (label != 0).astype(np.uint8)
