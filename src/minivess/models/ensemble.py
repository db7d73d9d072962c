"""Several networks as one model: the mean of their probabilities. A model folder holds one network or an ensemble."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from minivess.digests import digest_of_file
from minivess.errors import DataError, RunError
from minivess.json_files import read_state, write_state
from minivess.models.model_profile import SPEC_FILE, WEIGHTS_FILE
from minivess.models.weights import SavedNetwork, TrainedOn, load_network, read_saved

ENSEMBLE_FILE = "ensemble.json"
_RESTORE = "delete the folder and run the same command again; it is made again from the cells"


class EnsembleRecord(BaseModel):
    """Content of ensemble.json.

    Attributes:
        members: Digest of the tensors of each network, by the name of its folder, in the order in which they are added.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: dict[str, str]


class Ensemble(nn.Module):
    """Networks whose vessel probabilities are averaged.

    Args:
        members: Networks from images (B, 1, x, y, z) to logits (B, classes, x, y, z).
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logarithm of the mean probability (B, classes, x, y, z), float32; its softmax is that mean.

        One network after the other is applied, so the memory of an image does not grow with their number.
        """
        total = torch.zeros((), device=image.device)
        for member in self.members:
            total = total + member(image).float().softmax(1)
        return (total / len(self.members)).clamp_min(torch.finfo(torch.float32).tiny).log()


def write_ensemble(folder: Path, members: Mapping[str, Path]) -> None:
    """Write an ensemble; a folder that contains it already is left as it is.

    Args:
        folder: The folder to write.
        members: Weights folder of each network, by its name, in the order in which they are added.

    Raises:
        DataError: A file of a member is missing.
    """
    missing = [
        path / name for path in members.values() for name in (WEIGHTS_FILE, SPEC_FILE) if not (path / name).is_file()
    ]
    if missing:
        cure = "delete the cell's result.json and repeat the run: it trains that cell again"
        raise DataError("the weights of every network of the ensemble", f"no file {missing[0]}", cure)
    record = EnsembleRecord(members={name: digest_of_file(path / WEIGHTS_FILE) for name, path in members.items()})
    if (folder / ENSEMBLE_FILE).is_file() and read_state(folder / ENSEMBLE_FILE, EnsembleRecord, _RESTORE) == record:
        return
    new, old = (folder.with_name(f"{folder.name}.{word}") for word in ("new", "old"))
    for place in (new, old):
        shutil.rmtree(place, ignore_errors=True)
    for name, path in members.items():
        (new / name).mkdir(parents=True)
        for file in (WEIGHTS_FILE, SPEC_FILE):
            _link_or_copy(path / file, new / name / file)
    write_state(new / ENSEMBLE_FILE, record)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def is_ensemble(folder: Path) -> bool:
    """Whether a model folder holds an ensemble."""
    return (folder / ENSEMBLE_FILE).is_file()


def load_model(folder: Path) -> nn.Module:
    """Load the network or the ensemble of a model folder. It is on the CPU and in evaluation mode.

    Raises:
        DataError: A file is missing or damaged.
    """
    if not is_ensemble(folder):
        return load_network(folder)
    record = _read_record(folder)
    for name, digest in record.members.items():
        path = folder / name / WEIGHTS_FILE
        if not path.is_file():
            raise DataError("the networks that the ensemble was made of", f"no weights in {path}", _RESTORE)
        if digest_of_file(path) != digest:
            raise DataError("the networks that the ensemble was made of", f"other weights in {path}", _RESTORE)
    return Ensemble([load_network(folder / name) for name in record.members]).eval()


def read_model(folder: Path) -> SavedNetwork:
    """Read what a model folder says about its networks, whose patches are equal; the training volumes are those of all.

    Raises:
        DataError: A file is missing or damaged.
    """
    if not is_ensemble(folder):
        return read_saved(folder)
    saved = [read_saved(folder / name) for name in _read_record(folder).members]
    return saved[0].model_copy(update={"trained_on": _together([one.trained_on for one in saved])})


def digest_of_model(folder: Path) -> str:
    """Return the SHA-256 of the weights, or of the list of the digests of an ensemble.

    Raises:
        OSError: The file cannot be read.
    """
    with (folder / (ENSEMBLE_FILE if is_ensemble(folder) else WEIGHTS_FILE)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_record(folder: Path) -> EnsembleRecord:
    try:
        record = read_state(folder / ENSEMBLE_FILE, EnsembleRecord, _RESTORE)
    except RunError as error:
        raise DataError(error.expected, error.got, error.cure) from error
    if not record.members:
        raise DataError("an ensemble of at least one network", f"none in {folder / ENSEMBLE_FILE}", _RESTORE)
    return record


def _together(parts: Sequence[TrainedOn | None]) -> TrainedOn | None:
    """Return the range of all training volumes; None if that of one network is unknown."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    x, y, z = (min(part.spacing_min_um[axis] for part in known) for axis in range(3))
    wide_x, wide_y, wide_z = (max(part.spacing_max_um[axis] for part in known) for axis in range(3))
    lowest = [part.intensity_min for part in known if part.intensity_min is not None]
    highest = [part.intensity_max for part in known if part.intensity_max is not None]
    return known[0].model_copy(
        update={
            "volumes": max(part.volumes for part in known),
            "spacing_min_um": (x, y, z),
            "spacing_max_um": (wide_x, wide_y, wide_z),
            "intensity_min": min(lowest) if len(lowest) == len(known) else None,
            "intensity_max": max(highest) if len(highest) == len(known) else None,
        }
    )
