"""SegResNet (Myronenko 2018), built from MONAI's blocks with planned strides and kernels.

MONAI's SegResNet halves every axis at every level, and its SegResNetDS chooses strides from the spacing alone. Neither
runs on a patch that has too few voxels along one axis to be halved that often. If SegResNetDS can express the planned
strides, this network is identical to it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field
from torch.nn.functional import interpolate

from minivess.models.model_profile import NetworkSpec
from minivess.models.monai_parts import SegResBlock, UpSample, aniso_kernel
from minivess.models.weights import INITIAL_WEIGHTS, with_initial_weights
from minivess.settings import Settings


class Options(Settings):
    """The key ``options`` of the model profile."""

    blocks_down: tuple[int, ...] = Field(
        default=(1, 2, 2, 4),
        min_length=1,
        description="residual blocks per encoder level; the last number also applies to all deeper levels",
    )
    blocks_up: int = Field(default=1, ge=0, le=16, description="residual blocks per decoder level")
    weights: Path | None = Field(default=None, description=INITIAL_WEIGHTS)


class _Up(torch.nn.Module):
    """One decoder level: upsample, add the skip connection, apply the residual blocks."""

    def __init__(self, upsample: torch.nn.Module, blocks: torch.nn.Module) -> None:
        super().__init__()
        self.upsample = upsample
        self.blocks = blocks

    def forward(self, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        refined: torch.Tensor = self.blocks(self.upsample(deep) + skip)
        return refined


class _SegResNet(torch.nn.Module):
    """SegResNet. ``down`` and ``heads`` are ordered from the finest to the coarsest level, ``up`` in reverse."""

    def __init__(self, spec: NetworkSpec, options: Options) -> None:
        super().__init__()
        levels = range(len(spec.filters))
        most = len(options.blocks_down) - 1
        self.down = torch.nn.ModuleList(
            torch.nn.Sequential(_entry(spec, level), *_blocks(spec, level, options.blocks_down[min(level, most)]))
            for level in levels
        )
        self.up = torch.nn.ModuleList(
            _Up(_upsample(spec, level), torch.nn.Sequential(*_blocks(spec, level, options.blocks_up)))
            for level in reversed(levels[:-1])
        )
        self.heads = torch.nn.ModuleList(
            torch.nn.Conv3d(spec.filters[level], spec.out_channels, kernel_size=1) for level in levels[: 1 + spec.heads]
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        features = [image]
        for down in self.down:
            features.append(down(features[-1]))
        refined = [features.pop()]
        for up in self.up:
            refined.append(up(refined[-1], features.pop()))
        logits: torch.Tensor = self.heads[0](refined.pop())
        if not self.training or len(self.heads) == 1:
            return logits
        deeper = zip(self.heads[1:], reversed(refined), strict=False)
        return [logits, *(interpolate(head(part), image.shape[2:]) for head, part in deeper)]


def build(spec: NetworkSpec) -> torch.nn.Module:
    """Build a SegResNet.

    It uses instance normalisation, so no statistics are estimated across a batch, and training is the same for any
    batch size.

    Args:
        spec: The network.

    Returns:
        Image (B, 1, X, Y, Z) to logits (B, 2, X, Y, Z), or to a list of logits while training with deep supervision.

    Raises:
        DataError: The initial weights cannot be read, or belong to another network.
    """
    options = Options.model_validate(spec.options)
    return with_initial_weights(_SegResNet(spec, options), options.weights)


def _entry(spec: NetworkSpec, level: int) -> torch.nn.Module:
    """First convolution of an encoder level: from the image, or with stride from the next finer level."""
    if level == 0:
        kernel, stride, inputs = spec.kernels[0], spec.strides[0], spec.in_channels
    else:
        stride, inputs = spec.strides[level], spec.filters[level - 1]
        kernel = aniso_kernel(stride)[0]
    padding = tuple(size // 2 for size in kernel)
    return torch.nn.Conv3d(inputs, spec.filters[level], kernel, stride, padding, bias=False)  # type: ignore[arg-type]


def _upsample(spec: NetworkSpec, level: int) -> torch.nn.Module:
    """Upsampling from the next coarser level to ``level``."""
    kernel, _, stride = aniso_kernel(spec.strides[level + 1])
    below, here = spec.filters[level + 1], spec.filters[level]
    network: torch.nn.Module = UpSample(3, below, here, scale_factor=stride, kernel_size=kernel, bias=False)
    return network


def _blocks(spec: NetworkSpec, level: int, count: int) -> list[torch.nn.Module]:
    norm, act = ("instance", {"affine": True}), ("relu", {"inplace": True})
    return [SegResBlock(3, spec.filters[level], norm, spec.kernels[level], act) for _ in range(count)]
