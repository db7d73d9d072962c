"""Refuse a loss that does not leave out unknown voxels, before anything is trained with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from minivess.errors import ConfigError
from minivess.geometry import Shape


def require_blind(loss: nn.Module, name: str, patch: Shape, device: torch.device | str = "cpu") -> None:
    """Require that neither value nor gradient of a loss depends on voxels where the mask is False.

    The losses of minivess are tested for it. A loss that a user has added may ignore the mask, and then train on unknown
    voxels as if they were background.

    Args:
        loss: Called as ``loss(logits, label, mask)``.
        name: Name of the loss, for the message.
        patch: Size of the patches that the loss gets, in voxels.
        device: Device of the loss.

    Raises:
        ConfigError: The gradient there is not 0, or the value changes with what is there.
    """
    source = torch.Generator().manual_seed(0)
    label = (torch.rand(1, 1, *patch, generator=source) > 0.7).to(torch.uint8)
    # Mostly right, because parts of a loss may count only when the network segments.
    right = torch.where(label > 0, 2.0, -2.0)
    logits = torch.cat([-right, right], 1) + torch.randn(1, 2, *patch, generator=source)
    known = torch.rand(1, 1, *patch, generator=source) > 0.5
    value, gradient = _value_and_gradient(loss, *(part.to(device) for part in (logits, label, known)))
    hidden = torch.where(known, logits, -2 * logits - 1), torch.where(known, label, 1 - label)
    other, _ = _value_and_gradient(loss, *(part.to(device) for part in (*hidden, known)))
    sees = [] if torch.allclose(value, other, equal_nan=True) else ["its value depends on them"]
    if gradient is not None and gradient[known.logical_not().expand_as(gradient).to(device)].any():
        sees.append("its gradient there is not 0")
    if sees:
        raise ConfigError(
            "a loss that leaves out the voxels where `mask` is False, because some voxels of the labels are unknown",
            f"{name}: {' and '.join(sees)}",
            "let the loss use its argument `mask`, as docs/how-to/add-a-loss.md shows, or remove this loss",
        )


def _value_and_gradient(loss: nn.Module, logits: Tensor, label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
    leaf = logits.detach().clone().requires_grad_()
    value = loss(leaf, label, mask)
    value.backward()
    return value.detach(), leaf.grad
