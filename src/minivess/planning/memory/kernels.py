"""What a kernel allocates beside its operands, which no trace of operators shows.

On a CPU these are formulas for what torch's allocator was seen to hand out (torch 2.13, oneDNN 3.12): the columns of torch's
own convolutions and the reordered copies of oneDNN's. cuDNN is a closed book; what stands for it here is one copy of every
operand, as it makes to change the layout for tensor cores: 108 MiB where 108 and 110 were taken, the largest of a step on an H200.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch

_BLOCK = 16  # oneDNN keeps channels in blocks of this many
_Backend = torch._C._ConvBackend  # type: ignore[attr-defined]  # the stub has another name
_NATIVE = (_Backend.Slow3d, _Backend.SlowDilated3d, _Backend.SlowTranspose3d)  # what oneDNN does not take over


def kernel_bytes(operator: Any, args: Sequence[Any], result: Any, device: Literal["cpu", "cuda"]) -> int:
    """Most bytes that an operator holds at any time beyond its arguments and its results; 0 for all but a few.

    Args:
        operator: Overload of ``torch.ops.aten`` that was called.
        args: What it was called with, positional; fake tensors will do.
        result: What it returned.
        device: Whose kernels are meant, wherever the tensors say they are.
    """
    aten = torch.ops.aten
    if operator in (aten.convolution.default, aten.convolution_backward.default):
        backward = operator is aten.convolution_backward.default
        call = _Convolution.of_backward(args) if backward else _Convolution.of_forward(args, result)
        return call.cudnn_bytes() if device == "cuda" else call.cpu_bytes(torch.get_num_threads())
    if operator is aten.native_batch_norm_backward.default and device == "cpu":
        gradient: int = args[0].nbytes
        return gradient
    return 0


@dataclass(frozen=True)
class _Convolution:
    """One call. Shapes as torch has them: (B, C, X, Y, Z), the weight (out, in, kernel), or (in, out, kernel) transposed."""

    image: tuple[int, ...]
    weight: tuple[int, ...]
    output: tuple[int, ...]
    itemsize: int
    transposed: bool
    strided: bool
    backward: bool
    image_gradient: bool
    backend: Any

    @classmethod
    def of_forward(cls, args: Sequence[Any], output: Any) -> _Convolution:
        return cls._of(args, output, backward=False, image_gradient=False)

    @classmethod
    def of_backward(cls, args: Sequence[Any]) -> _Convolution:
        gradient, image, weight, _bias_sizes, *settings, wanted = args
        return cls._of((image, weight, None, *settings), gradient, backward=True, image_gradient=wanted[0])

    @classmethod
    def _of(cls, args: Sequence[Any], output: Any, *, backward: bool, image_gradient: bool) -> _Convolution:
        image, weight, _bias, stride, _padding, _dilation, transposed, *_ = args
        return cls(
            image=tuple(image.shape),
            weight=tuple(weight.shape),
            output=tuple(output.shape),
            itemsize=image.element_size(),
            transposed=transposed,
            strided=any(step > 1 for step in stride),
            backward=backward,
            image_gradient=image_gradient,
            backend=torch._C._select_conv_backend(*args),
        )

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight[2:]

    def cudnn_bytes(self) -> int:
        """A copy of image, weight and output."""
        return self.itemsize * (prod(self.image) + prod(self.weight) + prod(self.output))

    def cpu_bytes(self, threads: int) -> int:
        if self.backend in _NATIVE:
            return self._columns()
        return self._onednn_backward(threads) if self.backward else self._onednn_forward(threads)

    def _columns(self) -> int:
        """Every window of the input side by side, for a matrix product; no copy where a window is one voxel."""
        if self.transposed:
            return self.itemsize * prod(self.weight[1:]) * prod(self.image[2:])
        if prod(self.kernel) == 1 and not self.backward:
            return 0
        return self.itemsize * self.image[0] * prod(self.weight[1:]) * prod(self.output[2:])

    def _onednn_forward(self, threads: int) -> int:
        image, weight, output = self._reordered()
        result = self.itemsize * prod(self.output)
        if self.transposed:
            return max(image + weight + output + self._overhanging(self.image, threads) - result, 2 * output)
        return max(image + weight + output + self._accumulators(self.output, threads) - result, output)

    def _onednn_backward(self, threads: int) -> int:
        """First the gradient of the image, then, with that in hand, the gradient of the weight."""
        image, weight, output = self._reordered()
        image_result = self.itemsize * prod(self.image) if self.image_gradient else 0
        results = image_result + self.itemsize * prod(self.weight)
        of_image = image + weight + output + self._accumulators(self.image, threads)
        if self.strided and not self.transposed:
            of_image += self._overhanging(self.output, threads)
        of_weight = image_result + image + weight + output + self._weight_scratch(weight, threads)
        return max(of_image if self.image_gradient else 0, of_weight) - results

    def _reordered(self) -> tuple[int, int, int]:
        """Bytes of image, weight and output in blocks of channels; an image of one channel stays as it is."""
        image = prod(self.image) if self.image[1] == 1 else _blocked(self.image)
        weight = _up(self.weight[0]) * _up(self.weight[1]) * prod(self.kernel)
        return self.itemsize * image, self.itemsize * weight, self.itemsize * _blocked(self.output)

    def _accumulators(self, result: tuple[int, ...], threads: int) -> int:
        """A float32 image for each thread, where half precision meets a kernel of one voxel."""
        if self.itemsize == 4 or prod(self.kernel) > 1:
            return 0
        return 4 * threads * _blocked((1, *result[1:]))

    def _overhanging(self, shape: tuple[int, ...], threads: int) -> int:
        """An image for each thread, with room for the kernel to hang over."""
        sizes = (size + (width - 1) // 2 for size, width in zip(shape[2:], self.kernel, strict=True))
        return self.itemsize * threads * _up(shape[1]) * prod(sizes)

    def _weight_scratch(self, weight: int, threads: int) -> int:
        """In half precision the sum in float32 and, unless the kernel is flat along Z, transposed images for each thread."""
        if self.itemsize == 4:
            return 0
        flat = self.kernel[-1] == 1 and prod(self.kernel) > 1
        padded = (size + 2 * (width // 2) for size, width in zip(self.image[2:], self.kernel, strict=True))
        images = 0 if self.image[1] == 1 else _up(self.image[1]) * prod(padded)
        transposed = self.itemsize * threads * (images + _blocked((1, *self.output[1:])))
        return 2 * weight + (0 if flat else transposed)


def _up(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK


def _blocked(shape: Sequence[int]) -> int:
    return shape[0] * _up(shape[1]) * prod(shape[2:])
