"""Read one TIFF stack: its header, or its voxels. A file that is not plainly one stack is refused by name.

Every file is read in the same way, whatever its compression: the pages in their order are Z, and each value is the
stored number. docs/how-to/import-tiff.md lists what is accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import tifffile

from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_description import Description, read_descriptions
from minivess.data.formats.tiff_pages import MOST_VOXELS, find_pages, orientation_of, refuse_axes
from minivess.data.label_values import LabelBlock
from minivess.geometry import Shape
from minivess.machine.host import read_host
from minivess.text import format_bytes

_STACK_AXES = "ZTIQ"  # ImageJ often calls the pages of a stack T (time); I and Q have no meaning
_SMALLER_INTEGERS = (np.uint8, np.int16, np.uint16, np.int32, np.uint32)
_FLIPS = {1: (1, 1), 2: (-1, 1), 3: (-1, -1), 4: (1, -1)}  # steps along X and Y by orientation


@dataclass(frozen=True)
class StackHeader:
    """Facts about a stack from its header.

    Attributes:
        shape: Voxels along X, Y, Z.
        orientation: Orientation tag, 1 to 4; it is applied when the voxels are read.
        descriptions: What the programs that wrote the file say about it.
    """

    shape: Shape
    orientation: int
    descriptions: tuple[Description, ...]


def read_stack_header(path: Path) -> StackHeader:
    """Read and validate the header of a stack; the voxels are not read.

    Raises:
        VolumeError: The file is not a TIFF file, or is not plainly one stack of grey pages of a supported kind.
    """
    with _open(path) as tiff:
        return _read_header(tiff)[0]


def read_stack(path: Path) -> np.ndarray:
    """Read the voxels of a stack.

    Returns:
        Array (X, Y, Z) in the stored type. NIfTI has no bool and no float16; these become uint8 and float32. 64-bit
        integers become the smallest type that holds them.

    Raises:
        VolumeError: See ``read_stack_header``; or the file is damaged, does not fit in memory, or has integers of more
            than 32 bits.
    """
    with _open(path) as tiff:
        header, pages = _read_header(tiff)
        x, y, z = header.shape
        _check_memory(prod(header.shape) * pages[0].dtype.itemsize)
        if len(pages) == z:
            voxels = np.empty((z, y, x), pages[0].dtype)
            for plane, page in zip(voxels, pages, strict=True):
                page.asarray(out=plane)
        else:
            stored = np.dtype(tiff.byteorder + pages[0].dtype.char)
            voxels = tiff.filehandle.read_array(stored, prod(header.shape), pages[0].dataoffsets[0]).reshape(z, y, x)
        step_x, step_y = _FLIPS[header.orientation]
        return _for_nifti(voxels[:, ::step_y, ::step_x]).T


def read_label_stack(path: Path, ignore_value: int | None = None) -> np.ndarray:
    """Read the voxels of a label: 0 for background, 1 for the label's other value.

    Args:
        path: The file.
        ignore_value: Value of unknown voxels; None if every voxel is known.

    Returns:
        Array (X, Y, Z) uint8 of 0, 1 and, in unknown voxels, ``UNKNOWN``.

    Raises:
        VolumeError: See ``read_stack``; or the known label has more than two values, NaN or infinity, or no background 0.
    """
    label = read_stack(path)
    parts = LabelBlock.of(label, ignore_value)
    vessel = parts.vessel
    values = np.unique(label[vessel])  # sorting the few voxels of vessels is much faster than sorting all
    if vessel.all() or len(values) > 1 or not np.isfinite(values).all():
        shown = [*([] if vessel.all() else [0]), *values[:5].tolist()][:5]
        got = ", ".join(f"{value:g}" for value in shown) + (", ..." if len(values) > 5 else "")
        cure = "write vessel as 255 and background as 0"
        if ignore_value is None and len(values) > 1:
            cure += "; if another value marks unknown voxels, give it with --ignore-value"
        raise VolumeError("label_values", "a label with two values, of which background is 0", f"{got} in {path}", cure)
    return parts.stored().astype(np.uint8)


def _read_header(tiff: tifffile.TiffFile) -> tuple[StackHeader, list[tifffile.TiffPage]]:
    pages = find_pages(tiff)
    first = pages[0]
    descriptions = read_descriptions(tiff, first, len(pages))
    counts = {_pages_of(description, first) for description in descriptions} - {None}
    depth = counts.pop() if len(pages) == 1 and len(counts) == 1 else None
    # ImageJ writes a stack of more than 4 GB as one page header, followed by all pages without gaps.
    if depth is None or not (1 < depth <= MOST_VOXELS and _is_followed_by(first, depth, tiff.filehandle.size)):
        depth = len(pages)
    for description in descriptions:
        named = _pages_of(description, first)
        if named not in (None, depth):
            cure = "export it again with all pages; if pages were removed on purpose, save the stack in Fiji as Tiff"
            got = f"{depth} in the file"
            raise VolumeError("tiff_pages", f"{named} pages, as its {description.source} description says", got, cure)
    if depth == 1:
        refuse_axes("YX", first.shape)
    shape = (first.imagewidth, first.imagelength, depth)
    return StackHeader(shape, orientation_of(first), tuple(descriptions)), pages


def _pages_of(description: Description, page: tifffile.TiffPage) -> int | None:
    """Return the number of pages that a description names; None if it names none."""
    sizes = dict(description.axes)
    in_plane = sizes.pop("Y", page.imagelength), sizes.pop("X", page.imagewidth)
    if in_plane != page.shape:
        cure = "export it again, or save the stack in Fiji as Tiff"
        expected = f"pages of {in_plane[1]} x {in_plane[0]}, as its {description.source} description says"
        raise VolumeError("tiff_pages", expected, f"{page.imagewidth} x {page.imagelength}", cure)
    long = {axis: size for axis, size in sizes.items() if size != 1}
    if len(long) > 1 or any(axis[0] not in _STACK_AXES for axis in long):
        refuse_axes("".join(axis[0] for axis in long) + "YX", (*long.values(), *page.shape))
    return prod(sizes.values()) if sizes else None


def _is_followed_by(page: tifffile.TiffPage, depth: int, file_bytes: int) -> bool:
    return page.is_final and page.dataoffsets[0] + depth * page.nbytes <= file_bytes


def _for_nifti(voxels: np.ndarray) -> np.ndarray:
    """Convert voxels to a type that NIfTI files and their readers can hold exactly."""
    if voxels.dtype.kind not in "ui" or voxels.dtype.itemsize < 8:
        known = {"bool": np.uint8, "float16": np.float32}.get(voxels.dtype.name, voxels.dtype.newbyteorder("="))
        return voxels.astype(known, copy=False)
    least, most = int(voxels.min()), int(voxels.max())
    for smaller in _SMALLER_INTEGERS:
        if np.iinfo(smaller).min <= least and most <= np.iinfo(smaller).max:
            return voxels.astype(smaller)
    cure = "export it as 16-bit integers or as 32-bit floating point"
    raise VolumeError("voxel_type", "integers of at most 32 bits", f"{least} to {most}", cure)


def _check_memory(stack_bytes: int) -> None:
    free = read_host().ram_available_bytes
    if 2 * stack_bytes > free:
        got = f"{format_bytes(free)} free for a stack of {format_bytes(stack_bytes)}"
        raise VolumeError("memory", "memory for twice the size of the stack", got, "crop the stack, or close programs")


class _Errors(logging.Handler):
    """Collects the errors that tifffile logs when it skips a damaged part of a file."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


@contextmanager
def _open(path: Path) -> Iterator[tifffile.TiffFile]:
    """Open a TIFF file; every error of the library, raised or logged, becomes a VolumeError that names the file."""
    logger, errors = logging.getLogger("tifffile"), _Errors()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(errors)
    try:
        with tifffile.TiffFile(path) as tiff:
            yield tiff
        if errors.texts:
            raise ValueError(errors.texts[0])
    except VolumeError as error:
        raise VolumeError(error.check, error.expected, f"{error.got} in {path}", error.cure) from error
    # On damaged bytes, the libraries raise TypeError, KeyError, struct.error, MemoryError and others.
    except Exception as error:
        cure = "copy the file again, or export it again as an uncompressed TIFF stack"
        if isinstance(error, PermissionError):
            cure = "give yourself read permission (`chmod u+r FILE`)"
        raise VolumeError("damaged", "a TIFF stack", f"{path}: {error or type(error).__name__}", cure) from error
    finally:
        logger.removeHandler(errors)
        logger.propagate = propagate
