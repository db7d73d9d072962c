"""TIFF stacks, which carry no voxel size that one could trust, become a data set in MiniVess's layout."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from minivess.atomic import atomic_folder
from minivess.data.formats.nifti import write_volume
from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_stack import read_label_stack, read_stack, read_stack_shape
from minivess.data.formats.voxel_size_json import stated_size
from minivess.data.layouts.listing import visible
from minivess.errors import DataError
from minivess.findings import Finding, raise_critical
from minivess.geometry import Spacing
from minivess.text import first_few, format_shape

SPACING_TABLE = "spacing.csv"

_IMAGE_FOLDERS = ("denoised", "raw", "images", "imagesTr")
_LABEL_FOLDERS = ("labels", "seg", "masks", "labelsTr")
# "stack1_BM4D_denoised" and "stack1_manualLabels_v2" are both "stack1".
_TAIL = re.compile(
    r"_(?:bm4d|denoised|raw|image|[a-z]*labels?|labels?[a-z]*|seg|mask|gt|y|0000)(?:_.*)?$", re.IGNORECASE
)

Result = TypeVar("Result")


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
            gives it, or a JSON of the stack's name beside it: three numbers "spacing_um", or OME's PhysicalSizeX, Y and Z.

    Raises:
        DataError: No such folder, no stack, or every fault that names, voxel sizes and headers show: files that do not
            pair, a stack without a voxel size or with one whose unit would be guessed, one that is not one channel of
            Z, Y, X, a label of another shape.
    """
    stacks = _existing(folder, _IMAGE_FOLDERS)
    found: list[Finding] = []
    images = _named(stacks, found)
    labels = _named(_existing(folder, _LABEL_FOLDERS, optional=True), found)
    if not images:
        raise DataError("TIFF stacks", f"none in {stacks}", "put .tif files there")
    for name in sorted(labels.keys() - images.keys()):
        cure = "rename the files so that those of one case begin alike, or remove the label"
        found.append(Finding("critical", "image_missing", name, "a stack for every label", f"none in {stacks}", cure))
    sizes = dict.fromkeys(images, spacing_um) if spacing_um else _find_sizes(images, folder / SPACING_TABLE, found)
    for name, path in images.items():
        _check_shapes(name, path, labels.get(name), found)
    raise_critical(found, DataError)
    return [TiffCase(name, path, labels.get(name), sizes[name]) for name, path in images.items()]


def import_tiffs(cases: list[TiffCase], out: Path, progress: Callable[[str], None]) -> None:
    """Write each case as ``raw/NAME.nii.gz`` and ``seg/NAME_y.nii.gz``; ``out`` appears when all are written, or not at all.

    A TIFF stack (pages, rows, columns) is (Z, Y, X); the volume is (X, Y, Z), so that voxel ``[x, y, z]`` is column x of
    row y of page z. A label's two values become 0 and 1.

    Args:
        cases: From ``find_tiffs``.
        out: The data set folder to be.
        progress: Called with the name of every case that is done.

    Raises:
        DataError: ``out`` is not empty; or every stack that cannot be read to its end, and every label of more than two values.
    """
    out = out.resolve()
    if out.is_dir() and (there := sorted(path.name for path in out.iterdir())):
        raise DataError("a new or empty folder", f"{out}, which holds {first_few(there)}", "name another folder")
    if out.is_mount():  # nothing can be renamed to it
        raise DataError(
            "a folder that can appear whole", f"{out}, where a disk begins", f"name one in it: {out / 'data'}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    found: list[Finding] = []
    with atomic_folder(out) as temporary:
        for case in cases:
            _convert(case, temporary, found)
            progress(case.name)
        raise_critical(found, DataError)
        if out.is_dir() and any(out.iterdir()):
            raise DataError("a new or empty folder", f"{out}, which was filled meanwhile", "name another folder")


def _convert(case: TiffCase, out: Path, found: list[Finding]) -> None:
    image = _tried(case.name, found, read_stack, case.image)
    label = None if case.label is None else _tried(case.name, found, read_label_stack, case.label)
    if found or image is None:
        return  # nothing will be kept; the cases to come are read for their faults alone
    if label is not None:
        write_volume(out / f"seg/{case.name}_y.nii.gz", label, spacing_um=case.spacing_um)
    write_volume(out / f"raw/{case.name}.nii.gz", image, spacing_um=case.spacing_um)


def _tried(name: str, found: list[Finding], read: Callable[[Path], Result], path: Path) -> Result | None:
    """What ``read`` gives, or None and one more finding."""
    try:
        return read(path)
    except VolumeError as error:
        found.append(error.as_finding(name))
        return None


def _existing(folder: Path, names: tuple[str, ...], optional: bool = False) -> Path | None:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None and not optional:
        cure = f"put the stacks into {folder / names[0]} and their labels into {folder / _LABEL_FOLDERS[0]}"
        raise DataError(f"a folder {', '.join(names[:-1])} or {names[-1]}", f"none in {folder}", cure)
    return found


def _named(folder: Path | None, faults: list[Finding]) -> dict[str, Path]:
    """The TIFF files of a folder by the names of their cases; two of one name are a fault."""
    found: dict[str, Path] = {}
    for path in visible(folder) if folder else []:
        name = _TAIL.sub("", path.stem)
        if path.suffix.lower() not in {".tif", ".tiff"}:
            continue
        if name in found:
            got = f"{found[name].name} and {path.name} in {folder}"
            faults.append(Finding("critical", "file_twice", name, "one file a case", got, "rename or remove one"))
        found[name] = path
    return found


def _check_shapes(name: str, image: Path, label: Path | None, found: list[Finding]) -> None:
    shape = _tried(name, found, read_stack_shape, image)
    label_shape = None if label is None else _tried(name, found, read_stack_shape, label)
    if shape and label_shape and shape != label_shape:
        got, cure = (
            f"label {format_shape(label_shape)}, stack {format_shape(shape)}",
            "export the label on the stack's grid",
        )
        found.append(Finding("critical", "pair_shape", name, "a label of its stack's shape (X, Y, Z)", got, cure))


def _find_sizes(images: dict[str, Path], table: Path, found: list[Finding]) -> dict[str, Spacing]:
    """Voxel sizes from the table and from sidecars; a stack without one is a fault."""
    sizes = _tried(table.name, found, _read_table, table)
    if sizes is None:
        return {}
    faulty = set()
    for name in sorted(images.keys() - sizes.keys()):
        before = len(found)
        if (size := _tried(name, found, _sidecar_spacing, images[name])) is not None:
            sizes[name] = size
        elif len(found) > before:
            faulty.add(name)
    cure = f"give --spacing-um, or a row name,x_um,y_um,z_um for each in {table}"
    found += [
        Finding("critical", "voxel_size", name, "a voxel size for every stack", "none", cure)
        for name in images
        if name not in sizes and name not in faulty
    ]
    return sizes


def _read_table(path: Path) -> dict[str, Spacing]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return {
                row["name"]: _checked_spacing((row["x_um"], row["y_um"], row["z_um"])) for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError, TypeError) as error:
        expected = "columns name,x_um,y_um,z_um with sizes above zero"
        raise VolumeError("spacing_table", expected, f"{path}: {error}", "mend it") from error


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
        stated = stated_size(json.loads(sidecar.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise VolumeError("sidecar_json", "JSON", f"{sidecar}: {error}", "mend or remove it") from error
    if stated is not None and not stated.certain:
        expected = 'a voxel size of known unit and order, three numbers X, Y, Z under "spacing_um" or OME\'s PhysicalSizeX, Y, Z'
        cure = "write it as spacing_um, or give --spacing-um"
        raise VolumeError("sidecar_spacing", expected, f'"{stated.key}" in {sidecar}', cure)
    return stated.spacing_um if stated else None
