"""Whether an existing run folder may be resumed: only with the settings and the data with which it was started.

What a resumed run keeps: `prepare` takes splits and plan from the folder, `run` skips finished cells, and the cell worker
restores its newest checkpoint (`training.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivess.data.layouts.nnunet_json import SPLITS
from minivess.data.profiler import DatasetProfile
from minivess.data.splits import Splits
from minivess.errors import ConfigError, DataError, RunError
from minivess.experiments.cell_spec import code_of_cell
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import RunFolder
from minivess.text import first_few

_MAY_CHANGE: dict[str, Any] = {
    **dict.fromkeys(
        (
            "data_dir",
            "output_dir",
            "losses",
            "repeats",
            "groups",
            "limits",
            "dry_start",
            "tracking_uri",
            "final",
            "debug",
        ),
        True,
    ),
    "evaluation": {"metrics": True, "baselines": True, "resamples": True},
}
"""Settings that may change when a run continues."""


def refuse_another_experiment(config: ExperimentConfig, folder: RunFolder) -> None:
    """Require that the run in the folder was started with these settings, except those that may change.

    The number of repeats may change too, but not to fewer than some cell was started with: the scores of that cell
    would stay in the tables.

    Raises:
        ConfigError: A setting differs; the message names every one. Or a started cell belongs to a later repeat.
    """
    _refuse_fewer_repeats(config, folder)
    before = folder.read_config().model_dump(mode="json", exclude=_MAY_CHANGE)
    now = config.model_dump(mode="json", exclude=_MAY_CHANGE)
    changed = sorted(_differences(before, now))
    if changed and all(difference.startswith("comparison") for difference in changed):
        raise ConfigError(
            f"the comparison that was fixed before {folder.path} was started",
            "; ".join(changed),
            _compare_afterwards(config, folder),
        )
    if changed:
        raise ConfigError(
            f"the settings with which {folder.path} was started",
            "; ".join(changed),
            "restore these settings to continue, or start another run (--name), or start this one again (--fresh)",
        )


def _refuse_fewer_repeats(config: ExperimentConfig, folder: RunFolder) -> None:
    later = [cell.path.name for cell in folder.cells() if cell.read_spec().repeat > config.repeats]
    if later:
        most = max(cell.read_spec().repeat for cell in folder.cells())
        raise ConfigError(
            f"repeats: {most} or more, because {folder.path} has started as many",
            f"repeats: {config.repeats}, without {first_few(later)}",
            f"set repeats to {most} (--set repeats={most}); or, to drop these cells, delete their folders in "
            f"{folder.path / 'cells'}",
        )


def _compare_afterwards(config: ExperimentConfig, folder: RunFolder) -> str:
    """Return the cure for a comparison that was chosen after the run was started."""
    before, rule = folder.read_config().comparison, config.comparison
    keys = {"comparison": "null"} if before is None else {f"comparison.{key}": value for key, value in before}
    settings = " ".join(f"--set {key}={value}" for key, value in keys.items())
    restore = f"restore the key comparison to continue ({settings})"
    if rule is None:
        return restore
    options = f"--primary {rule.primary} --margin {rule.margin:g} --against {rule.against} --level {rule.level:g}"
    return f"{restore}; minivess compare {folder.path} {options} evaluates the new one, as chosen after the run"


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
            f"a data set with content hash {profile.content_hash}: {_changed_volumes(before, profile)}",
            "restore the files, or start another run under a new name (--name)",
        )
    if _scales(before) != _scales(profile):
        raise DataError(
            f"volumes normalised in the same way as when {folder.path} was started",
            "other means or standard deviations, because another version of minivess computes them in another way",
            "continue with the version that environment.json names, or start the run again (--fresh)",
        )


def _changed_volumes(before: DatasetProfile, now: DatasetProfile) -> str:
    then, today = ({volume.name: volume.digest for volume in each.volumes} for each in (before, now))
    kinds = {
        "added": today.keys() - then.keys(),
        "removed": then.keys() - today.keys(),
        "changed": {name for name in then.keys() & today.keys() if then[name] != today[name]},
    }
    return "; ".join(f"{kind}: {first_few(sorted(names))}" for kind, names in kinds.items() if names)


def refuse_other_groups(groups: Mapping[str, str], folder: RunFolder) -> None:
    """Require that the groups are those with which the run was started, wherever they come from now.

    Args:
        groups: Group of every case; empty without groups.
        folder: The run.

    Raises:
        DataError: A case is in another group, or groups were added or removed.
    """
    before = folder.read_splits().groups
    changed = [
        f"{case} in {before.get(case, 'no group')} then, in {groups.get(case, 'no group')} now"
        for case in sorted(before.keys() | groups.keys())
        if before.get(case) != groups.get(case)
    ]
    if changed:
        raise DataError(
            f"the groups with which {folder.path} was started",
            first_few(changed),
            "restore the groups, or start another run under a new name (--name)",
        )


def refuse_other_splits(imported: Splits | None, folder: RunFolder) -> None:
    """Require that the folds that come with the data, if there are any, are those with which the run was started.

    A run that was started with such folds keeps them if their file is removed.

    Args:
        imported: Folds of ``splits_final.json`` as it is now; None if there is no such file, or it is not used.
        folder: The run.

    Raises:
        DataError: The file was added or changed.
    """
    if imported is not None and imported.folds != folder.read_splits().folds:
        raise DataError(
            f"the folds with which {folder.path} was started",
            f"other folds in {SPLITS}, which was added or changed in the meantime",
            f"restore or remove {SPLITS} to continue, or start another run under a new name (--name)",
        )


def refuse_changed_code(config: ExperimentConfig, folder: RunFolder, *, accept: bool) -> None:
    """Require that the cells of the run were started with the code that the remaining cells would run with.

    A run whose cells are all finished is not refused, because nothing is trained any more.

    Args:
        config: The configuration of the run as it continues.
        folder: The run.
        accept: Continue with changed code. The comparison and the report then name it.

    Raises:
        ConfigError: The initial weights of the network cannot be read.
        RunError: The code differs.
    """
    if accept or all(folder.cell(*cell).finished for cell in folder.cells_to_finish(config)):
        return
    network = folder.read_plan().network
    for cell in folder.cells():
        spec = cell.read_spec()
        changed = spec.code.differences(code_of_cell(spec.method, network)) if spec.code is not None else []
        if changed:
            raise RunError(
                f"the code with which {cell.path.name} of this run was trained",
                f"other code: {'; '.join(changed)}",
                "restore the code, or start the run again (--fresh), or continue with --accept-changed-code, "
                "which the comparison and the report then say",
            )


def _scales(profile: DatasetProfile) -> list[tuple[str, ...]]:
    """Return the name, mean and standard deviation of each volume, to six significant digits."""
    return [
        (volume.name, *(f"{value:.6g}" for value in (volume.intensity_mean, volume.intensity_std) if value is not None))
        for volume in profile.volumes
    ]
