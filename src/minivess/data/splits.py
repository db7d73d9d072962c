"""Which case is trained on and which is held out, fold by fold: dealt by seed, balanced in spacing and depth, or imported."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from minivess.data.dataset_profile import VolumeStats
from minivess.data.layouts.nnunet_json import SPLITS, check_splits, read_splits
from minivess.errors import ConfigError, DataError
from minivess.findings import raise_critical


class Fold(BaseModel):
    """Names of the cases of one fold; the two lists share none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[str, ...]
    held_out: tuple[str, ...]


class Splits(BaseModel):
    """All folds; no case is held out twice, and each once unless imported folds leave it out.

    Attributes:
        seed: What the folds were dealt by; None where they were imported.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None
    folds: tuple[Fold, ...]


def make_splits(volumes: Sequence[VolumeStats], folds: int, seed: int = 0) -> Splits:
    """Deal the cases, ordered by in-plane spacing and depth, out to the folds in blocks; the order within a block is random.

    Every fold so gets its share of each spacing and of deep and shallow volumes.

    Raises:
        ConfigError: Fewer than two folds, or more folds than cases.
    """
    if len(volumes) < 2:
        raise ConfigError(
            "two volumes or more", f"{len(volumes)}", "add volumes: each is scored by training on the others"
        )
    if not 2 <= folds <= len(volumes):
        raise ConfigError(
            f"2 to {len(volumes)} folds for {len(volumes)} cases" if len(volumes) > 2 else "2 folds for 2 cases",
            f"{folds}",
            f"set folds to {min(max(folds, 2), len(volumes))}, such as by --set, or add volumes",
        )
    rng = random.Random(seed)
    ordered = sorted(volumes, key=lambda volume: (volume.spacing_um[0], volume.shape[2], volume.name))
    held_out: list[list[str]] = [[] for _ in range(folds)]
    for start in range(0, len(ordered), folds):
        block = ordered[start : start + folds]
        # The smallest folds first, so that an incomplete last block does not pile up on the same one.
        takers = sorted(rng.sample(range(folds), folds), key=lambda fold: len(held_out[fold]))
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
    """The folds of nnU-Net's ``splits_final.json`` in ``folder``, so that results compare with nnU-Net's; None without the file.

    Args:
        folder: The data set.
        names: Of the cases that are there.
        folds: How many the experiment is configured for.

    Raises:
        DataError: The file cannot be read, names other cases, or has a case on both sides of a fold or held out twice.
        ConfigError: It holds another number of folds than configured.
    """
    raise_critical(check_splits(folder, names), DataError)
    entries, _ = read_splits(folder)
    if entries is None:
        return None
    if len(entries) != folds:
        cure = f"set folds to {len(entries)} (--set folds={len(entries)}), or remove the file to have folds dealt anew"
        raise ConfigError(f"{len(entries)} folds, as in {folder / SPLITS}", f"folds: {folds}", cure)
    return Splits(
        seed=None,
        folds=tuple(
            Fold(train=tuple(sorted(entry["train"])), held_out=tuple(sorted(entry["val"]))) for entry in entries
        ),
    )
