"""The interface through which MLflow loads trained weights and segments a NIfTI file or an array.

The mask is the same as that of `minivess predict`. MLflow imports this module by its name and calls ``_load_pyfunc``.
Nothing is pickled, and this module does not import MLflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from minivess.data.formats.nifti import read_volume, write_volume
from minivess.errors import DataError
from minivess.inference.predict_file import predict_file
from minivess.models.ensemble import read_model


class VolumePredictor:
    """Segments one volume per call.

    Args:
        weights: Model folder: network.json and network.safetensors, or an ensemble.

    Raises:
        DataError: network.json is missing or damaged.
    """

    def __init__(self, weights: Path) -> None:
        read_model(weights)
        self._weights = weights

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Segment the volume in a table with one row.

        Args:
            model_input: pandas table with one row, as MLflow makes it from ``{"path": ...}`` or ``{"voxels": ...}``.
                ``path`` is a NIfTI file; ``voxels`` is an array (X, Y, Z) of numbers.
            params: Arguments ``overlap``, ``mirror`` and ``probabilities`` of ``predict_file``.

        Returns:
            (X, Y, Z) mask of 0 and 1 (uint8), or the vessel probability (float32).

        Raises:
            DataError: The table does not contain exactly one volume, or ``predict_file`` refuses the volume.
        """
        given = [value for row in model_input.to_dict("records") for key, value in row.items() if _is_given(key, value)]
        if len(given) != 1:
            got = f"{len(given)} volumes"
            raise DataError("one volume per call", got, 'call with {"path": "volume.nii.gz"} or {"voxels": array}')
        with TemporaryDirectory() as folder:
            has_header = isinstance(given[0], str)
            volume = Path(given[0]) if has_header else _write(given[0], Path(folder) / "volume.nii")
            options = {"compare": has_header, **(params or {})}
            return read_volume(predict_file(self._weights, volume, Path(folder), **options))


def _is_given(key: object, value: object) -> bool:
    return (key == "path" and isinstance(value, str)) or (key == "voxels" and isinstance(value, list | np.ndarray))


def _write(voxels: list[Any] | np.ndarray, path: Path) -> Path:
    """Write an array to a NIfTI file with its own data type, so that an array and a file are processed in the same way.

    Integers of 8 bytes come from JSON and are not supported in NIfTI. They are written in the smallest type that can
    represent them. The spacing of the file does not matter: it is not compared with the training's.
    """
    array = np.asarray(voxels)
    if array.size and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        array = array.astype(np.result_type(np.min_scalar_type(array.min()), np.min_scalar_type(array.max())))
    if array.ndim != 3 or not array.size or array.dtype.kind not in "iuf":
        got = f"{array.dtype} of shape {array.shape}"
        raise DataError("an array of numbers of shape (X, Y, Z)", got, "pass one channel of one volume")
    write_volume(path, array, spacing_um=(1.0, 1.0, 1.0))
    return path


def _load_pyfunc(data_path: str) -> VolumePredictor:
    return VolumePredictor(Path(data_path))
