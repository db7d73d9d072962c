"""Segment a NIfTI file with trained weights and write the mask on the same grid."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from minivess.data.formats.nifti_file import open_volume, write_alike
from minivess.data.formats.nifti_header import VolumeError
from minivess.data.layouts.listing import name_of
from minivess.data.profiler import scan_volume
from minivess.errors import DataError
from minivess.findings import Finding, raise_critical
from minivess.geometry import patch_for
from minivess.inference.predict_volume import predict_volume
from minivess.inference.training_range import compare_with_training
from minivess.models.ensemble import load_model, read_model
from minivess.training.out_of_memory import refused_memory


def predict_file(
    weights: Path,
    volume: Path,
    output_dir: Path,
    *,
    overlap: float = 0.5,
    mirror: bool = False,
    probabilities: bool = False,
    compare: bool = True,
    replace: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Path:
    """Segment one volume in the same way as held-out cases, and write the result to a file.

    The volume is normalised by its own intensities, and the window is a patch that the network was trained with. The
    precision is always fp32; a run that scores in half precision has masks that differ in a few voxels. Memory holds
    the volume in its own type (memory-mapped if the file is not compressed), the result, and one slab.

    Args:
        weights: Model folder: network.json and network.safetensors, or an ensemble.
        volume: NIfTI file.
        output_dir: Folder for ``NAME_y.nii.gz`` or ``NAME_probability.nii.gz``, with the geometry of the input.
        overlap: Share of a window that neighbouring windows have in common, in [0, 1).
        mirror: Average over the in-plane mirror images of each window. This takes four times as long.
        probabilities: Write the vessel probability (float32) instead of the mask (uint8).
        compare: Refuse a volume whose voxel size or order of axes is far from the training's (`training_range`).
        replace: Whether an existing file is replaced.
        progress: Called with the finished share, 0 to 1.

    Returns:
        Path of the file written.

    Raises:
        DataError: The weights or the volume cannot be read, the volume has no contrast or contains NaN or infinite
            voxels, it is far from the training volumes, or memory is not enough.
    """
    saved = read_model(weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _memory_for(volume):
        stats = scan_volume(volume, name=volume.name, voxels=True)
        raise_critical(
            [*stats.findings, *(compare_with_training(stats, saved.trained_on) if compare else ())], DataError
        )
        result = predict_volume(
            load_model(weights).to(device),
            open_volume(volume, exact=stats.needs_float64),
            patch_for(saved.network.patches, stats.shape[2]),
            overlap,
            normalise=stats.normalise,
            mirror=(0, 1) if mirror else (),
            probabilities=probabilities,
            progress=progress,
        )
        target = target_of(volume, output_dir, probabilities=probabilities)
        try:
            write_alike(target, result, volume, replace=replace)
        except FileExistsError as error:
            cure = "predict into another folder, or pass --force to replace existing files"
            raise DataError(
                "a new file for each prediction", f"{target}, which another process has written", cure
            ) from error
    return target


@contextmanager
def _memory_for(volume: Path) -> Iterator[None]:
    """Convert out-of-memory errors to a `DataError` of this volume, because other volumes may fit.

    Raises:
        DataError: The GPU or the machine has not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text, expected = str(error).partition("\n")[0], "a volume that fits into memory"
        whose = refused_memory(error)
        if whose == "host":
            got = f"{volume.name}, which needs more memory than the machine has free ({text or 'MemoryError'})"
            raise DataError(expected, got, "close other programs, or cut the volume into smaller ones") from error
        if whose == "card":
            got = f"{volume.name}, which needs more memory than the GPU has free ({text.partition('.')[0]})"
            cure = "close other GPU programs, predict on the CPU (CUDA_VISIBLE_DEVICES=), or cut the volume in X and Y"
            raise DataError(expected, got, cure) from error
        raise


def target_of(volume: Path, output_dir: Path, *, probabilities: bool = False) -> Path:
    """Path of the file that `predict_file` writes."""
    return output_dir / f"{name_of(volume)}_{'probability' if probabilities else 'y'}.nii.gz"


def require_inputs(weights: Path, volumes: Sequence[Path], *, force: bool = False) -> list[Finding]:
    """Check, before any prediction, that the weights can be loaded and that each file has the header of a volume.

    Args:
        weights: Model folder: network.json and network.safetensors, or an ensemble.
        volumes: The files.
        force: Whether volumes far from the training volumes are accepted.

    Returns:
        What to show the user: volumes that are unlike the training volumes.

    Raises:
        DataError: The weights cannot be loaded, a file is not a valid volume, or is far from the training volumes and
            ``force`` is False. All such files are listed.
    """
    load_model(weights)
    trained_on = read_model(weights).trained_on
    found: list[Finding] = []
    unlike: list[Finding] = []
    for volume in volumes:
        try:
            stats = scan_volume(volume, name=volume.name)
        except VolumeError as error:
            found.append(error.as_finding(volume.name))
            continue
        found += stats.findings
        unlike += compare_with_training(stats, trained_on)
    raise_critical(found if force else found + unlike, DataError)
    return unlike


def require_room(volumes: Sequence[Path], output_dir: Path, *, probabilities: bool, replace: bool) -> None:
    """Check, before any prediction, that each volume has its own output file, and create the output folder.

    Args:
        volumes: Files to predict.
        output_dir: Folder for the predictions.
        probabilities: Whether probabilities are written instead of masks.
        replace: Whether existing files may be replaced.

    Raises:
        DataError: Two volumes have the same name, or an output file exists and ``replace`` is False. The existing file
            may be a label.
        OSError: The folder cannot be created or written to.
    """
    sources: dict[Path, Path] = {}
    for volume in volumes:
        target = target_of(volume, output_dir, probabilities=probabilities)
        if target in sources:
            raise DataError(
                "volumes with different names",
                f"{sources[target]} and {volume}, which would both be written to {target}",
                "predict them into different folders",
            )
        if target.exists() and not replace:
            cure = "choose another --output-dir, or pass --force to replace existing files"
            raise DataError("a new file for each prediction", f"{target}, which already exists", cure)
        sources[target] = volume
    output_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(output_dir, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output_dir))
