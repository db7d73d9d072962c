"""Weights and a NIfTI file become a mask beside it, on the same grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from minivess.data.profiler import scan_volume
from minivess.data.volume_file import open_volume, write_alike
from minivess.errors import DataError
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
    mirror: bool = False,
    probabilities: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Segment one volume as held-out cases are segmented: normalised by its own intensities, in windows of the trained patch.

    Held in memory are the volume in its own type (mapped from the file where that is not compressed), the result, and a slab.

    Args:
        weights: Folder with network.json and network.safetensors.
        volume: NIfTI file.
        output_dir: ``NAME_y.nii.gz`` goes there, or ``NAME_probability.nii.gz``, with the geometry of the input.
        overlap: Share of a window that neighbours share.
        mirror: Average over the in-plane mirror images of each window, which takes four times as long.
        probabilities: Write the vessel probability (float32) in place of the mask (uint8).
        progress: Called with the finished share, 0 to 1.

    Raises:
        DataError: Weights or volume cannot be read, or the volume has no contrast.
    """
    spec = read_spec(weights)
    stats = scan_volume(volume, voxels=True)
    raise_critical(stats.findings, DataError)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    result = predict_volume(
        load_network(weights).to(device),
        open_volume(volume),
        patch_for(spec.patches, stats.shape[2]),
        overlap,
        normalise=stats.normalise,
        mirror=(0, 1) if mirror else (),
        probabilities=probabilities,
        progress=progress,
    )
    target = output_dir / f"{stats.name}_{'probability' if probabilities else 'y'}.nii.gz"
    write_alike(target, result, volume)
    return target
