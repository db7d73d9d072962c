"""Temporary memory that a kernel allocates besides its operands; a trace of operators does not show it.

On a CPU the formulas reproduce the allocations of torch's allocator (measured with torch 2.13, oneDNN 3.12): the
columns of torch's own convolutions, and the reordered copies of oneDNN's convolutions. The code of cuDNN is not public,
so its memory is approximated by one copy of every operand, which cuDNN makes to change the layout for tensor cores. For
the largest convolution of a step on an H200 this gives 108 MiB; measured were 108 and 110 MiB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch

_BLOCK = 16  # oneDNN stores channels in blocks of this size
_Backend = torch._C._ConvBackend  # type: ignore[attr-defined]  # the stub has another name
_NATIVE = (_Backend.Slow3d, _Backend.SlowDilated3d, _Backend.SlowTranspose3d)  # convolutions that do not run in oneDNN


def kernel_bytes(operator: Any, args: Sequence[Any], result: Any, device: Literal["cpu", "cuda"]) -> int:
    """Return the peak of the temporary memory of an operator, in bytes, without its arguments and results.

    Args:
        operator: The called overload of ``torch.ops.aten``.
        args: Its positional arguments; fake tensors are allowed.
        result: Its result.
        device: The device whose kernels count; the device of the tensors is ignored.

    Returns:
        0 for all operators except convolutions and, on a CPU, the backward pass of batch normalisation.
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
    """One call of a convolution.

    Shapes are those of torch: image and output (B, C, X, Y, Z), weight (out, in, kernel), or (in, out, kernel) if
    transposed.
    """

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
        gradient, image, weight, _bias_sizes, *settings, output_mask = args
        return cls._of((image, weight, None, *settings), gradient, backward=True, image_gradient=output_mask[0])

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
        """Return the bytes of one copy of image, weight and output."""
        return self.itemsize * (prod(self.image) + prod(self.weight) + prod(self.output))

    def cpu_bytes(self, threads: int) -> int:
        if self.backend in _NATIVE:
            return self._columns()
        return self._onednn_backward(threads) if self.backward else self._onednn_forward(threads)

    def _columns(self) -> int:
        """Return the bytes of the column matrix, which contains all windows of the input for a matrix product.

        There is no copy if a window is one voxel.
        """
        if self.transposed:
            return self.itemsize * prod(self.weight[1:]) * prod(self.image[2:])
        if prod(self.kernel) == 1 and not self.backward:
            return 0
        return self.itemsize * self.image[0] * prod(self.weight[1:]) * prod(self.output[2:])

    def _onednn_forward(self, threads: int) -> int:
        image, weight, output = self._reordered()
        result = self.itemsize * prod(self.output)
        if self.transposed:
            return max(image + weight + output + self._padded(self.image, threads) - result, 2 * output)
        return max(image + weight + output + self._accumulators(self.output, threads) - result, output)

    def _onednn_backward(self, threads: int) -> int:
        """Return the peak of two phases.

        First the gradient of the image is computed; then, with it still in memory, the gradient of the weight.
        """
        image, weight, output = self._reordered()
        image_result = self.itemsize * prod(self.image) if self.image_gradient else 0
        results = image_result + self.itemsize * prod(self.weight)
        of_image = image + weight + output + self._accumulators(self.image, threads)
        if self.strided and not self.transposed:
            of_image += self._padded(self.output, threads)
        of_weight = image_result + image + weight + output + self._weight_scratch(weight, threads)
        return max(of_image if self.image_gradient else 0, of_weight) - results

    def _reordered(self) -> tuple[int, int, int]:
        """Return the bytes of image, weight and output in blocks of channels.

        An image with one channel is not reordered.
        """
        image = prod(self.image) if self.image[1] == 1 else _blocked_size(self.image)
        weight = _round_up(self.weight[0]) * _round_up(self.weight[1]) * prod(self.kernel)
        return self.itemsize * image, self.itemsize * weight, self.itemsize * _blocked_size(self.output)

    def _accumulators(self, result: tuple[int, ...], threads: int) -> int:
        """Return the bytes of one float32 image per thread; only for half precision with a kernel of one voxel."""
        if self.itemsize == 4 or prod(self.kernel) > 1:
            return 0
        return 4 * threads * _blocked_size((1, *result[1:]))

    def _padded(self, shape: tuple[int, ...], threads: int) -> int:
        """Return the bytes of one image per thread, padded for the kernel."""
        sizes = (size + (width - 1) // 2 for size, width in zip(shape[2:], self.kernel, strict=True))
        return self.itemsize * threads * _round_up(shape[1]) * prod(sizes)

    def _weight_scratch(self, weight: int, threads: int) -> int:
        """Return the bytes for the gradient of the weight in half precision.

        These are the sum in float32 and, unless the kernel is flat along Z, transposed images per thread.
        """
        if self.itemsize == 4:
            return 0
        flat = self.kernel[-1] == 1 and prod(self.kernel) > 1
        padded = (size + 2 * (width // 2) for size, width in zip(self.image[2:], self.kernel, strict=True))
        images = 0 if self.image[1] == 1 else _round_up(self.image[1]) * prod(padded)
        transposed = self.itemsize * threads * (images + _blocked_size((1, *self.output[1:])))
        return 2 * weight + (0 if flat else transposed)


def _round_up(channels: int) -> int:
    return -(-channels // _BLOCK) * _BLOCK


def _blocked_size(shape: Sequence[int]) -> int:
    return shape[0] * _round_up(shape[1]) * prod(shape[2:])
