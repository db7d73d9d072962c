"""Load a run folder as data frames, for notebooks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minivess.data.dataset_profile import DatasetProfile
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.results import compare_runs
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.unseen_scores import read_unseen
from minivess.planning.plan import TrainingPlan
from minivess.statistics.comparison import Comparison
from minivess.supervision.outcome import read_outcome

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class LoadedRun:
    """Contents of a run folder.

    Attributes:
        path: The run folder.
        config: The settings of the run.
        plan: Patch, batch, precision and network, with reasons.
        profile: The volumes of the run.
        comparison: Intervals, tests and verdicts of the finished cells.
        cases: One row per scored case: method, fold, repeat, group, case and every metric.
        test: One row per case of the test set, with the same columns; empty if it was not scored.
        scores: One row per metric and method: mean over the cases of the method, with its confidence interval.
        pairs: One row per metric and pair of losses: difference first - second, interval, p value, p value after the
            Holm correction.
        epochs: One row per epoch of every cell: method, fold, repeat, epoch, step, loss, learning_rate, steps_per_second, and
            the DSC of one held-out case in the epochs that measured it.
        cells: One row per cell that was started: method, fold, repeat, status, cause, seconds, and peak memory in bytes.
    """

    path: Path
    config: ExperimentConfig
    plan: TrainingPlan
    profile: DatasetProfile
    comparison: Comparison
    cases: pd.DataFrame
    test: pd.DataFrame
    scores: pd.DataFrame
    pairs: pd.DataFrame
    epochs: pd.DataFrame
    cells: pd.DataFrame


def load_run(path: Path | str) -> LoadedRun:
    """Read a run folder; write nothing.

    Args:
        path: The run folder, e.g. ``runs/dynunet_losses``.

    Raises:
        RunError: The folder is not a run folder, a file in it is damaged, or no cell has finished.
    """
    import pandas as pd

    folder = RunFolder(Path(path))
    comparison, unseen = compare_runs([folder]), read_unseen(folder)
    return LoadedRun(
        path=folder.path,
        config=folder.read_config(),
        plan=folder.read_plan(),
        profile=folder.read_profile(),
        comparison=comparison,
        cases=pd.DataFrame([row.flat() for row in folder.read_rows()]),
        test=pd.DataFrame([row.flat() for row in unseen.rows] if unseen else []),
        scores=_scores(comparison),
        pairs=_pairs(comparison),
        epochs=_epochs(folder),
        cells=_cells(folder),
    )


def _scores(comparison: Comparison) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "metric": metric.metric,
                "method": score.method,
                "baseline": score.baseline,
                "mean": score.interval.mean,
                "low": score.interval.low,
                "high": score.interval.high,
                "cases": score.interval.n,
            }
            for metric in comparison.metrics
            for score in metric.methods
        ]
    )


def _pairs(comparison: Comparison) -> pd.DataFrame:
    import pandas as pd

    columns = ["metric", "first", "second", "difference", "low", "high", "p_value", "p_holm", "cases", "better"]
    rows = [
        (
            metric.metric,
            pair.first,
            pair.second,
            pair.test.difference,
            pair.test.interval.low,
            pair.test.interval.high,
            pair.test.p_value,
            pair.p_holm,
            pair.test.n,
            pair.better,
        )
        for metric in comparison.metrics
        for pair in metric.pairs
    ]
    return pd.DataFrame(rows, columns=columns)


def _epochs(folder: RunFolder) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for cell in folder.cells():
        spec = cell.read_spec()
        rows += [{**spec.key._asdict(), **line} for line in cell.read_journal()]
    return pd.DataFrame(rows)


def _cells(folder: RunFolder) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for cell in folder.cells():
        spec, outcome = cell.read_spec(), read_outcome(cell.path)
        rows.append(
            {
                **spec.key._asdict(),
                "status": "finished" if cell.finished else outcome.status if outcome else "started",
                "cause": str(outcome.cause) if outcome else "",
                "seconds": cell.read_result().seconds if cell.finished else None,
                "peak_rss_bytes": outcome.peak_rss_bytes if outcome else None,
                "peak_gpu_bytes": outcome.peak_gpu_bytes if outcome else None,
            }
        )
    return pd.DataFrame(rows)
