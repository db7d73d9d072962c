"""Weights and what they belong to: ``network.safetensors`` beside ``network.json``; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minivess.atomic import atomic_path, write_text
from minivess.errors import DataError
from minivess.models.registry import NetworkSpec, build_network


def save_network(folder: Path, network: torch.nn.Module, spec: NetworkSpec) -> None:
    """Write weights, then spec: where the JSON stands, the weights are whole."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_path(folder / "network.safetensors") as temporary:
        save_file(tensors, temporary)
    write_text(folder / "network.json", spec.model_dump_json(indent=2) + "\n")


def load_network(folder: Path) -> torch.nn.Module:
    """Build the network of a weights folder and load its weights, on the CPU, in evaluation mode.

    Raises:
        DataError: Either file is missing or damaged, or they do not belong together.
    """
    try:
        network = build_network(NetworkSpec.model_validate_json((folder / "network.json").read_bytes()))
        network.load_state_dict(load_file(folder / "network.safetensors"))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(
            "network.json and network.safetensors of one training", f"{folder}: {error}", "check the path"
        ) from error
    return network.eval()
