"""The design of an experiment: which cases belong together, which are held out in which fold, which are only tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from minivess.data.dataset_profile import DatasetProfile
from minivess.data.groups import read_groups, refuse_shared_groups
from minivess.data.layouts.cases import Case, read_layout, read_test_layout
from minivess.data.layouts.nnunet_json import DATASET, SPLITS, read_ignore_value, read_splits
from minivess.data.splits import Splits, import_splits, make_splits
from minivess.errors import ConfigError, DataError
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import RunFolder
from minivess.suggestions import did_you_mean
from minivess.text import first_few


def with_folds_of_the_data(config: ExperimentConfig) -> ExperimentConfig:
    """Return the configuration with the number of folds that come with the data, unless it names a number itself.

    A run that was started with such folds keeps their number if their file is removed.

    Args:
        config: The configuration as the user wrote it.
    """
    if "folds" in config.model_fields_set or config.cases is not None or config.data_dir is None:
        return config
    folder = RunFolder(config.output_dir / config.name)
    if folder.config.exists():
        splits = folder.read_splits()
        return config if splits.seed is not None else config.model_copy(update={"folds": len(splits.folds)})
    entries, _ = read_splits(config.data_dir)
    return config if entries is None else config.model_copy(update={"folds": len(entries)})


def with_unknown_of_the_data(config: ExperimentConfig) -> ExperimentConfig:
    """Return the configuration with the value of unknown voxels that comes with the data, unless it names one itself.

    Args:
        config: The configuration as the user wrote it.

    Raises:
        ConfigError: It names another value than nnU-Net's ``dataset.json``.
    """
    given = config.data.ignore_value
    stated = None if config.data_dir is None else read_ignore_value(config.data_dir)
    if stated is None or stated == given:
        return config
    if given is not None:
        raise ConfigError(
            f"data.ignore_value {stated}, the label named ignore in {DATASET}",
            f"data.ignore_value {given}",
            f"remove the key data.ignore_value, or correct {DATASET}",
        )
    folder = RunFolder(config.output_dir / config.name)
    if folder.config.exists() and folder.read_config().data.ignore_value is None:
        return config  # started before this label was read, so no voxel has its value
    return config.model_copy(update={"data": config.data.model_copy(update={"ignore_value": stated})})


def find_test_cases(config: ExperimentConfig, folder: RunFolder) -> tuple[Case, ...]:
    """Return the cases of the test set by their names; only names of files are read.

    These are the cases that ``test`` names. Without this key they are the labelled cases of imagesTs/, or those with
    which the run in ``folder`` was started.

    Args:
        config: The configuration, with a data folder.
        folder: The run.

    Raises:
        ConfigError: ``test`` names an unknown case.
        DataError: A test case has no label, is also a training case, or is in ``splits_final.json``.
    """
    data_dir, given = _data_dir(config), config.test
    if given is None and folder.config.exists():
        given = folder.read_splits().test
    if given == ():
        return ()
    training = {case.name: case for case in read_layout(data_dir).cases}
    extra = {case.name: case for case in read_test_layout(data_dir)}
    names = tuple(extra) if given is None else given
    known = {**extra, **training}
    if absent := [name for name in names if name not in known]:
        cure = did_you_mean(absent[0], known) or "correct the key test, or restore the files"
        raise ConfigError("names of cases in test", first_few(absent), cure)
    if twice := sorted(set(names) & training.keys() & extra.keys()):
        raise DataError(
            "a test case that is in one folder", f"{first_few(twice)} in two folders", "rename one of the two"
        )
    if unlabelled := [name for name in names if known[name].label is None]:
        raise DataError("a label for every test case", f"none for {first_few(unlabelled)}", "add the label")
    _refuse_in_folds(data_dir, names)
    return tuple(known[name] for name in sorted(names))


def _refuse_in_folds(data_dir: Path, test: Sequence[str]) -> None:
    entries, _ = read_splits(data_dir)
    in_folds = {name for entry in entries or () for part in entry.values() for name in part}
    if both := sorted(in_folds & set(test)):
        raise DataError(
            f"test cases that are in no fold of {SPLITS}",
            first_few(both),
            f"remove these cases from {SPLITS} or from the key test",
        )


def find_groups(config: ExperimentConfig, names: Sequence[str]) -> dict[str, str]:
    """Return the group of every case; empty without groups.

    Args:
        config: The configuration, with a data folder.
        names: Names of all cases of the data set, those of the test set included.

    Raises:
        DataError: See `read_groups`.
    """
    return read_groups(config.groups, _data_dir(config), names) if config.groups else {}


def make_folds(config: ExperimentConfig, profile: DatasetProfile, groups: Mapping[str, str]) -> Splits:
    """Return the folds that come with the data, or random ones.

    Args:
        config: The configuration, with a data folder.
        profile: The volumes of the run, without the test set.
        groups: Group of every case of the data set; empty without groups.

    Raises:
        ConfigError: There are too many folds, or ``train_only`` names an unknown case.
        DataError: The folds that come with the data cannot be used, or a group is only in part in ``train_only``.
    """
    names = [volume.name for volume in profile.volumes]
    absent = [name for name in config.train_only if name not in names]
    if absent and config.cases is None:
        cure = did_you_mean(absent[0], names) or "correct the key train_only"
        raise ConfigError("names of cases, and none of the test set, in train_only", first_few(absent), cure)
    always = [name for name in names if name in config.train_only]
    others = [name for name in names if name not in config.train_only]
    refuse_shared_groups(groups, always, others, "whole groups in train_only")
    imported = imported_folds(config, names, groups)
    if imported is not None:
        return imported
    return make_splits(profile.volumes, config.folds, config.seed, groups=groups, train_only=always)


def imported_folds(config: ExperimentConfig, names: Sequence[str], groups: Mapping[str, str]) -> Splits | None:
    """Return the folds that come with the data; None if there are none. A trial on fewer cases does not use them.

    Args:
        config: The configuration, with a data folder.
        names: Names of the cases of the run, without the test set.
        groups: Group of every case of the data set; empty without groups.

    Raises:
        ConfigError: The file has another number of folds than the configuration.
        DataError: The file is invalid, splits a group, or holds out a case of ``train_only``.
    """
    if config.cases is not None:
        return None
    found = import_splits(_data_dir(config), names, config.folds)
    if found is None:
        return None
    for number, fold in enumerate(found.folds):
        rule = f"no group in both train and val of fold {number} of {SPLITS}"
        refuse_shared_groups(groups, fold.train, fold.held_out, rule)
        if held := sorted(set(fold.held_out) & set(config.train_only)):
            cure = f"remove them from the val lists of {SPLITS} or from the key train_only"
            raise DataError("cases of train_only that are never held out", f"{first_few(held)} in fold {number}", cure)
    return found.model_copy(update={"groups": dict(groups)})


def _data_dir(config: ExperimentConfig) -> Path:
    assert config.data_dir is not None, "prepare requires a data folder first"
    return config.data_dir
