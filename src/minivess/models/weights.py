"""Weights on disk: ``network.safetensors`` and, next to it, ``network.json`` with the spec. Nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from minivess.atomic import atomic_path
from minivess.digests import digest_of_file
from minivess.errors import DataError, MinivessError, RunError
from minivess.geometry import Spacing
from minivess.json_files import read_state, write_state
from minivess.models.model_profile import SPEC_FILE, WEIGHTS_FILE, NetworkSpec, build_network

INITIAL_WEIGHTS = "weights to start from, a .safetensors file of an equal network; null for none"
_RESTORE = "restore both files from a copy, or delete the cell folder and run the same command again"


class TrainedOn(BaseModel):
    """The volumes that a network was trained on, to recognise volumes that it cannot segment.

    Attributes:
        volumes: Number of volumes.
        spacing_min_um: Smallest voxel size along X, Y, Z in micrometres.
        spacing_max_um: Largest voxel size along X, Y, Z in micrometres.
        intensity_min: Smallest of the volumes' 0.5 percentiles; None if any contrast is usable.
        intensity_max: Largest of the volumes' 99.5 percentiles; None if any contrast is usable.
        axes: Order of the axes of the volumes.
        normalisation: How the intensities of a volume are normalised, as text.
        kind: What it was trained on, in one word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    volumes: int
    spacing_min_um: Spacing
    spacing_max_um: Spacing
    intensity_min: float | None
    intensity_max: float | None
    axes: str = "XYZ"
    normalisation: str = (
        "clip to the 0.5 and 99.5 percentiles of the volume, subtract the mean, divide by the deviation"
    )
    kind: str = "volumes"


class SavedNetwork(BaseModel):
    """Content of network.json.

    Attributes:
        network: The network.
        tensors_digest: Digest of network.safetensors; None if version 0.1 of minivess wrote it.
        trained_on: The volumes that it was trained on; None if unknown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    network: NetworkSpec
    tensors_digest: str | None = None
    trained_on: TrainedOn | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_version_0_1(cls, values: Any) -> Any:
        """Accept a network.json that contains only the network."""
        return {"network": values} if isinstance(values, dict) and "network" not in values else values


def tensors_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers by name, detached.

    Each tensor is included once, although MONAI's networks contain the same layer under several names.
    """
    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: value.detach() for name, value in named.items()}


def load_tensors(network: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Copy tensors, as returned by ``tensors_of``, into a network.

    Raises:
        DataError: The names or shapes differ from those of the network.
    """
    _require_same({name: value.shape for name, value in tensors.items()}, network)
    own = tensors_of(network)
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)


def save_network(
    folder: Path,
    network: torch.nn.Module,
    spec: NetworkSpec,
    trained_on: TrainedOn | None = None,
    *,
    half: bool = False,
) -> None:
    """Write the weights, then network.json. If network.json exists, the weights are therefore complete.

    Args:
        folder: The weights folder.
        network: The trained network.
        spec: Its description.
        trained_on: The volumes that it was trained on; None if unknown.
        half: Write the tensors as float16; `load_network` computes with them in float32.
    """
    tensors = {name: value.cpu().contiguous() for name, value in tensors_of(network).items()}
    if half:
        tensors = {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary)
        digest = digest_of_file(temporary)
    write_state(folder / SPEC_FILE, SavedNetwork(network=spec, tensors_digest=digest, trained_on=trained_on))


def read_saved(folder: Path) -> SavedNetwork:
    """Read network.json of a weights folder.

    Raises:
        DataError: network.json is missing or damaged.
    """
    path = folder / SPEC_FILE
    if not path.is_file():
        raise DataError(
            "a folder with network.json and network.safetensors",
            f"no file {path}",
            "pass a cell folder, runs/NAME/cells/LOSS-foldK, or its weights folder",
        )
    try:
        return read_state(path, SavedNetwork, _RESTORE)
    except RunError as error:
        raise DataError(error.expected, error.got, error.cure) from error


def load_network(folder: Path) -> torch.nn.Module:
    """Build the network of a weights folder and load its weights. It is on the CPU and in evaluation mode.

    The tensors are compared with their digest, and their names and shapes with those of the network before any memory
    is taken for it.

    Raises:
        DataError: A file is missing or damaged, or the two files do not belong together.
    """
    saved, path = read_saved(folder), folder / WEIGHTS_FILE
    try:
        if saved.tensors_digest not in (None, digest_of_file(path)):
            raise DataError("weights as minivess wrote them", f"{path}, which does not match its digest", _RESTORE)
        _require_fit(saved.network, path)
        network = build_network(saved.network, pretrained=False)
        load_tensors(network, load_file(path))
    except MinivessError:
        raise
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of safetensors, of the file system, or of a builder that cannot build this network
        raise DataError(
            "network.json and network.safetensors from one training", f"{folder}: {error}", _RESTORE
        ) from error
    return network.eval()


def with_initial_weights(network: torch.nn.Module, path: Path | None) -> torch.nn.Module:
    """Load the tensors of a .safetensors file into a network that was built just now; None leaves it as it is.

    Raises:
        DataError: The file cannot be read, or belongs to another network.
    """
    if path is not None:
        try:
            tensors = load_file(path.expanduser())
        except (OSError, SafetensorError) as error:
            raise DataError(
                "weights in a .safetensors file", f"{path}: {error}", "correct options.weights in the model profile"
            ) from error
        load_tensors(network, tensors)
    return network


def _require_fit(spec: NetworkSpec, path: Path) -> None:
    """Compare the names and shapes in the header of the file with those of the network, which is built without memory.

    A builder that cannot build without memory is skipped; `load_tensors` compares in any case.

    Raises:
        DataError: The names or shapes differ.
    """
    try:
        with torch.device("meta"):
            empty = build_network(spec, pretrained=False)
    except (NotImplementedError, RuntimeError):
        return
    with safe_open(path, "pt") as file:
        _require_same({name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, empty)  # noqa: SIM118


def _require_same(shapes: Mapping[str, Sequence[int]], network: torch.nn.Module) -> None:
    own = {name: tuple(value.shape) for name, value in tensors_of(network).items()}
    if own != {name: tuple(shape) for name, shape in shapes.items()}:
        raise DataError(
            "tensors with the names and shapes of this network",
            "other names or shapes",
            "use the weights and the network.json from one training",
        )
