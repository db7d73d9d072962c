"""Weights and a NIfTI file become a mask beside it, on the same grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from minivess.data.nifti import read_header, read_volume, write_volume
from minivess.data.profiler import scan_volume
from minivess.findings import raise_critical
from minivess.models.predict import predict_volume
from minivess.models.weights import load_network, read_spec
from minivess.strides import patch_for


def predict_file(
    weights: Path,
    volume: Path,
    output_dir: Path,
    *,
    overlap: float = 0.5,
    probabilities: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Segment one volume as held-out cases are segmented: normalised by its own intensities, in windows of the trained patch.

    Args:
        weights: Folder with network.json and network.safetensors.
        volume: NIfTI file.
        output_dir: ``NAME_y.nii.gz`` goes there, or ``NAME_probability.nii.gz``, with the affine of the input.
        overlap: Share of a window that neighbours share.
        probabilities: Write the vessel probability (float32) in place of the mask (uint8).
        progress: Called with the finished share, 0 to 1.

    Raises:
        DataError: Weights or volume cannot be read, or the volume has no contrast.
    """
    spec = read_spec(weights)
    stats = scan_volume(volume, voxels=True)
    raise_critical(stats.findings)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = predict_volume(
        load_network(weights).to(device),
        read_volume(volume),
        patch_for(spec.patches, stats.shape[2]),
        overlap,
        normalise=stats.normalise,
        probabilities=probabilities,
        progress=progress,
    )
    target = output_dir / f"{stats.name}_{'probability' if probabilities else 'y'}.nii.gz"
    write_volume(target, result, spacing_um=stats.spacing_um, affine=np.asarray(read_header(volume).affine))
    return target
