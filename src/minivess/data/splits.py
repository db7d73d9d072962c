"""Folds of cross-validation: random by seed and balanced in spacing and depth, or imported from nnU-Net's file.

A group of cases, such as an animal, is never split.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, pvariance

from pydantic import BaseModel, ConfigDict, Field

from minivess.data.dataset_profile import VolumeStats
from minivess.data.layouts.nnunet_json import SPLITS, check_splits, read_splits
from minivess.errors import ConfigError, DataError
from minivess.findings import raise_critical

_ATTEMPTS = 100
"""Number of random assignments of groups of which the most balanced one is taken."""
_PARTS_OF_A_SINGLE_SPLIT = 5


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


def make_splits(
    volumes: Sequence[VolumeStats],
    folds: int,
    seed: int = 0,
    *,
    groups: Mapping[str, str] | None = None,
    train_only: Sequence[str] = (),
) -> Splits:
    """Assign each case to the held-out list of one fold, balanced in spacing and depth.

    The cases are sorted by in-plane spacing and depth and divided into blocks of ``folds`` cases. The cases of a block
    go to different folds at random. So each fold gets its share of every spacing and of deep and shallow volumes.

    With groups, a group goes to one fold as a whole (`_assign_groups`). With one fold, its held-out cases are those of
    the first of five folds: about one fifth of the cases.

    Args:
        volumes: The cases.
        folds: Number of folds.
        seed: Seed of the random assignment.
        groups: Group of each case, such as its animal; None or empty without groups.
        train_only: Cases that are trained on in every fold and never held out.

    Returns:
        The folds; the same arguments give the same folds.

    Raises:
        ConfigError: No fold, more folds than cases or groups, or a single case or group.
    """
    group_of = dict(groups or {})
    held = [volume for volume in volumes if volume.name not in train_only]
    units = len({group_of[volume.name] for volume in held}) if group_of else len(held)
    _require_enough(units, folds, "group" if group_of else "volume" if units < 2 else "case")
    parts, rng = folds if folds > 1 else min(_PARTS_OF_A_SINGLE_SPLIT, units), random.Random(seed)
    held_out = _assign_groups(held, group_of, parts, rng) if group_of else _assign_cases(held, parts, rng)
    names = sorted(volume.name for volume in volumes)
    return Splits(
        seed=seed,
        folds=tuple(
            Fold(train=tuple(name for name in names if name not in out), held_out=tuple(sorted(out)))
            for out in held_out[:folds]
        ),
        groups=group_of,
    )


def _require_enough(units: int, folds: int, unit: str) -> None:
    if units < 2:
        raise ConfigError(
            f"at least two {unit}s",
            f"{units}",
            f"add {unit}s: each {unit} is scored by a network trained on other {unit}s",
        )
    if not 1 <= folds <= units:
        raise ConfigError(
            f"1 to {units} folds for {units} {unit}s",
            f"{folds}",
            f"set folds to {min(max(folds, 1), units)} (for example with --set folds=NUMBER), or add {unit}s",
        )


def _assign_cases(volumes: Sequence[VolumeStats], folds: int, rng: random.Random) -> list[list[str]]:
    """Return the held-out cases of each fold; the sizes of the folds differ by one case at most."""
    ordered = sorted(volumes, key=lambda volume: (volume.spacing_um[0], volume.shape[2], volume.name))
    held_out: list[list[str]] = [[] for _ in range(folds)]
    for start in range(0, len(ordered), folds):
        block = ordered[start : start + folds]
        takers = rng.sample(range(folds), folds)  # the last block may be incomplete: fold sizes are equal within one
        for volume, fold in zip(rng.sample(block, len(block)), takers, strict=False):
            held_out[fold].append(volume.name)
    return held_out


def _assign_groups(
    volumes: Sequence[VolumeStats], groups: Mapping[str, str], folds: int, rng: random.Random
) -> list[list[str]]:
    """Return the held-out cases of each fold; no group is split.

    Each group goes to the fold that has the fewest cases so far. The sizes of the folds therefore differ by at most the
    size of the largest group: the fold that receives a group had the fewest cases before. And no fold is empty, because
    the first ``folds`` groups go to different folds. Of many random orders, half of them with the largest groups first,
    the one is taken whose folds differ least in size, and then least in spacing and depth.
    """
    members: dict[str, list[VolumeStats]] = {}
    for volume in sorted(volumes, key=lambda volume: volume.name):
        members.setdefault(groups[volume.name], []).append(volume)
    traits = _ranks(volumes)

    def attempt(number: int) -> list[list[VolumeStats]]:
        order = rng.sample(list(members.values()), len(members))
        if number % 2 == 0:
            order.sort(key=len, reverse=True)  # stable: groups of equal size stay in random order
        filled: list[list[VolumeStats]] = [[] for _ in range(folds)]
        for group in order:
            fewest = min(map(len, filled))
            filled[rng.choice([number for number, fold in enumerate(filled) if len(fold) == fewest])].extend(group)
        return filled

    def unlike(filled: list[list[VolumeStats]]) -> tuple[int, float]:
        sizes = [len(fold) for fold in filled]
        means = [[fmean(traits[volume.name][axis] for volume in fold) for fold in filled] for axis in (0, 1)]
        return max(sizes) - min(sizes), round(sum(map(pvariance, means)), 12)

    best = min((attempt(number) for number in range(_ATTEMPTS)), key=unlike)
    return [[volume.name for volume in fold] for fold in best]


def _ranks(volumes: Sequence[VolumeStats]) -> dict[str, tuple[float, float]]:
    """Return the ranks of each volume by in-plane spacing and by depth, from 0 to 1."""
    spacings = sorted({volume.spacing_um[0] for volume in volumes})
    depths = sorted({volume.shape[2] for volume in volumes})
    return {
        volume.name: (
            spacings.index(volume.spacing_um[0]) / len(spacings),
            depths.index(volume.shape[2]) / len(depths),
        )
        for volume in volumes
    }


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
        cure = (
            f"remove the key folds, or set it to {len(entries)} (--set folds={len(entries)}); or remove the file to get "
            "random folds"
        )
        raise ConfigError(f"{len(entries)} folds, the number in {folder / SPLITS}", f"folds: {folds}", cure)
    return Splits(
        seed=None,
        folds=tuple(
            Fold(train=tuple(sorted(entry["train"])), held_out=tuple(sorted(entry["val"]))) for entry in entries
        ),
    )
