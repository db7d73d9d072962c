"""MONAI's DynUNet with planned strides and kernels (the network of nnU-Net, Isensee et al. 2021)."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field

from minivess.errors import ConfigError
from minivess.models.model_profile import NetworkSpec
from minivess.models.monai_parts import DynUNet
from minivess.models.weights import INITIAL_WEIGHTS, with_initial_weights
from minivess.settings import Settings


class Options(Settings):
    """The key ``options`` of the model profile."""

    weights: Path | None = Field(default=None, description=INITIAL_WEIGHTS)


class _DynUNet(torch.nn.Module):
    """MONAI's DynUNet. Its deep supervision outputs, stacked in one tensor, are returned as a list."""

    def __init__(self, network: DynUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        logits = self.network(image)
        if logits.ndim == image.ndim:
            return logits
        return list(logits.unbind(dim=1))


def build(spec: NetworkSpec) -> torch.nn.Module:
    """Build a DynUNet.

    It uses instance normalisation, so no statistics are estimated across a batch, and training is the same for any
    batch size.

    Args:
        spec: The network.

    Returns:
        Image (B, 1, X, Y, Z) to logits (B, 2, X, Y, Z), or to a list of logits while training with deep supervision.

    Raises:
        DataError: The initial weights cannot be read, or belong to another network.
        ConfigError: There are fewer than three levels: too few filters, or a patch that cannot be halved twice.
    """
    if len(spec.strides) < 3:
        raise ConfigError(
            "at least three levels for a DynUNet",
            f"{len(spec.strides)} with filters {spec.filters} and patch {spec.largest_patch}",
            "set model.filters to at least three numbers, and use a patch of at least 8 voxels along two axes",
        )
    options = Options.model_validate(spec.options)
    network = _DynUNet(
        DynUNet(
            spatial_dims=3,
            in_channels=spec.in_channels,
            out_channels=spec.out_channels,
            kernel_size=spec.kernels,
            strides=spec.strides,
            upsample_kernel_size=spec.strides[1:],
            filters=spec.filters,
            norm_name=("INSTANCE", {"affine": True}),
            deep_supervision=spec.heads > 0,
            deep_supr_num=max(spec.heads, 1),
        )
    )
    return with_initial_weights(network, options.weights)
