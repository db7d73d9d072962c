"""Weights on disk: ``network.safetensors`` and, next to it, ``network.json`` with the spec. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minivess.atomic import atomic_path, write_text
from minivess.errors import DataError
from minivess.models.model_profile import SPEC_FILE, WEIGHTS_FILE, NetworkSpec, build_network


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
    own = tensors_of(network)
    if own.keys() != tensors.keys() or any(own[name].shape != value.shape for name, value in tensors.items()):
        raise DataError(
            "tensors with the names and shapes of this network",
            "other names or shapes",
            "use the weights and the network.json from one training",
        )
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)


def save_network(folder: Path, network: torch.nn.Module, spec: NetworkSpec) -> None:
    """Write the weights, then the spec. If network.json exists, the weights are therefore complete."""
    tensors = {name: value.cpu().contiguous() for name, value in tensors_of(network).items()}
    with atomic_path(folder / WEIGHTS_FILE) as temporary:
        save_file(tensors, temporary)
    write_text(folder / SPEC_FILE, spec.model_dump_json(indent=2) + "\n")


def read_spec(folder: Path) -> NetworkSpec:
    """Read the spec from a weights folder.

    Raises:
        DataError: network.json is missing or damaged.
    """
    path = folder / SPEC_FILE
    try:
        return NetworkSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(
            "a folder with network.json and network.safetensors",
            f"{path}: {error.strerror}",
            "pass a cell folder, runs/NAME/cells/LOSS-foldK, or its weights folder",
        ) from error
    except ValueError as error:
        raise DataError(
            "a valid network.json", f"{path}: {' '.join(str(error).split())}", "run the cell again"
        ) from error


def load_network(folder: Path) -> torch.nn.Module:
    """Build the network of a weights folder and load its weights. It is on the CPU and in evaluation mode.

    Raises:
        DataError: A file is missing or damaged, or the two files do not belong together.
    """
    try:
        network = build_network(read_spec(folder), pretrained=False)
        load_tensors(network, load_file(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError) as error:
        raise DataError(
            "network.json and network.safetensors from one training", f"{folder}: {error}", "check the path"
        ) from error
    return network.eval()
