"""Read a run folder once: the data that all parts of a report use."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from minivess.data.profiler import DatasetProfile
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_key import CellKey
from minivess.experiments.cell_spec import CellResult
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.external_method import ExternalRecord
from minivess.experiments.race_record import RaceRecord
from minivess.experiments.results import read_results
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.experiments.unseen_scores import UnseenScores, read_unseen
from minivess.planning.plan import TrainingPlan
from minivess.planning.preflight import PreflightResult
from minivess.statistics.comparison import Comparison
from minivess.supervision.limits import Limits, broken_budgets
from minivess.supervision.outcome import Outcome, read_outcome
from minivess.supervision.recorder import Peaks
from minivess.supervision.supervisor import ORDER_FILE, SupervisorSpec
from minivess.text import counted, format_bytes

State = Literal["finished", "stopped early", "paused", "failed", "interrupted", "started", "not started"]


@dataclass(frozen=True)
class MemorySample:
    """One row of ``monitor.csv``.

    Attributes:
        at_s: Running time of the cell in seconds, summed over all attempts.
        memory_bytes: Memory of the process tree without file-backed pages. The limit applies to this value.
        gpu_bytes: GPU memory of the process tree; None without a reading.
        rss_bytes: Memory of the process tree with file-backed pages.
        swap_growth_bytes: Growth of the machine's used swap since the start of the attempt.
    """

    at_s: float
    memory_bytes: int
    gpu_bytes: int | None
    rss_bytes: int
    swap_growth_bytes: int


@dataclass(frozen=True)
class CellData:
    """One loss or baseline on one fold in one repeat, started or not.

    Attributes:
        method: Name of the loss or baseline.
        fold: Number of the fold.
        repeat: Number of the repeat, from 1.
        folder: Folder of the cell.
        state: State of the cell. "started": it has started but has neither a result nor an outcome. "stopped early": a race
            has stopped its loss. "paused": it waits for the other losses of a race.
        result: The result; None unless the cell has finished.
        outcome: How the last attempt ended; None if it left no outcome.
        limits: Limits that the supervisor enforces.
        journal: One record per epoch.
        samples: Memory over time, all attempts.
        started: Time of the first sample; None without samples.
    """

    method: str
    fold: int
    repeat: int
    folder: CellFolder
    state: State
    result: CellResult | None
    outcome: Outcome | None
    limits: Limits
    journal: list[dict[str, Any]]
    samples: list[MemorySample]
    started: datetime | None

    @property
    def name(self) -> str:
        return self.folder.path.name

    @property
    def place(self) -> str:
        """The fold, and the repeat from the second one on, in words."""
        return CellKey(self.method, self.fold, self.repeat).place

    @property
    def seconds(self) -> float | None:
        """Running time in seconds, summed over all attempts; None if no time is recorded yet."""
        last_attempt = self.outcome.duration_s if self.outcome else 0.0
        return max(last_attempt, self.samples[-1].at_s if self.samples else 0.0) or None

    @cached_property
    def peaks(self) -> Peaks:
        """The largest values of all attempts."""
        peaks = Peaks()
        for sample in self.samples:
            seen = Peaks(sample.rss_bytes, sample.memory_bytes, sample.gpu_bytes, sample.swap_growth_bytes)
            peaks = peaks.joined(seen)
        last = self.outcome
        if last is None:
            return peaks
        return peaks.joined(
            Peaks(last.peak_rss_bytes, last.peak_anonymous_bytes, last.peak_gpu_bytes, last.swap_growth_bytes)
        )

    @property
    def broken_budgets(self) -> list[str]:
        """A text for each exceeded budget; empty if the cell stayed within its budgets."""
        return list(broken_budgets(self.peaks, self.limits))


@dataclass(frozen=True)
class RunData:
    """The data of a run, finished or not.

    Attributes:
        folder: The run folder.
        config: Resolved configuration.
        plan: Training plan.
        profile: Profile of the data set.
        preflight: Findings before the run.
        environment: Environment at the start of the run: code, libraries, machine.
        commits: Names of the trained cells for each commit.
        comparison: Comparison of all methods.
        rows: Scores of every method on every case.
        unseen: Scores of the test set; None if it was not scored.
        methods: Losses in the order of the configuration, then other methods found on disk, then methods that were
            trained elsewhere, then baselines.
        cells: Every planned or started cell, in the order of ``methods``, repeats and folds.
        external: The methods that were trained elsewhere.
        race: What a race has decided.
    """

    folder: RunFolder
    config: ExperimentConfig
    plan: TrainingPlan
    profile: DatasetProfile
    preflight: PreflightResult
    environment: dict[str, Any]
    commits: dict[str, list[str]]
    comparison: Comparison
    rows: list[CaseRow]
    unseen: UnseenScores | None
    methods: tuple[str, ...]
    cells: tuple[CellData, ...]
    external: tuple[ExternalRecord, ...] = ()
    race: RaceRecord = field(default_factory=RaceRecord)

    @property
    def losses(self) -> tuple[str, ...]:
        return tuple(method for method in self.methods if method not in self.config.evaluation.baselines)

    def of(self, method: str) -> list[CellData]:
        """Return the cells of a method, in the order of the folds."""
        return [cell for cell in self.cells if cell.method == method]

    @property
    def external_test(self) -> dict[str, UnseenScores]:
        """Scores of the test set by methods that were trained elsewhere, if it was given to them."""
        return {
            record.name: UnseenScores(cell=record.name, content_hash="", rows=record.test_rows)
            for record in self.external
            if record.test_rows
        }

    def prediction(self, row: CaseRow) -> Path:
        """Return the file of the mask that a row scores."""
        for record in self.external:
            if record.name == row.method:
                return self.folder.external(record.name).prediction(record, row.case)
        (cell,) = (cell for cell in self.of(row.method) if (cell.fold, cell.repeat) == (row.fold, row.repeat))
        return cell.folder.predictions / f"{row.case}.nii.gz"


def read_run_data(folder: RunFolder) -> RunData:
    """Read a run folder and the results that ``write_results`` wrote.

    Raises:
        RunError: The folder is not a run folder, or it has no results.
    """
    comparison, config = read_results(folder), folder.read_config()
    specs = [cell.read_spec() for cell in folder.cells()]
    baselines = config.evaluation.baselines
    named = dict.fromkeys([*config.losses, *(spec.method for spec in specs)])
    external, race = folder.read_external(), folder.read_race()
    methods = (
        *(method for method in named if method not in baselines),
        *(record.name for record in external),
        *baselines,
    )
    planned = {*config.cells_in_order, *(spec.key for spec in specs)}
    order = sorted(planned, key=lambda cell: (methods.index(cell.method), cell.repeat, cell.fold))
    return RunData(
        folder=folder,
        config=config,
        plan=folder.read_plan(),
        profile=folder.read_profile(),
        preflight=folder.read_preflight(),
        environment=folder.read_environment(),
        commits=_commits(folder),
        comparison=comparison,
        rows=folder.read_rows(),
        unseen=read_unseen(folder),
        methods=methods,
        cells=tuple(_read_cell(folder.cell(*cell), cell, race) for cell in order),
        external=tuple(external),
        race=race,
    )


def _commits(folder: RunFolder) -> dict[str, list[str]]:
    """Return the names of the trained cells for each commit. Cells without a recorded commit are left out."""
    commits: dict[str, list[str]] = {}
    for cell in folder.cells():
        git = cell.read_environment().get("git") if cell.environment.is_file() else None
        if git:
            commits.setdefault(git["sha"], []).append(cell.path.name)
    return commits


def _read_cell(folder: CellFolder, key: CellKey, race: RaceRecord) -> CellData:
    order, outcome = folder.path / ORDER_FILE, read_outcome(folder.path)
    samples, started = read_samples(folder.monitor)
    return CellData(
        **key._asdict(),
        folder=folder,
        state=_state(folder, outcome, stopped=key.method in race.stopped),
        result=folder.read_result() if folder.finished else None,
        outcome=outcome,
        limits=SupervisorSpec.read(order).limits if order.is_file() else Limits(),
        journal=folder.read_journal(),
        samples=samples,
        started=started,
    )


def _state(folder: CellFolder, outcome: Outcome | None, *, stopped: bool) -> State:
    if folder.finished:
        return "finished"
    if stopped:
        return "stopped early"
    if outcome is None:
        return "started" if folder.spec.is_file() else "not started"
    if outcome.status == "paused":
        return "paused"
    return "interrupted" if outcome.status == "stopped" else "failed"


def read_samples(path: Path) -> tuple[list[MemorySample], datetime | None]:
    """Read the rows of a ``monitor.csv`` and the time of the first row.

    A row that was cut off by a kill is left out. If a power failure damaged the column names, all rows are left out.
    The elapsed time in the file restarts with every attempt; in the samples it continues.

    Returns:
        The samples, and the time of the first one; no samples and None if the file does not exist.
    """
    samples: list[MemorySample] = []
    started, before_s, last_s = None, 0.0, 0.0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    # csv rejects a very long field of NUL characters, which a power failure can leave.
    for row in csv.DictReader(line.replace("\0", "") for line in lines):
        try:
            elapsed_s = float(row["elapsed_s"])
            rss_bytes, swap_growth_bytes = int(row["tree_rss_bytes"]), int(row["swap_growth_bytes"])
            memory_bytes = rss_bytes - int(row["tree_file_bytes"])
            gpu_bytes = int(row["gpu_tree_bytes"]) if row["gpu_tree_bytes"] else None
            started = started or datetime.fromisoformat(row["time_iso"])
        except (KeyError, TypeError, ValueError):
            continue
        if elapsed_s < last_s:
            before_s += last_s
        last_s = elapsed_s
        samples.append(MemorySample(before_s + elapsed_s, memory_bytes, gpu_bytes, rss_bytes, swap_growth_bytes))
    return samples, started


def budget_sentence(facts: RunData) -> str:
    """Return a sentence about cells that ran with a memory budget; empty if none did, as in runs of old versions."""
    ran = {cell.name: cell for cell in facts.cells if cell.limits.rss_budget_bytes and cell.peaks.rss_bytes}
    over = [f"{name} ({', '.join(broken)})" for name, cell in ran.items() if (broken := cell.broken_budgets)]
    if over:
        return f"Over the memory budget: {len(over)} of {counted(len(ran), 'cell')}: {', '.join(over)}."
    if not ran:
        return ""
    least = min(cell.limits.rss_budget_bytes or 0 for cell in ran.values())
    return f"Within the memory budget: {counted(len(ran), 'cell')}, below {format_bytes(least)} resident memory and without swap."
