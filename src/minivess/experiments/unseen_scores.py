"""The scores of the test set as ``results/test.json`` has them; `minivess.experiments.unseen` writes them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_key import CellKey
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import read_state
from minivess.statistics.resampling import Interval, mean_interval
from minivess.text import first_few


class UnseenScores(BaseModel):
    """Scores of the test set.

    Attributes:
        cell: Name of the cell whose network was scored, or LOSS-ensemble.
        content_hash: Digest of the files of the test set.
        rows: One row for each test case.
        earlier: Cells whose networks were scored on the test set before; CELL-before-N for a network that its cell had before
            it was trained again. If there are any, the test set was not unseen any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: str
    content_hash: str
    rows: tuple[CaseRow, ...]
    earlier: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Loss, fold and repeat of the network, or that it is an ensemble, in words."""
        row = self.rows[0]
        if is_of_ensemble(self):
            return f"{row.method}, ensemble"
        return f"{row.method}, {CellKey(row.method, row.fold, row.repeat).place}"

    def interval(self, metric: str) -> Interval:
        """Return mean and interval over the groups, each the mean of its cases; over the cases without groups."""
        values: dict[str, list[float]] = {}
        for row in self.rows:
            values.setdefault(row.group or row.case, []).append(float(getattr(row.metrics, metric)))
        return mean_interval([sum(group) / len(group) for group in values.values()])


def is_of_ensemble(scores: UnseenScores) -> bool:
    """Whether the scores are those of an ensemble, and not those of one cell."""
    return scores.cell == f"{scores.rows[0].method}-ensemble"


def earlier_note(scores: UnseenScores) -> str:
    """Return a sentence about networks that were scored on the test set before; empty if there were none."""
    if not scores.earlier:
        return ""
    return (
        f"The test set was scored before, with {first_few(scores.earlier)}. It was not unseen any more when the present "
        "network was chosen."
    )


def read_unseen(folder: RunFolder) -> UnseenScores | None:
    """Return the scores of the test set; None if it was not scored.

    Raises:
        RunError: Their file is damaged.
    """
    if not folder.test_scores.is_file():
        return None
    return read_state(folder.test_scores, UnseenScores, "delete it; the same command then writes it again")
