"""Whether an existing run folder may be resumed: only with the settings and the data with which it was started.

What a resumed run keeps: `prepare` takes splits and plan from the folder, `run` skips finished cells, and the cell worker
restores its newest checkpoint (`training.checkpoint`).
"""

from __future__ import annotations

from typing import Any

from minivess.data.profiler import DatasetProfile
from minivess.errors import ConfigError, DataError
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import RunFolder

_MAY_CHANGE: dict[str, Any] = {
    **dict.fromkeys(("data_dir", "output_dir", "losses", "limits", "dry_start", "tracking_uri", "debug"), True),
    "evaluation": {"metrics": True, "baselines": True, "resamples": True},
}
"""Settings that may change when a run continues."""


def refuse_another_experiment(config: ExperimentConfig, folder: RunFolder) -> None:
    """Require that the run in the folder was started with these settings, except those that may change.

    Raises:
        ConfigError: A setting differs; the message names every one.
    """
    before = folder.read_config().model_dump(mode="json", exclude=_MAY_CHANGE)
    now = config.model_dump(mode="json", exclude=_MAY_CHANGE)
    changed = sorted(_differences(before, now))
    if changed:
        raise ConfigError(
            f"the settings with which {folder.path} was started",
            "; ".join(changed),
            "restore these settings to continue, or start another run (--name), or start this one again (--fresh)",
        )


def _differences(before: object, now: object, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = before.keys() | now.keys()
        return [
            found for key in keys for found in _differences(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{path}: {before!r} then, {now!r} now"]


def refuse_other_data(profile: DatasetProfile, folder: RunFolder) -> None:
    """Require that the run in the folder was started with these volumes, normalised in the same way.

    Raises:
        DataError: The content of the data set differs, or another version of minivess measured it differently.
    """
    before = folder.read_profile()
    if before.content_hash != profile.content_hash:
        raise DataError(
            f"the data set with which {folder.path} was started (content hash {before.content_hash})",
            f"a data set with content hash {profile.content_hash}",
            "restore the files, or start another run under a new name (--name)",
        )
    if _scales(before) != _scales(profile):
        raise DataError(
            f"volumes normalised in the same way as when {folder.path} was started",
            "other means or standard deviations, because another version of minivess computes them in another way",
            "continue with the version that environment.json names, or start the run again (--fresh)",
        )


def _scales(profile: DatasetProfile) -> list[tuple[str, ...]]:
    """Return the name, mean and standard deviation of each volume, to six significant digits."""
    return [
        (volume.name, *(f"{value:.6g}" for value in (volume.intensity_mean, volume.intensity_std) if value is not None))
        for volume in profile.volumes
    ]
