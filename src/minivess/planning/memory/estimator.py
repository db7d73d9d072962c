"""What a planner asks about the future of several losses: memory of the costliest step, of a prediction, seconds of a step."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.memory.workload import Device, InferenceWorkload, TrainingWorkload
from minivess.training.config import Precision


@dataclass(frozen=True)
class Estimator:
    """Answers from a cache while it is open.

    Attributes:
        losses: Options of every loss that will train, by name.
        cache: Computes what it does not know.
        timed: Whether this machine is the one that will train, so that its steps can be timed.
    """

    losses: Mapping[str, Mapping[str, Any]]
    cache: PeakCache
    timed: bool = True

    def step_bytes(
        self, network: NetworkSpec, micro_batch: int, *, batch: int, precision: Precision, device: Device
    ) -> int:
        """Peak of a step with ``micro_batch`` of the network's largest patches a forward pass, of the costliest loss."""
        works = self._works(network, micro_batch, batch, precision, device)
        return max(int(self.cache.peak(work)) for work in works.values())

    def prediction(
        self,
        network: NetworkSpec,
        patch: Shape,
        volume_shape: Shape,
        overlap: float,
        precision: Precision,
        device: Device,
    ) -> PeakMemory:
        """Peak of the prediction of a volume; the same for every loss."""
        work = InferenceWorkload(
            network=network,
            patch=patch,
            volume_shape=volume_shape,
            overlap=overlap,
            precision=precision,
            device=device,
        )
        return self.cache.peak(work)

    def step_seconds(
        self, network: NetworkSpec, micro_batch: int, *, batch: int, precision: Precision, device: Device
    ) -> dict[str, float]:
        """Seconds of a step of each loss, timed on this machine; empty where another will train."""
        if not self.timed:
            return {}
        works = self._works(network, micro_batch, batch, precision, device)
        return {loss: self.cache.seconds(work) * batch / micro_batch for loss, work in works.items()}

    def _works(
        self, network: NetworkSpec, micro_batch: int, batch: int, precision: Precision, device: Device
    ) -> dict[str, TrainingWorkload]:
        return {
            loss: TrainingWorkload(
                network=network,
                loss=loss,
                loss_options=dict(options),
                patch=network.largest_patch,
                batch=micro_batch,
                accumulated=micro_batch < batch,
                precision=precision,
                device=device,
            )
            for loss, options in self.losses.items()
        }


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where forecasts are kept for all runs: in ``$XDG_CACHE_HOME/minivess``, or ``~/.cache/minivess``.

    A user without a home, as in some containers, has a folder of the user's own among the temporary ones.
    """
    place = environ.get("XDG_CACHE_HOME")
    try:
        caches = Path(place) if place else Path.home() / ".cache"
    except RuntimeError:
        caches = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return caches / "minivess" / "peaks"
