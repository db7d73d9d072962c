"""Trained weights as MLflow loads and calls them: a NIfTI file or an array becomes a mask, the one `minivess predict` makes.

MLflow imports this module by its name and calls ``_load_pyfunc``; nothing is pickled, and nothing here imports MLflow.
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
from minivess.models.weights import read_spec


class VolumePredictor:
    """Segments one volume a call.

    Args:
        weights: Folder with network.json and network.safetensors.

    Raises:
        DataError: It is no such folder.
    """

    def __init__(self, weights: Path) -> None:
        read_spec(weights)
        self._weights = weights

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> np.ndarray:
        """Segment the volume of one row: ``path`` names a NIfTI file, or ``voxels`` holds an array (X, Y, Z) of numbers.

        Args:
            model_input: Table (pandas) of one row, as MLflow makes it of ``{"path": ...}`` or of ``{"voxels": ...}``.
            params: ``overlap``, ``mirror`` and ``probabilities`` as ``predict_file`` takes them.

        Returns:
            (X, Y, Z) mask of 0 and 1 (uint8), or the vessel probability (float32).

        Raises:
            DataError: Not one volume, or one that ``predict_file`` refuses.
        """
        given = [value for row in model_input.to_dict("records") for key, value in row.items() if _is_given(key, value)]
        if len(given) != 1:
            got = f"{len(given)} volumes"
            raise DataError("one volume a call", got, 'call with {"path": "volume.nii.gz"} or {"voxels": array}')
        with TemporaryDirectory() as folder:
            volume = Path(given[0]) if isinstance(given[0], str) else _write(given[0], Path(folder) / "volume.nii")
            return read_volume(predict_file(self._weights, volume, Path(folder), **(params or {})))


def _is_given(key: object, value: object) -> bool:
    return (key == "path" and isinstance(value, str)) or (key == "voxels" and isinstance(value, list | np.ndarray))


def _write(voxels: list[Any] | np.ndarray, path: Path) -> Path:
    """A file of the array's own type, so that an array and its file are read alike; integers of 8 bytes, which JSON brings
    and NIfTI lacks, in the smallest type that holds them. Spacing plays no part in a prediction."""
    array = np.asarray(voxels)
    if array.size and array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        array = array.astype(np.result_type(np.min_scalar_type(array.min()), np.min_scalar_type(array.max())))
    if array.ndim != 3 or not array.size or array.dtype.kind not in "iuf":
        got = f"{array.dtype} of shape {array.shape}"
        raise DataError("an array (X, Y, Z) of numbers", got, "pass one channel of one volume")
    write_volume(path, array, spacing_um=(1.0, 1.0, 1.0))
    return path


def _load_pyfunc(data_path: str) -> VolumePredictor:
    return VolumePredictor(Path(data_path))
