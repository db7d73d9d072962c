"""Losses by name, open to code outside of the package; knows their names without importing torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from minivess.errors import ConfigError
from minivess.suggestions import unknown

if TYPE_CHECKING:
    from torch import nn

LossBuilder = Callable[..., "nn.Module"]

LOSSES: dict[str, str | LossBuilder] = {
    name: f"minivess.losses.compound:{name}"
    for name in ("dice_ce", "dice_ce_cldice", "cbdice", "cbdice_cldice", "warp", "skeleton_recall")
}
"""Name of every known loss, with its builder or where to import it from, ``"package.module:function"``.

A loss of one's own needs no entry: experiments may name its builder in full, ``my_lab.losses:focal``. Cells train in
processes of their own, which would not see an entry made elsewhere.
"""


def require_known(name: str) -> None:
    """Check a name without importing torch.

    Raises:
        ConfigError: It is neither a key of `LOSSES` nor written as ``"package.module:function"``.
    """
    if name not in LOSSES and ":" not in name:
        raise unknown("loss", name, LOSSES)


def build_loss(name: str, **options: Any) -> nn.Module:
    """Builds a loss, a module called as ``loss(logits, label, mask=None)``.

    Args:
        name: A key of `LOSSES`, or an importable builder ``"package.module:function"``.
        **options: Passed to the builder, e.g. ``iterations=12``.

    Raises:
        ConfigError: If the name or an option is unknown (the message lists the known ones and the nearest), an option
            is missing or its value refused, or the builder cannot be imported.
    """
    builder = _resolve(name)
    signature = inspect.signature(builder)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    for option in options:
        if option not in signature.parameters and not takes_any:
            raise unknown(f"option of the loss `{name}`", option, signature.parameters)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ConfigError(f"every option that the loss `{name}` needs", str(error), "add the option") from error
    return builder(**options)


def _resolve(name: str) -> LossBuilder:
    require_known(name)
    builder = LOSSES.get(name, name)
    if not isinstance(builder, str):
        return builder
    module, _, function = builder.partition(":")
    try:
        return getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"an importable function that builds the loss `{name}`",
            f"{type(error).__name__}: {error}",
            "write package.module:function, and put its folder on PYTHONPATH or install the package into this environment",
        ) from error
