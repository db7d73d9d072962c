"""Which network of a run is worth keeping."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.run_folder import CellFolder, RunFolder

FOLD = 0


@dataclass(frozen=True)
class BestModel:
    """A network and the evidence for its loss.

    Attributes:
        loss: The one with the best mean dsc over all cases.
        rivals: How many losses competed, this one among them.
        fold: Of the network.
        cell: Where the network is.
        rows: The cases of the loss.
    """

    loss: str
    rivals: int
    fold: int
    cell: CellFolder
    rows: list[CaseRow]


def find_best_model(folder: RunFolder) -> BestModel | None:
    """The network of fold 0 of the best loss; None while no loss has finished on every fold.

    The loss is the one with the best mean dsc over all cases, each scored by the fold that held it out; losses that lack a
    fold do not compete. Its k networks are alike but for the cases they were trained on, and the held-out scores belong to the
    loss, not to one of them: the network of the best fold would be the one with the easiest cases. So it is fold 0's,
    chosen before anything was scored.
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
    best = max(rows, key=lambda loss: fmean(row.metrics.dsc for row in rows[loss]))
    return BestModel(best, len(rows), FOLD, cells[best][FOLD], rows[best])
