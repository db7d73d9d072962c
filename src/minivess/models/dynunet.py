"""DynUNet of MONAI with planned strides and kernels (nnU-Net's network, Isensee et al. 2021)."""

from __future__ import annotations

import torch

from minivess.errors import ConfigError
from minivess.models.model_profile import NetworkSpec
from minivess.models.monai_parts import DynUNet


class _DynUNet(torch.nn.Module):
    """MONAI's network, with its stacked deep supervision outputs taken apart."""

    def __init__(self, network: DynUNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        logits = self.network(image)
        if logits.ndim == image.ndim:
            return logits
        return list(logits.unbind(dim=1))


def build(spec: NetworkSpec) -> torch.nn.Module:
    """Build the network; instance normalisation, so nothing is estimated across a batch and any batch size trains alike.

    Raises:
        ConfigError: Fewer than three levels: too few filters, or a patch too small to be halved twice.
    """
    if len(spec.strides) < 3:
        raise ConfigError(
            "three levels or more for a DynUNet",
            f"{len(spec.strides)}: filters {spec.filters}, patch {spec.largest_patch}",
            "give model.filters three numbers or more, and a patch of at least 8 voxels along two axes",
        )
    return _DynUNet(
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
