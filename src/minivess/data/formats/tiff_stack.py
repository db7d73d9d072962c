"""Read one TIFF stack: its shape from the header alone, or its voxels; an unusable file is a ``VolumeError``."""

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
    """Read the shape of a stack from its header; pages, rows and columns are Z, Y and X.

    Returns:
        Voxels along X, Y, Z.

    Raises:
        VolumeError: The file is not a TIFF file, or does not contain one channel of real numbers along Z, Y, X.
    """
    with _named_errors(path), tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        axes, shape, dtype = series.axes, series.shape, series.dtype
    # Any name of the first axis except C (channel) is accepted: ImageJ often names the pages of a stack T (time).
    if len(shape) != 3 or axes[-2:] != "YX" or axes[0] == "C":
        cure = "export one channel as a stack of greyscale pages"
        raise VolumeError("dimensions", "one channel (Z, Y, X)", f"axes {axes} of shape {shape} in {path}", cure)
    if dtype is None or dtype.kind not in "buif":
        cure = "export one channel as integers"
        raise VolumeError("voxel_type", "one real number per voxel", f"{dtype} in {path}", cure)
    z, y, x = shape
    return x, y, z


def read_stack(path: Path) -> np.ndarray:
    """Read the voxels of a stack whose shape ``read_stack_shape`` has accepted.

    Returns:
        Array (X, Y, Z) in the stored type. NIfTI has no bool and no float16; these become uint8 and float32.

    Raises:
        VolumeError: The file is damaged or truncated.
    """
    with _named_errors(path):
        pages = _read_pages(path)
    known = {"bool": np.uint8, "float16": np.float32}.get(pages.dtype.name, pages.dtype)
    return np.ascontiguousarray(pages.T.astype(known, copy=False))


def read_label_stack(path: Path) -> np.ndarray:
    """Read the voxels of a label: 0 for background, 1 for the label's other value.

    Returns:
        Array (X, Y, Z) uint8 of 0 and 1.

    Raises:
        VolumeError: The file is damaged or truncated, has more than two values, or has no background 0.
    """
    label = read_stack(path)
    values = np.unique(label)
    if not len(values) or len(values) > 2 or values[0] != 0:
        got = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        cure = "write vessel as 255 and background as 0"
        raise VolumeError("label_values", "a label with two values, of which background is 0", f"{got} in {path}", cure)
    return (label != 0).astype(np.uint8)


def _read_pages(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        try:
            return series.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
    # VesselNN is compressed with LZW. tifffile needs a large package (imagecodecs) for that; Pillow has it built in.
    with Image.open(path) as image:
        return np.stack([np.asarray(page) for page in ImageSequence.Iterator(image)]).reshape(series.shape)


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    # On damaged bytes, the libraries raise TypeError, KeyError, struct.error, SyntaxError and others.
    except Exception as error:
        cure = "export it again as an uncompressed TIFF stack"
        raise VolumeError("damaged", "a TIFF stack", f"{path}: {error}", cure) from error
