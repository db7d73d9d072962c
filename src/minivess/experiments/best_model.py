"""Select the network of a run that is worth keeping."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.metrics.catalogue import METRICS
from minivess.metrics.older_scores import shared_metric

FOLD = 0
"""The fold whose network is kept, fixed before any case is scored."""


@dataclass(frozen=True)
class BestModel:
    """The best network of a run, and the scores of its loss.

    Attributes:
        loss: The loss with the best mean over all cases.
        metric: The metric of that mean, the first of ``evaluation.metrics`` or what it replaces in older scores.
        rivals: Number of losses that were compared, this one included.
        fold: Fold of the network.
        cell: Folder of the network.
        rows: Scores of all cases of the loss, of all folds.
    """

    loss: str
    metric: str
    rivals: int
    fold: int
    cell: CellFolder
    rows: list[CaseRow]


def find_best_model(folder: RunFolder) -> BestModel | None:
    """Return the network of fold 0 of the best loss; None while no loss has finished on every fold.

    The best loss has the best mean of the first metric over all cases, each scored by the fold that held it out. Losses
    with an unfinished fold are not compared. The k networks of a loss differ only in their training cases, and the held-out
    scores describe the loss, not one of its networks: the fold with the best scores may only have the easiest cases.
    Therefore the network of fold 0 is used, a choice made before any case is scored.
    """
    config = folder.read_config()
    cells = {loss: [folder.cell(loss, fold) for fold in range(config.folds)] for loss in sorted(config.losses)}
    rows = {
        loss: [row for cell in own for row in cell.read_result().rows]
        for loss, own in cells.items()
        if all(cell.finished for cell in own)
    }
    if not rows:
        return None
    metric = shared_metric(config.evaluation.metrics[0], [row.flat() for own in rows.values() for row in own])
    choose = max if METRICS[metric].higher_is_better else min
    best = choose(rows, key=lambda loss: fmean(getattr(row.metrics, metric) for row in rows[loss]))
    return BestModel(best, metric, len(rows), FOLD, cells[best][FOLD], rows[best])
