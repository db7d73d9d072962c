"""Estimate memory and time for several losses: the costliest training step, a prediction, and the seconds of a step."""

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
    """Estimates from a cache of peaks and times, which must be open.

    Attributes:
        losses: Options of each loss that will be trained, by name.
        cache: The open cache; it computes missing results.
        timed: Whether the training will run on this machine, so that steps can be timed here.
    """

    losses: Mapping[str, Mapping[str, Any]]
    cache: PeakCache
    timed: bool = True

    def step_bytes(
        self, network: NetworkSpec, micro_batch: int, *, batch: int, precision: Precision, device: Device
    ) -> int:
        """Return the peak of a training step with the costliest loss, in bytes.

        Args:
            network: The network; its largest patch is used.
            micro_batch: Patches per forward pass.
            batch: Patches per optimizer step.
            precision: Type of the forward pass.
            device: Where the step will run.
        """
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
        """Return the peak of the prediction of a volume; it does not depend on the loss.

        Args:
            network: The network.
            patch: Window, X, Y, Z in voxels.
            volume_shape: X, Y, Z in voxels.
            overlap: Overlap of neighbouring windows, as a share of the window.
            precision: Type of the forward pass.
            device: Where the prediction will run.
        """
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
        """Return the seconds per optimizer step by loss, timed on this machine; empty if ``timed`` is false.

        The arguments are those of ``step_bytes``.
        """
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
    """Return the folder of predicted peaks, which all runs share.

    It is in ``$XDG_CACHE_HOME/minivess`` or ``~/.cache/minivess``. A user without a home folder, as in some containers,
    gets a folder under the system's temporary folder.
    """
    configured = environ.get("XDG_CACHE_HOME")
    try:
        caches = Path(configured) if configured else Path.home() / ".cache"
    except RuntimeError:
        caches = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return caches / "minivess" / "peaks"
