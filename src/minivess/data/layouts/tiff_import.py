"""Convert TIFF stacks to a data set in MiniVess's layout. Voxel sizes in TIFF files are not reliable and not used."""

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
# Removed from file names: "stack1_BM4D_denoised" and "stack1_manualLabels_v2" are both the case "stack1".
_TAIL = re.compile(
    r"_(?:bm4d|denoised|raw|image|[a-z]*labels?|labels?[a-z]*|seg|mask|gt|y|0000)(?:_.*)?$", re.IGNORECASE
)

Result = TypeVar("Result")


@dataclass(frozen=True)
class TiffCase:
    """One stack, its label and its voxel size.

    Attributes:
        name: Name of the case.
        image: TIFF file of the stack.
        label: TIFF file of its label; None if there is none.
        spacing_um: Voxel size along X, Y, Z in micrometres.
    """

    name: str
    image: Path
    label: Path | None
    spacing_um: Spacing


def find_tiffs(folder: Path, spacing_um: Spacing | None = None) -> list[TiffCase]:
    """Find the TIFF stacks of a folder, their labels and their voxel sizes.

    Stacks are in ``denoised/`` (or raw/, images/, imagesTr/), labels in ``labels/`` (or seg/, masks/, labelsTr/).
    The name of a case is a file name without its ending, such as "_raw" or "_labels" and all that follows:
    "stack1_BM4D_denoised.tif" and "stack1_labels_v1.tif" are the case "stack1".

    Args:
        folder: Folder that contains the two folders, such as VesselNN as published.
        spacing_um: Voxel size along X, Y, Z of all stacks in micrometres. If None, the voxel size of a stack comes from
            its row ``name,x_um,y_um,z_um`` in ``spacing.csv``, or from a JSON file with the stack's file name in the
            same folder: three numbers "spacing_um", or OME's PhysicalSizeX, Y and Z.

    Returns:
        The cases, sorted by file name.

    Raises:
        DataError: The folder or its stacks are missing. Or names, voxel sizes or headers are wrong; the error lists
            every fault: files that do not pair, a stack without a voxel size or with an uncertain unit, a stack that is
            not one channel (Z, Y, X), a label of another shape.
    """
    stacks = _find_folder(folder, _IMAGE_FOLDERS)
    found: list[Finding] = []
    images = _files_by_case(stacks, found)
    labels = _files_by_case(_find_folder(folder, _LABEL_FOLDERS, optional=True), found)
    if not images:
        raise DataError("TIFF stacks", f"none in {stacks}", "put .tif files into this folder")
    for name in sorted(labels.keys() - images.keys()):
        cure = "rename the files of each case to NAME_raw.tif and NAME_label.tif, or remove the label"
        found.append(Finding("critical", "image_missing", name, "a stack for every label", f"none in {stacks}", cure))
    sizes = dict.fromkeys(images, spacing_um) if spacing_um else _find_sizes(images, folder / SPACING_TABLE, found)
    for name, path in images.items():
        _check_shapes(name, path, labels.get(name), found)
    raise_critical(found, DataError)
    return [TiffCase(name, path, labels.get(name), sizes[name]) for name, path in images.items()]


def import_tiffs(cases: list[TiffCase], out: Path, progress: Callable[[str], None]) -> None:
    """Write each case as ``raw/NAME.nii.gz`` and ``seg/NAME_y.nii.gz``.

    ``out`` appears when all cases are written, or not at all. A TIFF stack (pages, rows, columns) is (Z, Y, X); the
    volume is (X, Y, Z), so that voxel ``[x, y, z]`` is column x of row y of page z. The two values of a label become 0
    and 1.

    Args:
        cases: Cases from ``find_tiffs``.
        out: New folder for the data set.
        progress: Called with the name of each case after it is processed.

    Raises:
        DataError: ``out`` is not empty or is a mount point. Or voxels are wrong; the error lists all stacks that cannot
            be read to its end, and all labels with other values than background 0 and one more.
    """
    out = out.resolve()
    if out.is_dir() and (there := sorted(path.name for path in out.iterdir())):
        raise DataError("a new or empty folder", f"{out}, which contains {first_few(there)}", "choose another folder")
    if out.is_mount():  # the temporary folder cannot be renamed to a mount point
        raise DataError(
            "a folder that is not a mount point",
            f"{out}, where a disk is mounted",
            f"choose a folder in it, such as {out / 'data'}",
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    found: list[Finding] = []
    with atomic_folder(out) as temporary:
        for case in cases:
            _convert(case, temporary, found)
            progress(case.name)
        raise_critical(found, DataError)
        if out.is_dir() and any(out.iterdir()):
            raise DataError(
                "a new or empty folder", f"{out}, into which another process has written", "choose another folder"
            )


def _convert(case: TiffCase, out: Path, found: list[Finding]) -> None:
    image = _read_or_report(case.name, found, read_stack, case.image)
    label = None if case.label is None else _read_or_report(case.name, found, read_label_stack, case.label)
    if found or image is None:
        return  # nothing will be written; the other cases are read only to find their faults
    if label is not None:
        write_volume(out / f"seg/{case.name}_y.nii.gz", label, spacing_um=case.spacing_um)
    write_volume(out / f"raw/{case.name}.nii.gz", image, spacing_um=case.spacing_um)


def _read_or_report(name: str, found: list[Finding], read: Callable[[Path], Result], path: Path) -> Result | None:
    """Call ``read``; if it raises a VolumeError, append it to ``found`` as a finding and return None."""
    try:
        return read(path)
    except VolumeError as error:
        found.append(error.as_finding(name))
        return None


def _find_folder(folder: Path, names: tuple[str, ...], optional: bool = False) -> Path | None:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None and not optional:
        cure = f"put the stacks into {folder / names[0]} and their labels into {folder / _LABEL_FOLDERS[0]}"
        raise DataError(f"a folder {', '.join(names[:-1])} or {names[-1]}", f"none in {folder}", cure)
    return found


def _files_by_case(folder: Path | None, faults: list[Finding]) -> dict[str, Path]:
    """Map the names of cases to the TIFF files of a folder; two files of one case are a fault."""
    found: dict[str, Path] = {}
    for path in visible(folder) if folder else []:
        name = _TAIL.sub("", path.stem)
        if path.suffix.lower() not in {".tif", ".tiff"}:
            continue
        if name in found:
            got = f"{found[name].name} and {path.name} in {folder}"
            faults.append(Finding("critical", "file_twice", name, "one file per case", got, "rename or remove one"))
        found[name] = path
    return found


def _check_shapes(name: str, image: Path, label: Path | None, found: list[Finding]) -> None:
    shape = _read_or_report(name, found, read_stack_shape, image)
    label_shape = None if label is None else _read_or_report(name, found, read_stack_shape, label)
    if shape and label_shape and shape != label_shape:
        got, cure = (
            f"label {format_shape(label_shape)}, stack {format_shape(shape)}",
            "export the label with the shape of the stack",
        )
        found.append(
            Finding("critical", "pair_shape", name, "a label with the shape of its stack (X, Y, Z)", got, cure)
        )


def _find_sizes(images: dict[str, Path], table: Path, found: list[Finding]) -> dict[str, Spacing]:
    """Read voxel sizes from the table and from sidecars; a stack without a voxel size is a fault."""
    sizes = _read_or_report(table.name, found, _read_table, table)
    if sizes is None:
        return {}
    faulty = set()
    for name in sorted(images.keys() - sizes.keys()):
        before = len(found)
        if (size := _read_or_report(name, found, _sidecar_spacing, images[name])) is not None:
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
        raise VolumeError("spacing_table", expected, f"{path}: {error}", "fix the table") from error


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
        raise VolumeError("sidecar_json", "JSON", f"{sidecar}: {error}", "fix or remove the file") from error
    if stated is not None and not stated.certain:
        expected = 'a voxel size of known unit and axis order: X, Y, Z as "spacing_um", or OME\'s PhysicalSizeX, Y, Z'
        cure = "write it as spacing_um in the order X, Y, Z, or give --spacing-um"
        raise VolumeError("sidecar_spacing", expected, f'"{stated.key}" in {sidecar}', cure)
    return stated.spacing_um if stated else None
