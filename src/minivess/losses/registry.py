"""Losses by name. Code outside the package can add its own. Looking up a name does not import torch."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from minivess.errors import ConfigError
from minivess.suggestions import unknown
from minivess.trusted_code import import_builder

if TYPE_CHECKING:
    from torch import nn

LossBuilder = Callable[..., "nn.Module"]

LOSSES: dict[str, str | LossBuilder] = {
    name: f"minivess.losses.compound:{name}"
    for name in (
        "dice_ce",
        "dice_ce_cldice",
        "cbdice",
        "cbdice_cldice",
        "clce",
        "warp",
        "skeleton_recall",
        "tversky",
        "focal_tversky",
    )
}
"""Name of every known loss, with its builder or the import path of the builder, ``"package.module:function"``.

A user's own loss needs no entry: an experiment can give the import path of its builder, such as
``my_lab.losses:focal``. Each cell trains in a separate process, which does not see an entry that another process added.
"""

SCNP = "scnp_"
"""Put before a key of `LOSSES`, it gives the loss on logits after SCNP (``minivess.losses.scnp``): ``scnp_dice_ce``.

It is not read from an import path: ``scnp_lab.losses:mine`` is a loss of the package ``scnp_lab``. The builder of a
user's own loss can return a `SameClassNeighbourPenalty` instead.
"""


def require_known(name: str) -> None:
    """Check the name of a loss without importing torch.

    Raises:
        ConfigError: The name is neither a key of `LOSSES`, nor one after `SCNP`, nor of the form
            ``"package.module:function"``.
    """
    base = name.removeprefix(SCNP)
    if name in LOSSES or base in LOSSES or ":" in name:
        return
    if base.startswith(SCNP):
        raise ConfigError(f"`{SCNP}` once before a loss", repr(name), f"remove one `{SCNP}`")
    if base != name:
        raise unknown(f"loss after `{SCNP}`", base, LOSSES)
    raise unknown("loss", name, LOSSES)


def build_loss(name: str, **options: Any) -> nn.Module:
    """Build a loss by name.

    Args:
        name: A key of `LOSSES`, `SCNP` and a key of `LOSSES`, or an importable builder ``"package.module:function"``.
        **options: Passed to the builder, e.g. ``iterations=12``.

    Returns:
        A module, called as ``loss(logits, label, mask=None)``.

    Raises:
        ConfigError: The name or an option is unknown (the message lists the known ones and suggests the nearest), an
            option is missing, the builder refuses a value, or the builder cannot be imported.
    """
    require_known(name)
    if name not in LOSSES and ":" not in name:
        from minivess.losses.scnp import SameClassNeighbourPenalty

        return SameClassNeighbourPenalty(build_loss(name.removeprefix(SCNP), **options))
    builder = _resolve(name)
    signature = inspect.signature(builder)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    for option in options:
        if option not in signature.parameters and not takes_any:
            raise unknown(f"option of the loss `{name}`", option, signature.parameters)
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ConfigError(f"all options that the loss `{name}` needs", str(error), "add the missing option") from error
    return builder(**options)


def _resolve(name: str) -> LossBuilder:
    builder = LOSSES.get(name, name)
    if not isinstance(builder, str):
        return builder
    found: LossBuilder = import_builder(builder)
    return found
