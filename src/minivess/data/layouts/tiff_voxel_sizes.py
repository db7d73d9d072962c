"""Find the voxel size of each TIFF stack: given for all, in a table, in a JSON file, or in the TIFF file itself."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import permutations
from pathlib import Path

from minivess.data.formats.foreign_json import read_foreign_json
from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_description import Description, Sizes
from minivess.data.formats.tiff_stack import StackHeader
from minivess.data.formats.voxel_size_json import stated_size
from minivess.findings import Finding
from minivess.geometry import Spacing
from minivess.text import first_few, format_shape

_TOLERANCE = 1.05
"""Sizes that differ by at most this factor are the same size, rounded."""


def find_sizes(
    images: Mapping[str, Path], headers: Mapping[str, StackHeader], table: Path, spacing_um: Spacing | None
) -> tuple[dict[str, Spacing], list[Finding]]:
    """Find the voxel size of each stack; the first of these that states one decides.

    1. ``spacing_um``, for all stacks.
    2. The row ``name,x_um,y_um,z_um`` of the table.
    3. A JSON file with the stack's file name: three numbers "spacing_um", or OME's PhysicalSizeX, Y and Z.
    4. The stack's own OME, ImageJ or Micro-Manager description, if it has all three sizes with a unit of length.

    Args:
        images: File of each case.
        headers: Header of each stack that could be read.
        table: Path of the table; it may be missing.
        spacing_um: Voxel size along X, Y, Z in micrometres, or None.

    Returns:
        The voxel size of each stack, along X, Y, Z in micrometres; and findings: critical without a size, a warning if
        the stack's own description differs, info if the size comes from that description.
    """
    found: list[Finding] = []
    rows = _read_table(table, images, spacing_um is not None, found)
    if rows is None:
        return {}, found
    sizes: dict[str, Spacing] = {}
    for name, path in images.items():
        described = headers[name].descriptions if name in headers else ()
        try:
            given = spacing_um or rows.get(name) or _sidecar_spacing(path)
        except VolumeError as error:
            found.append(error.as_finding(name))
            continue
        if given is not None:
            sizes[name] = given
            found += _compare(name, given, described)
        elif (own := _own_size(described)) is not None:
            sizes[name] = own
            got = f"{format_shape(own)} µm, from the TIFF file"
            found.append(Finding("info", "voxel_size", name, "", got, "give --spacing-um if this is wrong"))
        else:
            cure = f"give --spacing-um, or a row name,x_um,y_um,z_um for each in {table}"
            expected = "a voxel size with a unit for every stack"
            found.append(Finding("critical", "voxel_size", name, expected, _in_words(described), cure))
    return sizes, found


def _own_size(described: Iterable[Description]) -> Spacing | None:
    """Return the voxel size that a file states along all axes; None if there is none, or if two differ."""
    whole = [(x, y, z) for x, y, z in (one.sizes_um for one in described) if x and y and z]
    return whole[0] if whole and all(_alike(size, whole[0]) for size in whole) else None


def _compare(name: str, given: Spacing, described: Iterable[Description]) -> list[Finding]:
    """Warn if the stack's own description has another voxel size than the given one."""
    found = []
    for one in described:
        if _alike(one.sizes_um, given):
            continue
        got = f"{format_shape(given)} given, {_in_words([one])}"
        x, y, z = one.sizes_um
        if x and y and z and any(_alike(one.sizes_um, turned) for turned in permutations(given)):
            expected, cure = "sizes in the order X, Y, Z", "give the same sizes in the order of the TIFF file"
            found.append(Finding("warning", "voxel_size_swapped", name, expected, got, cure))
        else:
            expected, cure = "the voxel size that the TIFF file states", "check which is right; the given one is used"
            found.append(Finding("warning", "voxel_size_differs", name, expected, got, cure))
    return found


def _alike(sizes: Sizes, others: Iterable[float]) -> bool:
    """Whether the sizes are equal but for rounding, along the axes that have one."""
    pairs = [(one, other) for one, other in zip(sizes, others, strict=True) if one]
    return all(max(pair) <= _TOLERANCE * min(pair) for pair in pairs)


def _in_words(described: Iterable[Description]) -> str:
    """The voxel size in the file, such as "0.5 um x 0.5 um x ? in the TIFF file (ImageJ)"; "none" if there is none."""
    return (
        " and ".join(f"{one.sizes_text} in the TIFF file ({one.source})" for one in described if one.sizes_text)
        or "none"
    )


def _read_table(
    path: Path, images: Mapping[str, Path], unused: bool, found: list[Finding]
) -> dict[str, Spacing] | None:
    """Read the rows of the table; a row of an unknown case, two rows of one case and wrong sizes are critical.

    Returns:
        The voxel size of each row; None if the table cannot be read.
    """
    if not path.is_file():
        return {}
    if unused:
        cure = "remove the option or the table"
        got = f"{path.name}, which is not read because of --spacing-um"
        found += [Finding("warning", "spacing_table", name, "one source of voxel sizes", got, cure) for name in images]
        return {}
    expected = "columns name,x_um,y_um,z_um with sizes above zero"
    sizes: dict[str, Spacing] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["name"], (row["x_um"], row["y_um"], row["z_um"])) for row in csv.DictReader(file)]
        for name, texts in rows:
            sizes[name] = _checked_spacing(texts)
    except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
        found.append(Finding("critical", "spacing_table", path.name, expected, f"{path}: {error!r}", "fix the table"))
        return None
    for name, count in Counter(name for name, _ in rows).items():
        if count > 1:
            got = f"{count} rows in {path}"
            found.append(Finding("critical", "spacing_table", name, "one row per case", got, "remove all but one row"))
        if name not in images:
            got = f"a row in {path}, but no stack; the cases are {first_few(list(images))}"
            cure = "write the name of a case, or remove the row"
            found.append(Finding("critical", "spacing_table", name, "rows of known cases", got, cure))
    return sizes


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
        stated = stated_size(read_foreign_json(sidecar))
    except (OSError, ValueError, OverflowError) as error:
        raise VolumeError("sidecar_json", "JSON", f"{sidecar}: {error}", "fix or remove the file") from error
    if stated is not None and not stated.certain:
        expected = 'a voxel size of known unit and axis order: X, Y, Z as "spacing_um", or OME\'s PhysicalSizeX, Y, Z'
        cure = "write it as spacing_um in the order X, Y, Z, or give --spacing-um"
        raise VolumeError("sidecar_spacing", expected, f'"{stated.key}" in {sidecar}', cure)
    return stated.spacing_um if stated else None
