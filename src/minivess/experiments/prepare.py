"""Prepare a run before it writes anything: data, splits, plan and preflight. What cannot work is refused here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minivess.data.groups import refuse_shared_groups
from minivess.data.profiler import DatasetProfile, VolumeStats, load_profile, scan_cases, scan_dataset
from minivess.data.splits import Splits
from minivess.errors import ConfigError
from minivess.experiments.config import STORE_FOLDER, ExperimentConfig
from minivess.experiments.design import (
    find_groups,
    find_test_cases,
    imported_folds,
    make_folds,
    with_folds_of_the_data,
    with_unknown_of_the_data,
)
from minivess.experiments.resume import (
    refuse_another_experiment,
    refuse_changed_code,
    refuse_other_data,
    refuse_other_groups,
    refuse_other_splits,
)
from minivess.experiments.run_folder import RunFolder
from minivess.findings import Finding
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
from minivess.text import GIB, first_few, format_shape


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        config: The configuration, with an absolute data folder.
        folder: The run folder.
        slots: The parts of the machine that run the cells, one cell at a time in each.
        scanned: Profile of the whole data set.
        profile: Profile of the part of the data set that is used.
        splits: The folds.
        plan: Patch, batch, precision and network.
        preflight: Findings of the preflight.
        test: The test set, with what its headers say.
    """

    config: ExperimentConfig
    folder: RunFolder
    slots: tuple[CellSlot, ...]
    scanned: DatasetProfile
    profile: DatasetProfile
    splits: Splits
    plan: TrainingPlan
    preflight: PreflightResult
    test: tuple[VolumeStats, ...] = ()

    @property
    def hardware(self) -> HardwareBudget:
        """The part of the machine that one cell may use. The plan is made for it."""
        return self.slots[0].hardware

    @property
    def at_full_speed(self) -> int:
        """Number of cells that run in parallel at full speed. Cells on one GPU count as one: each can keep it busy."""
        return len({slot.environment.get("CUDA_VISIBLE_DEVICES", number) for number, slot in enumerate(self.slots)})


def prepare(
    config: ExperimentConfig,
    hardware: HardwareBudget,
    environ: Mapping[str, str],
    progress: Callable[[str], None] | None = None,
    *,
    accept_changed_code: bool = False,
) -> Prepared:
    """Scan the data, make splits and plan, and check them. Write nothing except predicted peaks, in the user's cache.

    A run folder that exists already is continued: its splits and its plan are kept.

    Args:
        config: The configuration.
        hardware: The machine.
        environ: Environment variables.
        progress: Called with a text for each volume that is scanned.
        accept_changed_code: Whether a run may continue with other code than it was started with.

    Raises:
        MinivessError: The data, the plan or the output folder cannot be used, or the folder contains another
            experiment.
    """
    if config.data_dir is None:
        raise ConfigError(
            "a data set folder", "none", "give --data-dir, set MINIVESS_REAL_DATA, or set data_dir in the YAML"
        )
    for loss in (*config.losses, *config.loss_options):
        require_known(loss)
    # A worker with another working folder must find the images too.
    data_dir = config.data_dir.absolute()
    config = with_unknown_of_the_data(with_folds_of_the_data(config.model_copy(update={"data_dir": data_dir})))
    hardware = limited(hardware, config)
    folder = RunFolder(config.output_dir / config.name)
    started = folder.config.exists()
    if started:
        refuse_another_experiment(config, folder)
        refuse_changed_code(config, folder, accept=accept_changed_code)
    slots = cell_slots(
        hardware,
        compute_of(folder.read_plan()) if started else config.plan.compute,
        config.limits.cells_at_a_time,
        environ.get("OMP_NUM_THREADS"),
    )
    unseen = find_test_cases(config, folder)
    without = [case.name for case in unseen]
    ignore_value = config.data.ignore_value
    scanned = load_profile(saved_profile(config, without), data_dir, without, ignore_value) or scan_dataset(
        data_dir, voxels=True, without=without, progress=progress, ignore_value=ignore_value
    )
    test, unread = scan_cases(unseen)
    # A data set without labels can be predicted, but not used for training.
    data_findings = [replace(f, level="critical") if f.check == "no_labels" else f for f in scanned.findings]
    data_findings += [*unread, *(finding for volume in test for finding in volume.findings)]
    if any(finding.level == "critical" for finding in data_findings):
        # No plan can be made for a faulty data set, so only the findings about the data are reported.
        run_preflight(hardware, data_dir, folder.path, environ=environ, data_findings=data_findings).raise_if_critical()
    profile = scanned.some(config.cases)
    names = [volume.name for volume in scanned.volumes]
    groups = find_groups(config, [*names, *without])
    refuse_shared_groups(groups, names, without, "no group both in the test set and in training")
    if started:
        plan, splits = folder.read_plan(), folder.read_splits()
        refuse_other_data(profile, folder)
        refuse_other_groups(groups, folder)
        refuse_other_splits(imported_folds(config, names, groups), folder)
    else:
        model = load_model_profile(config.model.name, **config.model.changes())
        losses = {loss: config.loss_options.get(loss, {}) for loss in config.losses}
        with PeakCache(cache_folder(environ), slots[0].environment) as peaks:
            plan = compute_adaptive_profile(slots[0].hardware, profile, model, config.plan, Estimator(losses, peaks))
        splits = make_folds(config, profile, groups).model_copy(update={"test": tuple(without)})
    preflight = run_preflight(
        hardware,
        data_dir,
        folder.path,
        environ=environ,
        data_findings=data_findings,
        plan_findings=[*check_plan(plan, profile, slots[0].hardware, started=started), *_wide_tests(profile, test)],
        needed_bytes=bytes_to_write(
            profile, store_root(config), plan, losses=_not_started(config, folder), folds=len(splits.folds)
        )
        + sum(volume.cached_bytes for volume in test),
    )
    preflight.raise_if_critical()
    return Prepared(config, folder, slots, scanned, profile, splits, plan, preflight, test)


def _wide_tests(profile: DatasetProfile, test: Sequence[VolumeStats]) -> list[Finding]:
    """Return a warning if a test volume is wider than all others: the memory to predict it is not in the plan."""
    widest = max((volume.shape[0] * volume.shape[1] for volume in profile.volumes), default=0)
    wider = [volume for volume in test if volume.shape[0] * volume.shape[1] > widest]
    if not wider:
        return []
    got = first_few([f"{volume.name} with {format_shape(volume.shape)}" for volume in wider])
    expected = "test volumes that are no wider than the others, because the plan does not depend on them"
    cure = "if the memory is not enough to predict them at the end, run the command again on a machine with more"
    return [Finding("warning", "test_width", "test set", expected, got, cure)]


def _not_started(config: ExperimentConfig, folder: RunFolder) -> int:
    """Return the number of pairs of a loss and a repeat of which no cell has started."""
    trained = {(cell.method, cell.repeat) for cell in config.cells_in_order if cell.method in config.losses}
    started = {(cell.method, cell.repeat) for cell in config.cells_in_order if folder.cell(*cell).spec.is_file()}
    return len(trained - started)


def compute_of(plan: TrainingPlan) -> str:
    """Return the ``compute`` argument of `cell_slots` for an existing plan, however busy the GPUs are now."""
    return "cpu" if plan.device == "cpu" else "gpu"


def limited(hardware: HardwareBudget, config: ExperimentConfig) -> HardwareBudget:
    """Return the machine with the limits of the configuration applied."""
    ram, gpu_limit = config.limits.memory_limit_gib, config.limits.gpu_limit_gib
    if ram is not None:
        hardware = replace(hardware, ram_limit_bytes=int(ram * GIB))
    if gpu_limit is not None:
        gpus = tuple(replace(gpu, limit_bytes=int(gpu_limit * GIB)) for gpu in hardware.gpus)
        hardware = replace(hardware, gpus=gpus)
    return hardware


def store_root(config: ExperimentConfig) -> Path:
    """Return the folder of the decompressed volumes, which all runs of an output folder share."""
    return config.output_dir / STORE_FOLDER


def saved_profile(config: ExperimentConfig, test: Sequence[str] = ()) -> Path:
    """Return the file in which the profile of the data set without its test cases is saved for the next run."""
    ignored = [] if config.data.ignore_value is None else [f"ignore_value {config.data.ignore_value}"]
    text = "\n".join([str(config.data_dir), *test, *ignored])
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return store_root(config) / f"profile-{digest}.json"
