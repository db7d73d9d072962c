"""Select the networks of a run that are worth keeping."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_key import CellKey
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.metrics.catalogue import METRICS
from minivess.metrics.older_scores import shared_metric

FOLD, REPEAT = 0, 1
"""The fold and the repeat whose network is kept, fixed before any case is scored."""


@dataclass(frozen=True)
class BestModel:
    """The best loss of a run, its networks, and its scores.

    Attributes:
        loss: The loss with the best mean over all cases.
        metric: The metric of that mean, the leading metric of the configuration or what it replaces in older scores.
        rivals: Number of losses that were compared, this one included.
        fold: Fold of the first network.
        repeat: Repeat of the first network.
        cell: Folder of the first network.
        members: Folders of all networks that are kept: one, or those of all folds and shared repeats as an ensemble.
        rows: Scores of all cases of the loss, of all folds and of the repeats that were compared.
    """

    loss: str
    metric: str
    rivals: int
    fold: int
    repeat: int
    cell: CellFolder
    members: tuple[CellFolder, ...]
    rows: list[CaseRow]

    @property
    def name(self) -> str:
        """Name of the model: that of its cell, or LOSS-ensemble."""
        return self.cell.path.name if len(self.members) == 1 else f"{self.loss}-ensemble"

    @property
    def place(self) -> str:
        """Which networks of the loss the model is, in words."""
        if len(self.members) > 1:
            return f"ensemble of {len(self.members)} networks"
        return CellKey(self.loss, self.fold, self.repeat).place


def find_best_model(folder: RunFolder) -> BestModel | None:
    """Return the best loss and its networks to keep; None while no loss has finished on every fold.

    With ``final: ensemble`` these are the networks of all its folds and of the repeats that are compared, otherwise the
    one of fold 0, repeat 1.

    The best loss has the best mean of the leading metric over all groups of cases, each case scored by the fold that held
    it out and averaged over the repeats. Losses with an unfinished fold in the first repeat, and losses that a race
    stopped in a later one, are not compared; of the other repeats, those count that all compared losses have finished.
    The networks of a loss differ only in training cases and seed, and the held-out scores describe the loss, not one of
    its networks: the fold with the best scores may only have the easiest cases, and the best seed was only lucky.
    Therefore a single network is that of fold 0, repeat 1, a choice made before any case is scored.
    """
    config = folder.read_config()
    competing = set(config.losses) - set(folder.left_out())
    complete = {loss: _complete_repeats(folder, config, loss) for loss in sorted(competing)}
    compared = {loss: repeats for loss, repeats in complete.items() if REPEAT in repeats}
    if not compared:
        return None
    shared = sorted(set.intersection(*compared.values()))
    rows = {
        loss: [
            row
            for repeat in shared
            for fold in range(config.folds)
            for row in folder.cell(loss, fold, repeat).read_result().rows
        ]
        for loss in compared
    }
    metric = shared_metric(config.leading_metric, [row.flat() for own in rows.values() for row in own])
    choose = max if METRICS[metric].higher_is_better else min
    best = choose(rows, key=lambda loss: _mean(rows[loss], metric))
    first = folder.cell(best, FOLD, REPEAT)
    everyone = tuple(folder.cell(best, fold, repeat) for repeat in shared for fold in range(config.folds))
    members = everyone if config.final == "ensemble" else (first,)
    return BestModel(best, metric, len(rows), FOLD, REPEAT, first, members, rows[best])


def _mean(rows: list[CaseRow], metric: str) -> float:
    """Return the mean over groups of the mean over cases of the mean over repeats, which a comparison ranks by too."""
    groups: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        cases = groups.setdefault(row.group or row.case, {})
        cases.setdefault(row.case, []).append(getattr(row.metrics, metric))
    return fmean(fmean(map(fmean, cases.values())) for cases in groups.values())


def _complete_repeats(folder: RunFolder, config: ExperimentConfig, loss: str) -> set[int]:
    """Return the repeats in which the loss has finished on every fold."""
    return {
        repeat
        for repeat in range(1, config.repeats + 1)
        if all(folder.cell(loss, fold, repeat).finished for fold in range(config.folds))
    }
