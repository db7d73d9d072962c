"""Example of your own network: a small U-Net, used by configs/model_profiles/example_custom.yaml."""

from __future__ import annotations

import torch
from torch import nn

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec


def build(spec: NetworkSpec) -> nn.Module:
    """Build the network. The key ``builder`` of the profile contains the name of this function.

    ``spec`` contains the planned strides and the options of the profile.
    """
    return MyUNet(spec, **spec.options)


class MyUNet(nn.Module):
    """U-Net, image (B, 1, X, Y, Z) to logits (B, 2, X, Y, Z). The strides of each level come from the plan."""

    def __init__(self, spec: NetworkSpec, dropout: float = 0.0) -> None:
        super().__init__()
        inputs = (spec.in_channels, *spec.filters)
        levels = range(len(spec.filters))
        self.down = nn.ModuleList(
            block(inputs[level], spec.filters[level], spec.kernels[level], spec.strides[level]) for level in levels
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(
                spec.filters[level], spec.filters[level - 1], spec.strides[level], stride=spec.strides[level]
            )
            for level in levels[1:]
        )
        self.merge = nn.ModuleList(
            block(2 * spec.filters[level], spec.filters[level], spec.kernels[level], (1, 1, 1)) for level in levels[:-1]
        )
        self.dropout = nn.Dropout3d(dropout)
        self.head = nn.Conv3d(spec.filters[0], spec.out_channels, kernel_size=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = [image]
        for down in self.down:
            features.append(down(features[-1]))
        deep = self.dropout(features[-1])
        for level in reversed(range(len(self.up))):
            deep = self.merge[level](torch.cat([self.up[level](deep), features[level + 1]], dim=1))
        logits: torch.Tensor = self.head(deep)
        return logits


def block(inputs: int, outputs: int, kernel: Shape, stride: Shape) -> nn.Module:
    """A convolution with instance normalisation, which works with small batches."""
    padding = tuple(size // 2 for size in kernel)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding),  # type: ignore[arg-type]
        nn.InstanceNorm3d(outputs, affine=True),
        nn.LeakyReLU(0.01),
    )
