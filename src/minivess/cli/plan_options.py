"""Every key of ``plan`` as an option, for each command that plans."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from minivess.cli.options import parse_patch

_COUNT = click.IntRange(min=1)
_OPTIONS = {
    "compute": (str, "auto, or a name from configs/compute_profiles.yaml: a budget."),
    "patch_size": (None, "X x Y x Z in voxels: used exactly or refused."),
    "patch_policy": (click.Choice(["min_volume", "pad", "bucketed"]), "What is done about short volumes."),
    "batch": (_COUNT, "Patches of an optimizer step."),
    "micro_batch": (_COUNT, "Patches of a forward pass; gradients add up to the batch."),
    "precision": (click.Choice(["fp32", "bf16", "fp16"]), "Type of the forward pass."),
    "workers": (click.IntRange(min=0), "Threads that cut patches; 0 cuts them in the training thread."),
    "cache_rate": (click.FloatRange(0, 1), "Share of the volumes to keep in the page cache."),
    "overlap": (
        click.FloatRange(0, 1, max_open=True),
        "Share that neighbouring windows of a prediction have in common.",
    ),
}


def plan_options(command: Callable[..., None]) -> Callable[..., None]:
    """Decorator: what was given of these options comes as one argument, ``plan_keys``, keys and values of ``plan``."""

    @wraps(command)
    def with_plan_keys(*arguments: Any, **options: Any) -> None:
        given = {key: options.pop(key) for key in _OPTIONS}
        command(*arguments, **options, plan_keys={key: value for key, value in given.items() if value is not None})

    decorated: Callable[..., None] = with_plan_keys
    for key, (kind, words) in reversed(_OPTIONS.items()):
        callback = parse_patch if key == "patch_size" else None
        decorated = click.option(f"--{key.replace('_', '-')}", key, type=kind, callback=callback, help=words)(decorated)
    return decorated
