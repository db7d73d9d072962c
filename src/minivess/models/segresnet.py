"""SegResNet (Myronenko 2018) of MONAI's blocks, with planned strides and kernels.

MONAI's SegResNet halves every axis at every level, and its SegResNetDS derives strides from the spacing alone, so neither
runs on a patch that has no voxels left along one axis. Where the plan is one that SegResNetDS can express, this is the same network.
"""

from __future__ import annotations

import torch
from monai.networks.blocks.upsample import UpSample
from monai.networks.nets.segresnet_ds import SegResBlock, aniso_kernel
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.functional import interpolate

from minivess.models.registry import NetworkSpec
from minivess.strides import Shape


class Options(BaseModel):
    """``options`` of the model profile."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blocks_down: tuple[int, ...] = Field(default=(1, 2, 2, 4), description="residual blocks a level on the way down")
    blocks_up: int = Field(default=1, ge=1, description="residual blocks a level on the way up")


class _Up(torch.nn.Module):
    """One level of the decoder: double what the strides halved, add the skip, refine."""

    def __init__(self, upsample: torch.nn.Module, blocks: torch.nn.Module) -> None:
        super().__init__()
        self.upsample = upsample
        self.blocks = blocks

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        refined: torch.Tensor = self.blocks(self.upsample(deep) + skip)
        return refined


class _SegResNet(torch.nn.Module):
    """Levels count from the finest; ``up`` and ``heads`` have one entry a level that they lead to."""

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__()
        levels = len(spec.filters)
        self.down = torch.nn.ModuleList(
            torch.nn.Sequential(_entry(spec, level), *_blocks(spec, level, options.blocks_down[level]))
            for level in range(levels)
        )
        self.up = torch.nn.ModuleList(
            _Up(_upsample(spec, level), torch.nn.Sequential(*_blocks(spec, level, options.blocks_up)))
            for level in range(levels - 1)
        )
        heads = 1 + max(min(spec.deep_supervision, levels - 2), 0)
        self.heads = torch.nn.ModuleList(
            torch.nn.Conv3d(spec.filters[level], spec.out_channels, 1) for level in range(heads)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        features = [image]
        for down in self.down:
            features.append(down(features[-1]))
        deep, refined = features[-1], {len(self.up): features[-1]}
        for level in reversed(range(len(self.up))):
            deep = refined[level] = self.up[level](deep, features[level + 1])
        if not self.training or len(self.heads) == 1:
            output: torch.Tensor = self.heads[0](deep)
            return output
        return [interpolate(head(refined[level]), image.shape[2:]) for level, head in enumerate(self.heads)]


def build(spec: NetworkSpec) -> torch.nn.Module:
    """Build the network; instance normalisation, so nothing is estimated across a batch and any batch size trains alike."""
    return _SegResNet(spec, Options.model_validate(spec.options))


def _entry(spec: NetworkSpec, level: int) -> torch.nn.Module:
    """The convolution that leads into a level, from the image or from the level above."""
    if level == 0:
        return _conv(spec.in_channels, spec.filters[0], spec.kernels[0], (1, 1, 1))
    stride = spec.strides[level]
    return _conv(spec.filters[level - 1], spec.filters[level], aniso_kernel(stride)[0], stride)


def _conv(inputs: int, outputs: int, kernel: Shape, stride: Shape) -> torch.nn.Module:
    padding = tuple(size // 2 for size in kernel)
    return torch.nn.Conv3d(inputs, outputs, tuple(kernel), stride, padding, bias=False)  # type: ignore[arg-type]


def _blocks(spec: NetworkSpec, level: int, count: int) -> list[torch.nn.Module]:
    norm = ("instance", {"affine": True})
    act = ("relu", {"inplace": True})
    return [SegResBlock(3, spec.filters[level], norm, spec.kernels[level], act) for _ in range(count)]


def _upsample(spec: NetworkSpec, level: int) -> torch.nn.Module:
    kernel, _, stride = aniso_kernel(spec.strides[level + 1])
    network: torch.nn.Module = UpSample(
        3, spec.filters[level + 1], spec.filters[level], scale_factor=stride, kernel_size=kernel, bias=False
    )
    return network
