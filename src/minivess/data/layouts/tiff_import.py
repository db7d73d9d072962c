"""Convert TIFF stacks to a data set in MiniVess's layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from minivess.atomic import atomic_folder
from minivess.data.formats.nifti import write_volume
from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_stack import StackHeader, read_label_stack, read_stack, read_stack_header
from minivess.data.layouts.listing import visible
from minivess.data.layouts.tiff_voxel_sizes import find_sizes
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
        findings: What the user should know about the case: warnings and information.
    """

    name: str
    image: Path
    label: Path | None
    spacing_um: Spacing
    findings: tuple[Finding, ...] = ()


def find_tiffs(folder: Path, spacing_um: Spacing | None = None) -> list[TiffCase]:
    """Find the TIFF stacks of a folder, their labels and their voxel sizes.

    Stacks are in ``denoised/`` (or raw/, images/, imagesTr/), labels in ``labels/`` (or seg/, masks/, labelsTr/).
    The name of a case is a file name without its ending, such as "_raw" or "_labels" and all that follows:
    "stack1_BM4D_denoised.tif" and "stack1_labels_v1.tif" are the case "stack1".

    Args:
        folder: Folder that contains the two folders, such as VesselNN as published.
        spacing_um: Voxel size along X, Y, Z of all stacks in micrometres. If None, it comes from ``spacing.csv``, a JSON
            file or the stack itself; see ``find_sizes``.

    Returns:
        The cases, sorted by file name.

    Raises:
        DataError: The folder or its stacks are missing. Or names, voxel sizes or headers are wrong; the error lists
            every fault: files that do not pair, a stack without a voxel size or with an uncertain unit, rows of the
            table that fit no stack, a stack that is not one channel (Z, Y, X), a label of another shape or orientation.
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
    headers = {name: header for name, path in images.items() if (header := _read_pair(name, path, labels, found))}
    sizes, about_sizes = find_sizes(images, headers, folder / SPACING_TABLE, spacing_um)
    found += about_sizes
    raise_critical(found, DataError)
    return [
        TiffCase(name, path, labels.get(name), sizes[name], tuple(one for one in found if one.what == name))
        for name, path in images.items()
    ]


def import_tiffs(
    cases: list[TiffCase], out: Path, progress: Callable[[str], None], ignore_value: int | None = None
) -> None:
    """Write each case as ``raw/NAME.nii.gz`` and ``seg/NAME_y.nii.gz``.

    ``out`` appears when all cases are written, or not at all. A TIFF stack (pages, rows, columns) is (Z, Y, X); the
    volume is (X, Y, Z), so that voxel ``[x, y, z]`` is column x of row y of page z. The two values of a label become 0
    and 1.

    Args:
        cases: Cases from ``find_tiffs``.
        out: New folder for the data set.
        progress: Called with the name of each case after it is processed.
        ignore_value: Value of unknown voxels in the labels, which become 255; None if every voxel is known.

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
            _convert(case, temporary, found, ignore_value)
            progress(case.name)
        raise_critical(found, DataError)
        if out.is_dir() and any(out.iterdir()):
            raise DataError(
                "a new or empty folder", f"{out}, into which another process has written", "choose another folder"
            )


def _convert(case: TiffCase, out: Path, found: list[Finding], ignore_value: int | None) -> None:
    image = _read_or_report(case.name, found, read_stack, case.image)
    read_label = partial(read_label_stack, ignore_value=ignore_value)
    label = None if case.label is None else _read_or_report(case.name, found, read_label, case.label)
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
        name = _TAIL.sub("", re.sub(r"\.ome$", "", path.stem, flags=re.IGNORECASE))
        if path.suffix.lower() not in {".tif", ".tiff"}:
            continue
        if name in found:
            got = f"{found[name].name} and {path.name} in {folder}"
            faults.append(Finding("critical", "file_twice", name, "one file per case", got, "rename or remove one"))
        found[name] = path
    return found


def _read_pair(name: str, image: Path, labels: dict[str, Path], found: list[Finding]) -> StackHeader | None:
    """Read the headers of a stack and of its label, and compare them; return the stack's, or None if it is faulty."""
    header = _read_or_report(name, found, read_stack_header, image)
    label = _read_or_report(name, found, read_stack_header, labels[name]) if name in labels else None
    if header and label and header.shape != label.shape:
        got = f"label {format_shape(label.shape)}, stack {format_shape(header.shape)}"
        expected = "a label with the shape of its stack (X, Y, Z)"
        cure = "export the label with the shape of the stack"
        found.append(Finding("critical", "pair_shape", name, expected, got, cure))
    if header and label and header.orientation != label.orientation:
        got = f"label {label.orientation}, stack {header.orientation}"
        # Fiji ignores the tag and the standard does not: nobody can know whether the label lies on its stack.
        cure = "open both in Fiji, check that the label lies on the stack, and save both as Tiff"
        expected = "a label with the orientation tag of its stack"
        found.append(Finding("critical", "pair_orientation", name, expected, got, cure))
    return header
