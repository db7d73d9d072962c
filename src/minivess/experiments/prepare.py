"""All that is decided before a run touches the disk: data, splits, plan, preflight. What cannot work stops here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minivess.data.profiler import DatasetProfile, load_profile, scan_dataset
from minivess.data.splits import Splits, import_splits, make_splits
from minivess.errors import ConfigError, DataError
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import RunFolder
from minivess.losses.registry import require_known
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.cell_slots import CellSlot, cell_slots
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator, cache_folder
from minivess.planning.plan import TrainingPlan
from minivess.planning.preflight import PreflightResult, run_preflight
from minivess.planning.resources import bytes_to_write
from minivess.planning.validation import check_plan
from minivess.text import GIB

_log = logging.getLogger(__name__)

_MAY_CHANGE: dict[str, Any] = {
    **dict.fromkeys(("data_dir", "output_dir", "losses", "limits", "dry_start", "tracking_uri", "debug"), True),
    "evaluation": {"metrics": True, "baselines": True, "resamples": True},
}


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    Attributes:
        slots: Where its cells run, one at a time in each.
        scanned: The whole data set.
        profile: The part of it that is used.
    """

    config: ExperimentConfig
    folder: RunFolder
    slots: tuple[CellSlot, ...]
    scanned: DatasetProfile
    profile: DatasetProfile
    splits: Splits
    plan: TrainingPlan
    preflight: PreflightResult

    @property
    def hardware(self) -> HardwareBudget:
        """What one cell may use: the plan is made for it."""
        return self.slots[0].hardware

    @property
    def at_full_speed(self) -> int:
        """Cells at a time that do not hold each other up: those on one card count as one, since each may keep it busy."""
        return len({slot.environment.get("CUDA_VISIBLE_DEVICES", number) for number, slot in enumerate(self.slots)})


def prepare(
    config: ExperimentConfig,
    hardware: HardwareBudget,
    environ: Mapping[str, str],
    progress: Callable[[str], None] | None = None,
) -> Prepared:
    """Scan, split, plan and check; nothing is written but predicted peaks, in the user's cache.

    A run folder that exists already is continued: its splits and its plan are kept.

    Raises:
        MinivessError: Whatever cannot work: data, plan, output folder, or a folder that holds another experiment.
    """
    if config.data_dir is None:
        raise ConfigError(
            "a data set folder", "none", "give --data-dir, set MINIVESS_REAL_DATA, or set data_dir in the YAML"
        )
    for loss in (*config.losses, *config.loss_options):
        require_known(loss)
    # Images are found again by these paths, by a worker that was started elsewhere as well.
    data_dir = config.data_dir.absolute()
    config = config.model_copy(update={"data_dir": data_dir})
    hardware = limited(hardware, config)
    folder = RunFolder(config.output_dir / config.name)
    begun = folder.config.exists()
    if begun:
        refuse_another_experiment(config, folder)
    slots = cell_slots(
        hardware,
        compute_of(folder.read_plan()) if begun else config.plan.compute,
        config.limits.cells_at_a_time,
    )
    scanned = load_profile(saved_profile(config), data_dir) or scan_dataset(data_dir, voxels=True, progress=progress)
    # Volumes without labels are data to predict; there is nothing to train on.
    data_findings = [replace(f, level="critical") if f.check == "no_labels" else f for f in scanned.findings]
    if any(finding.level == "critical" for finding in data_findings):
        # A faulty data set has no sound plan; the findings alone decide.
        run_preflight(hardware, data_dir, folder.path, environ=environ, data_findings=data_findings).raise_if_critical()
    profile = scanned.some(config.cases)
    if begun:
        plan, splits = folder.read_plan(), folder.read_splits()
        _refuse_other_data(profile, folder)
    else:
        model = load_model_profile(config.model.name, **config.model.changes())
        losses = {loss: config.loss_options.get(loss, {}) for loss in config.losses}
        with PeakCache(cache_folder(environ), slots[0].environment) as peaks:
            plan = compute_adaptive_profile(slots[0].hardware, profile, model, config.plan, Estimator(losses, peaks))
        splits = _splits(config, scanned, profile)
    preflight = run_preflight(
        hardware,
        data_dir,
        folder.path,
        environ=environ,
        data_findings=data_findings,
        plan_findings=check_plan(plan, profile, slots[0].hardware, begun=begun),
        needed_bytes=bytes_to_write(
            profile, store_root(config), plan, losses=0 if begun else len(config.losses), folds=len(splits.folds)
        ),
    )
    preflight.raise_if_critical()
    return Prepared(config, folder, slots, scanned, profile, splits, plan, preflight)


def _splits(config: ExperimentConfig, scanned: DatasetProfile, profile: DatasetProfile) -> Splits:
    """Folds that came with the data, else dealt ones; a trial on some of the cases deals its own."""
    if config.cases is None and config.data_dir is not None:
        imported = import_splits(config.data_dir, [volume.name for volume in scanned.volumes], config.folds)
        if imported is not None:
            return imported
    return make_splits(profile.volumes, config.folds, config.seed)


def compute_of(plan: TrainingPlan) -> str:
    """For the slots of a plan that is made: where it computes, however busy the cards are by now."""
    return "cpu" if plan.device == "cpu" else "gpu"


def limited(hardware: HardwareBudget, config: ExperimentConfig) -> HardwareBudget:
    """The machine with the limits of the configuration."""
    ram, card = config.limits.memory_limit_gib, config.limits.gpu_limit_gib
    if ram is not None:
        hardware = replace(hardware, ram_limit_bytes=int(ram * GIB))
    if card is not None:
        gpus = tuple(replace(gpu, limit_bytes=int(card * GIB)) for gpu in hardware.gpus)
        hardware = replace(hardware, gpus=gpus)
    return hardware


def store_root(config: ExperimentConfig) -> Path:
    """Where decompressed volumes go; shared by all runs of an output folder."""
    return config.output_dir / "store"


def saved_profile(config: ExperimentConfig) -> Path:
    """Where the profile of the data set is kept for the next run."""
    digest = hashlib.blake2b(str(config.data_dir).encode(), digest_size=8).hexdigest()
    return store_root(config) / f"profile-{digest}.json"


def refuse_another_experiment(config: ExperimentConfig, folder: RunFolder) -> None:
    """Make sure that the folder was begun with these settings, but for those that may change.

    Raises:
        ConfigError: With each that differs.
    """
    before = folder.read_config().model_dump(mode="json", exclude=_MAY_CHANGE)
    now = config.model_dump(mode="json", exclude=_MAY_CHANGE)
    changed = sorted(_differences(before, now))
    if changed:
        raise ConfigError(
            f"the settings that {folder.path} was begun with",
            "; ".join(changed),
            "take them back to continue, or begin another run (--name), or this one anew (--fresh)",
        )


def _differences(before: object, now: object, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = before.keys() | now.keys()
        return [
            found for key in keys for found in _differences(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if before == now else [f"{path}: {before!r} then, {now!r} now"]


def _refuse_other_data(profile: DatasetProfile, folder: RunFolder) -> None:
    before = folder.read_profile()
    if before.content_hash != profile.content_hash:
        raise DataError(
            f"the data set that {folder.path} was begun with (content {before.content_hash})",
            f"content {profile.content_hash}",
            "restore the files, or begin another run with another name (--name)",
        )
    if _scales(before) != _scales(profile):
        raise DataError(
            f"volumes normalised as when {folder.path} was begun",
            "other means or deviations: another version of minivess measures them otherwise",
            "continue with the version in environment.json, or begin the run anew (--fresh)",
        )


def _scales(profile: DatasetProfile) -> list[tuple[str, ...]]:
    """What normalises each volume, to so many digits as matter."""
    return [
        (volume.name, *(f"{value:.6g}" for value in (volume.intensity_mean, volume.intensity_std) if value is not None))
        for volume in profile.volumes
    ]
