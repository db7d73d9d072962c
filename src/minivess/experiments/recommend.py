"""Which network of a run is worth keeping."""

from __future__ import annotations

from dataclasses import dataclass

from minivess.evaluation.compare import compare
from minivess.evaluation.comparison import Comparison
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.folder import CellFolder, RunFolder

FOLD = 0


@dataclass(frozen=True)
class Recommended:
    """A network and the evidence for its loss.

    Attributes:
        loss: The one with the best mean dsc over all cases.
        fold: Of the network.
        cell: Where the network is.
        rows: The cases of every loss that competed.
        comparison: Of these losses.
    """

    loss: str
    fold: int
    cell: CellFolder
    rows: list[CaseRow]
    comparison: Comparison


def recommend(folder: RunFolder) -> Recommended | None:
    """The network of fold 0 of the best loss; None while no loss has finished on every fold.

    The loss is the one with the best mean dsc over all cases, each scored by the fold that held it out; losses that lack a
    fold do not compete. Its k networks are alike but for the cases they were trained on, and the held-out scores belong to the
    loss, not to one of them: the network of the best fold would be the one with the easiest cases. So it is fold 0's,
    chosen before anything was scored.
    """
    config = folder.read_config()
    losses = [loss for loss in config.losses if all(folder.cell(loss, fold).finished for fold in range(config.folds))]
    if not losses:
        return None
    rows = [row for row in folder.read_rows() if row.method in losses]
    metrics = tuple(dict.fromkeys(("dsc", *config.evaluation.metrics)))
    comparison = compare([row.flat() for row in rows], metrics, baselines=(), resamples=config.evaluation.resamples)
    loss = comparison.metric("dsc").best
    return Recommended(loss, FOLD, folder.cell(loss, FOLD), rows, comparison)
