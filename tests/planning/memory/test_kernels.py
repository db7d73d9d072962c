"""Temporary memory of kernels, compared with torch's profiler on a CPU."""

from __future__ import annotations

import pytest
import torch

from minivess.planning.memory.kernels import kernel_bytes
from minivess.planning.memory.workload import Device
from minivess.text import MIB

ATEN = torch.ops.aten


def _forward(batch: int, channels: int, filters: int, kernel: tuple[int, ...], device: Device = "cpu") -> int:
    image, weight = torch.empty(batch, channels, 32, 32, 8), torch.empty(filters, channels, *kernel)
    padding = [size // 2 for size in kernel]
    args = image, weight, None, [1, 1, 1], padding, [1, 1, 1], False, [0, 0, 0], 1
    result = torch.empty(batch, filters, 32, 32, 8)
    return kernel_bytes(ATEN.convolution.default, args, result, device)


class TestOwnConvolution:
    """One small patch: torch's own kernel, which copies every window into a column."""

    def test_one_column_per_kernel_element(self) -> None:
        assert _forward(1, 8, 8, (3, 3, 1)) == 8 * 9 * 8192 * 4 == 2.25 * MIB

    def test_no_column_if_a_window_is_one_voxel(self) -> None:
        assert _forward(1, 8, 2, (1, 1, 1)) == 0

    def test_the_gradient_needs_the_same_columns(self) -> None:
        image, weight, gradient = (
            torch.empty(1, 8, 32, 32, 8),
            torch.empty(8, 8, 3, 3, 1),
            torch.empty(1, 8, 32, 32, 8),
        )
        settings = [1, 1, 1], [1, 1, 0], [1, 1, 1], False, [0, 0, 0], 1
        args = gradient, image, weight, None, *settings, [True, True, False]
        assert kernel_bytes(ATEN.convolution_backward.default, args, (), "cpu") == 2.25 * MIB


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
class TestOneDnn:
    """Two patches: oneDNN, which copies tensors into blocks of sixteen channels."""

    def test_copies_of_image_and_output(self) -> None:
        blocks = 2 * 16 * 8192 * 4  # 8 channels as 16: 1 MiB; the result, 0.5 MiB, is not counted
        weight = 16 * 16 * 9 * 4
        assert _forward(2, 16, 8, (3, 3, 1)) == 2 * blocks + weight - blocks // 2

    def test_an_image_with_one_channel_is_not_copied(self) -> None:
        assert _forward(2, 1, 8, (3, 3, 1)) == 2 * 16 * 8192 * 4  # at the end, a blocked and a plain output


class TestOthers:
    def test_on_a_gpu_every_operand_is_copied_once(self) -> None:
        assert _forward(1, 8, 16, (3, 3, 1), "cuda") == 4 * (8 * 8192 + 16 * 8192 + 16 * 8 * 9)

    def test_most_operators_need_no_temporary_memory(self) -> None:
        assert kernel_bytes(ATEN.add.Tensor, (torch.empty(4), torch.empty(4)), torch.empty(4), "cpu") == 0
