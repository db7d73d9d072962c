"""Weights and a NIfTI file become a mask beside it, on the same grid."""

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
from minivess.models.weights import load_network, read_spec
from minivess.training.out_of_memory import refused_memory


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

    Always in single precision: a run that scores in half precision has masks that differ in a few voxels. Held in memory are the
    volume in its own type (mapped from the file where that is not compressed), the result, and a slab.

    Args:
        weights: Folder with network.json and network.safetensors.
        volume: NIfTI file.
        output_dir: ``NAME_y.nii.gz`` goes there, or ``NAME_probability.nii.gz``, with the geometry of the input.
        overlap: Share of a window that neighbours share.
        mirror: Average over the in-plane mirror images of each window, which takes four times as long.
        probabilities: Write the vessel probability (float32) in place of the mask (uint8).
        progress: Called with the finished share, 0 to 1.

    Raises:
        DataError: Weights or volume cannot be read, the volume has no contrast or voxels that are no numbers, or there is no
            memory for it.
    """
    spec = read_spec(weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with _memory_for(volume):
        stats = scan_volume(volume, name=volume.name, voxels=True)
        raise_critical(stats.findings, DataError)
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
        target = target_of(volume, output_dir, probabilities=probabilities)
        write_alike(target, result, volume)
    return target


@contextmanager
def _memory_for(volume: Path) -> Iterator[None]:
    """Memory that is refused is a fault of this volume, since another may well fit.

    Raises:
        DataError: It was refused, on the card or on the host.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text, expected = str(error).partition("\n")[0], "a volume that fits into memory"
        whose = refused_memory(error)
        if whose == "host":
            got = f"{volume.name}, for which the machine's memory is too small ({text or 'MemoryError'})"
            raise DataError(expected, got, "close other programs, or cut the volume into smaller ones") from error
        if whose == "card":
            got = f"{volume.name}, for which the graphics card is too small or too full ({text.partition('.')[0]})"
            cure = "free the card of other programs, predict without it (CUDA_VISIBLE_DEVICES=), or cut the volume in X and Y"
            raise DataError(expected, got, cure) from error
        raise


def target_of(volume: Path, output_dir: Path, *, probabilities: bool = False) -> Path:
    """Where `predict_file` writes."""
    return output_dir / f"{name_of(volume)}_{'probability' if probabilities else 'y'}.nii.gz"


def require_inputs(weights: Path, volumes: Sequence[Path]) -> None:
    """Make sure, before anything is predicted, that the weights can be loaded and that each file's header is a volume's.

    Raises:
        DataError: They cannot, or every file that is none.
    """
    load_network(weights)
    found: list[Finding] = []
    for volume in volumes:
        try:
            found += scan_volume(volume, name=volume.name).findings
        except VolumeError as error:
            found.append(error.as_finding(volume.name))
    raise_critical(found, DataError)


def require_room(volumes: Sequence[Path], output_dir: Path, *, probabilities: bool, replace: bool) -> None:
    """Make sure, before anything is predicted, that each volume has a file of its own to be written.

    Raises:
        DataError: Two volumes share a name, or (without ``replace``) a file stands where one is to be written: a label, perhaps.
        OSError: The folder cannot be written.
    """
    sources: dict[Path, Path] = {}
    for volume in volumes:
        target = target_of(volume, output_dir, probabilities=probabilities)
        if target in sources:
            raise DataError(
                "volumes of different names",
                f"{sources[target]} and {volume}, which would both be {target}",
                "predict them into different folders",
            )
        if target.exists() and not replace:
            cure = "choose another --output-dir, or give --force to replace what stands there"
            raise DataError("a new file for each mask", f"{target}, which is there already", cure)
        sources[target] = volume
    output_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(output_dir, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(output_dir))
