"""The peak of a training step of several losses, as a planner asks for it: that of the costliest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from minivess.models.registry import NetworkSpec
from minivess.planning.peak_cache import PeakCache
from minivess.planning.workload import Device, TrainingWorkload
from minivess.step.config import Precision


class StepPeak(Protocol):
    """Bytes at the peak of a step with ``micro_batch`` patches of the network's largest in each forward pass."""

    def __call__(
        self, network: NetworkSpec, micro_batch: int, *, batch: int, precision: Precision, device: Device
    ) -> int: ...


def costliest(losses: Mapping[str, Mapping[str, Any]], cache: PeakCache) -> StepPeak:
    """The peak of the costliest of ``losses`` (name to options), from ``cache`` while it is open."""

    def peak(network: NetworkSpec, micro_batch: int, *, batch: int, precision: Precision, device: Device) -> int:
        works = [
            TrainingWorkload(
                network=network,
                loss=loss,
                loss_options=dict(options),
                patch=network.largest_patch,
                batch=micro_batch,
                accumulated=micro_batch < batch,
                precision=precision,
                device=device,
            )
            for loss, options in losses.items()
        ]
        return max(int(cache.peak(work)) for work in works)

    return peak


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where predicted peaks are kept for all runs: in ``$XDG_CACHE_HOME/minivess``, or ``~/.cache/minivess``."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minivess" / "peaks"
