"""Run the cells of a race in rounds: train to the next share of the steps, score, stop the losses that are beaten.

A cell pauses after its checkpoint at a share is written and its held-out cases are scored with the averaged weights
(cells/CELL/race/step-N). It continues from that checkpoint, so that it trains bit for bit as without a race. A decision is
a pure function of these scores and is written to race.json before the next round starts; after a kill, the run goes on with
the decisions that are written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minivess.experiments.cell_process import RunObserver
from minivess.experiments.cell_selection import CellFilter, Job
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.prepare import Prepared
from minivess.experiments.race_record import RaceRecord, Round
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.metrics.catalogue import METRICS
from minivess.statistics.racing import find_beaten, mean_by_unit


def rounds(
    jobs: Sequence[Job], prepared: Prepared, observer: RunObserver, only: Sequence[CellFilter]
) -> Iterator[list[Job]]:
    """Yield the jobs of each round; the caller runs them before it asks for the next round.

    Without a race there is one round. With ``only`` there is one too: the selected cells train to their end, no decision
    is taken, and a stopped loss that a filter names is continued.

    Args:
        jobs: All unfinished cells.
        prepared: The run.
        observer: Receives what is decided.
        only: Filters of the cells that the user selected.
    """
    config, folder = prepared.config, prepared.folder
    failed: set[str] = set()
    if config.race is not None and not only:
        for share in config.race.at:
            step = config.training.step_at(share)
            if folder.read_race().decided(step):
                continue
            now = [
                job for job in _going(jobs, folder, only) if job.name not in failed and job.cell.rows_at(step) is None
            ]
            yield [_pausing(job, step) for job in now]
            failed |= {job.name for job in now if not job.cell.finished and job.cell.rows_at(step) is None}
            _decide(config, folder, share, observer)
    yield [_pausing(job, None) for job in _going(jobs, folder, only) if job.name not in failed]


def least_steps(config: ExperimentConfig) -> float:
    """Return the share of all steps that a race trains at best: all losses that may be stopped are, at its first share."""
    assert config.race is not None
    losses = len(config.losses)
    kept = min(config.race.keep, losses)
    return (kept + (losses - kept) * config.race.at[0]) / losses


def _going(jobs: Sequence[Job], folder: RunFolder, only: Sequence[CellFilter]) -> list[Job]:
    """Return the unfinished jobs without those of stopped losses; a loss that the user names goes on."""
    stopped = folder.read_race().stopped.keys() - {one.loss for one in only}
    return [job for job in jobs if not job.cell.finished and job.spec.method not in stopped]


def _pausing(job: Job, step: int | None) -> Job:
    """Write into the cell folder at which step the cell pauses; with None it trains to its end."""
    if step is None:
        job.cell.pause.unlink(missing_ok=True)
    else:
        write_state(job.cell.pause, {"step": step})
    return job


def _decide(config: ExperimentConfig, folder: RunFolder, share: float, observer: RunObserver) -> None:
    """Take the decision at a share and write it; none is taken if fewer than two losses can be compared."""
    assert config.race is not None
    record, step = folder.read_race(), config.training.step_at(share)
    metric = config.leading_metric
    scores, unit = [], "case"
    judged = [loss for loss in config.losses if loss not in record.stopped and _has_reached(config, folder, loss, step)]
    for loss in judged:
        for cell in (key for key in config.cells_in_order if key.method == loss):
            rows = folder.cell(*cell).rows_at(step) or ()
            unit = "group" if any(row.group for row in rows) else unit
            scores += [(loss, row.group or row.case, float(getattr(row.metrics, metric))) for row in rows]
    if len(judged) < 2:
        return
    reference = record.rounds[0].reference if record.rounds else config.reference_loss
    beaten = find_beaten(
        mean_by_unit(scores),
        higher_is_better=METRICS[metric].higher_is_better,
        reference=reference,
        keep=config.race.keep,
    )
    found = Round(share, step, metric, reference, tuple(judged), beaten, unit)
    record = RaceRecord((*record.rounds, found))
    write_state(folder.race, record)
    dropped = [cell.name for one in beaten for cell in config.cells_in_order if cell.method == one.loss]
    for one in beaten:
        observer.on_message(record.why(one.loss))
    if not beaten:
        observer.on_message(f"Race at {share:.0%} of the steps: no loss is beaten, all go on")
    observer.on_cells_dropped(dropped)


def _has_reached(config: ExperimentConfig, folder: RunFolder, loss: str, step: int) -> bool:
    """Whether every cell of a loss is scored at this step."""
    return all(folder.cell(*cell).rows_at(step) is not None for cell in config.cells_in_order if cell.method == loss)
