"""Folds of cross-validation: random by seed and balanced in spacing and depth, or imported from nnU-Net's file."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from minivess.data.dataset_profile import VolumeStats
from minivess.data.layouts.nnunet_json import SPLITS, check_splits, read_splits
from minivess.errors import ConfigError, DataError
from minivess.findings import raise_critical


class Fold(BaseModel):
    """Names of the training cases and of the held-out cases of one fold; no case is in both."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...]
    held_out: tuple[str, ...]


class Splits(BaseModel):
    """All folds. Each case is held out once; imported folds may leave out a case, but hold no case out twice.

    Attributes:
        seed: Seed of the random assignment; None for imported folds.
        folds: The folds in order.
        groups: Group of each case of the data set, such as the animal; empty without groups.
        test: Names of the test cases, which are in no fold.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None
    folds: tuple[Fold, ...]
    groups: dict[str, str] = Field(default_factory=dict)
    test: tuple[str, ...] = ()


def make_splits(volumes: Sequence[VolumeStats], folds: int, seed: int = 0) -> Splits:
    """Assign each case to the held-out list of one fold, balanced in spacing and depth.

    The cases are sorted by in-plane spacing and depth and divided into blocks of ``folds`` cases. The cases of a block
    go to different folds at random. So each fold gets its share of every spacing and of deep and shallow volumes.

    Args:
        volumes: The cases.
        folds: Number of folds.
        seed: Seed of the random assignment.

    Returns:
        The folds; the same arguments give the same folds.

    Raises:
        ConfigError: Fewer than two folds, or more folds than cases.
    """
    if len(volumes) < 2:
        raise ConfigError(
            "at least two volumes",
            f"{len(volumes)}",
            "add volumes: each volume is scored by a network trained on other volumes",
        )
    if not 2 <= folds <= len(volumes):
        raise ConfigError(
            f"2 to {len(volumes)} folds for {len(volumes)} cases" if len(volumes) > 2 else "2 folds for 2 cases",
            f"{folds}",
            f"set folds to {min(max(folds, 2), len(volumes))} (for example with --set folds=NUMBER), or add volumes",
        )
    rng = random.Random(seed)
    ordered = sorted(volumes, key=lambda volume: (volume.spacing_um[0], volume.shape[2], volume.name))
    held_out: list[list[str]] = [[] for _ in range(folds)]
    for start in range(0, len(ordered), folds):
        block = ordered[start : start + folds]
        takers = rng.sample(range(folds), folds)  # the last block may be incomplete: fold sizes are equal within one
        for volume, fold in zip(rng.sample(block, len(block)), takers, strict=False):
            held_out[fold].append(volume.name)
    names = sorted(volume.name for volume in volumes)
    return Splits(
        seed=seed,
        folds=tuple(
            Fold(train=tuple(name for name in names if name not in out), held_out=tuple(sorted(out)))
            for out in held_out
        ),
    )


def import_splits(folder: Path, names: Sequence[str], folds: int) -> Splits | None:
    """Read the folds of nnU-Net's ``splits_final.json`` in ``folder``, so that results can be compared with nnU-Net's.

    Args:
        folder: Folder of the data set.
        names: Names of the cases in the data set.
        folds: Number of folds in the experiment's configuration.

    Returns:
        The folds; None if there is no such file.

    Raises:
        DataError: The file cannot be read, names an unknown case, has a case in both lists of a fold, holds a case out
            twice, or has a fold with an empty list.
        ConfigError: The file has another number of folds than the configuration.
    """
    raise_critical(check_splits(folder, names), DataError)
    entries, _ = read_splits(folder)
    if entries is None:
        return None
    if len(entries) != folds:
        cure = f"set folds to {len(entries)} (--set folds={len(entries)}), or remove the file to get random folds"
        raise ConfigError(f"{len(entries)} folds, the number in {folder / SPLITS}", f"folds: {folds}", cure)
    return Splits(
        seed=None,
        folds=tuple(
            Fold(train=tuple(sorted(entry["train"])), held_out=tuple(sorted(entry["val"]))) for entry in entries
        ),
    )
