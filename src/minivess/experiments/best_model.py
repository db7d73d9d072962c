"""Select the network of a run that is worth keeping."""

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
    """The best network of a run, and the scores of its loss.

    Attributes:
        loss: The loss with the best mean over all cases.
        metric: The metric of that mean, the leading metric of the configuration or what it replaces in older scores.
        rivals: Number of losses that were compared, this one included.
        fold: Fold of the network.
        repeat: Repeat of the network.
        cell: Folder of the network.
        rows: Scores of all cases of the loss, of all folds and of the repeats that were compared.
    """

    loss: str
    metric: str
    rivals: int
    fold: int
    repeat: int
    cell: CellFolder
    rows: list[CaseRow]

    @property
    def place(self) -> str:
        """Fold and repeat of the network, in words."""
        return CellKey(self.loss, self.fold, self.repeat).place


def find_best_model(folder: RunFolder) -> BestModel | None:
    """Return the network of fold 0, repeat 1 of the best loss; None while no loss has finished on every fold.

    The best loss has the best mean of the leading metric over all groups of cases, each case scored by the fold that held
    it out and averaged over the repeats. Losses with an unfinished fold in the first repeat, and losses that a race
    stopped in a later one, are not compared; of the other repeats, those count that all compared losses have finished.
    The networks of a loss differ only in training cases and seed, and the held-out scores describe the loss, not one of
    its networks: the fold with the best scores may only have the easiest cases, and the best seed was only lucky.
    Therefore the network of fold 0, repeat 1 is used, a choice made before any case is scored.
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
    return BestModel(best, metric, len(rows), FOLD, REPEAT, folder.cell(best, FOLD, REPEAT), rows[best])


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
