"""One TIFF stack: its shape from the header alone, its voxels, and why it is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageSequence

from minivess.data.formats.nifti_header import VolumeError
from minivess.geometry import Shape


def read_stack_shape(path: Path) -> Shape:
    """Voxels along X, Y, Z; pages, rows and columns are Z, Y and X.

    Raises:
        VolumeError: It is no TIFF file, or not one channel of real numbers along Z, Y, X.
    """
    with _named_errors(path), tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        axes, shape, dtype = series.axes, series.shape, series.dtype
    # ImageJ often calls the pages of a stack times.
    if len(shape) != 3 or axes[-2:] != "YX" or axes[0] == "C":
        cure = "export one channel as a stack of grey pages"
        raise VolumeError("dimensions", "one channel (Z, Y, X)", f"axes {axes} of shape {shape} in {path}", cure)
    if dtype is None or dtype.kind not in "buif":
        cure = "export one channel as integers"
        raise VolumeError("voxel_type", "one real number a voxel", f"{dtype} in {path}", cure)
    z, y, x = shape
    return x, y, z


def read_stack(path: Path) -> np.ndarray:
    """The voxels (X, Y, Z) in their own type, or in the nearest one that NIfTI has.

    Raises:
        VolumeError: The file is damaged or cut short. Its shape is known to be good: see ``read_stack_shape``.
    """
    with _named_errors(path):
        pages = _read_pages(path)
    known = {"bool": np.uint8, "float16": np.float32}.get(pages.dtype.name, pages.dtype)
    return np.ascontiguousarray(pages.T.astype(known, copy=False))


def read_label_stack(path: Path) -> np.ndarray:
    """The same as 0 and 1 (uint8), which are the label's two values.

    Raises:
        VolumeError: As ``read_stack``; also where there are more values than background 0 and another one.
    """
    label = read_stack(path)
    values = np.unique(label)
    if not len(values) or len(values) > 2 or values[0] != 0:
        got = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        cure = "write vessel as 255 and all else as 0"
        raise VolumeError("label_values", "a label of two values, background 0", f"{got} in {path}", cure)
    return (label != 0).astype(np.uint8)


def _read_pages(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        try:
            return series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
    # LZW, as VesselNN is compressed, takes tifffile a large package more; Pillow has it built in.
    with Image.open(path) as image:
        return np.stack([np.asarray(page) for page in ImageSequence.Iterator(image)]).reshape(series.shape)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # of three libraries on damaged bytes: TypeError, KeyError, struct.error, SyntaxError, ...
        cure = "export it again as an uncompressed TIFF stack"
        raise VolumeError("damaged", "a TIFF stack", f"{path}: {error}", cure) from error
