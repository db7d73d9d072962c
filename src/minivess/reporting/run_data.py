"""What a run folder holds, read once: the values that the parts of a report share."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from minivess.data.profiler import DatasetProfile
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_spec import CellResult
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.results import read_results
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.planning.plan import TrainingPlan
from minivess.planning.preflight import PreflightResult
from minivess.statistics.comparison import Comparison
from minivess.supervision.limits import Limits, broken_budgets
from minivess.supervision.outcome import Outcome, read_outcome
from minivess.supervision.recorder import Peaks
from minivess.supervision.supervisor import ORDER_FILE, SupervisorSpec
from minivess.text import counted, format_bytes

State = Literal["finished", "failed", "interrupted", "begun", "not begun"]


@dataclass(frozen=True)
class MemorySample:
    """One row of monitor.csv.

    Attributes:
        at_s: Time that the cell has run, all attempts together.
        memory_bytes: Memory of the process tree without file-backed pages, which is what the limit is held against.
        gpu_bytes: GPU memory of the tree; None without a reading.
        rss_bytes: Memory of the tree with file-backed pages.
        swap_growth_bytes: Growth of the machine's used swap since the attempt began.
    """

    at_s: float
    memory_bytes: int
    gpu_bytes: int | None
    rss_bytes: int
    swap_growth_bytes: int


@dataclass(frozen=True)
class CellData:
    """One loss (or baseline) on one fold, begun or not."""

    method: str
    fold: int
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
    def seconds(self) -> float | None:
        """Time that the cell has run, all attempts together; None before its first sign of life."""
        last_attempt = self.outcome.duration_s if self.outcome else 0.0
        return max(last_attempt, self.samples[-1].at_s if self.samples else 0.0) or None

    @cached_property
    def peaks(self) -> Peaks:
        """The largest values of all attempts together."""
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
        """What it took beyond its budget, in words; empty where it kept it."""
        return list(broken_budgets(self.peaks, self.limits))


@dataclass(frozen=True)
class RunData:
    """A run, wherever it stands.

    Attributes:
        methods: Losses in the order of the configuration, others found on disk, baselines last.
        environment: When the run was begun.
        commits: Trained cells by the commit that trained them.
        cells: Every planned or begun cell, in the order of ``methods`` and folds.
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
    methods: tuple[str, ...]
    cells: tuple[CellData, ...]

    @property
    def losses(self) -> tuple[str, ...]:
        return tuple(method for method in self.methods if method not in self.config.evaluation.baselines)

    def of(self, method: str) -> list[CellData]:
        """The cells of a method, fold by fold."""
        return [cell for cell in self.cells if cell.method == method]


def read_run_data(folder: RunFolder) -> RunData:
    """Read a run folder, with its results as ``write_results`` left them.

    Raises:
        RunError: It is no run folder, or it has no results.
    """
    comparison, config = read_results(folder), folder.read_config()
    begun = [cell.read_spec() for cell in folder.cells()]
    baselines = config.evaluation.baselines
    named = dict.fromkeys([*config.losses, *(spec.method for spec in begun)])
    methods = (*(method for method in named if method not in baselines), *baselines)
    planned = {(method, fold) for method in (*config.losses, *baselines) for fold in range(config.folds)}
    order = sorted(planned | {(spec.method, spec.fold) for spec in begun}, key=lambda c: (methods.index(c[0]), c[1]))
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
        methods=methods,
        cells=tuple(_read_cell(folder.cell(*cell), *cell) for cell in order),
    )


def _commits(folder: RunFolder) -> dict[str, list[str]]:
    """Cells by the commit that trained them; those that do not say are left out."""
    commits: dict[str, list[str]] = {}
    for cell in folder.cells():
        git = cell.read_environment().get("git") if cell.environment.is_file() else None
        if git:
            commits.setdefault(git["sha"], []).append(cell.path.name)
    return commits


def _read_cell(folder: CellFolder, method: str, fold: int) -> CellData:
    order, outcome = folder.path / ORDER_FILE, read_outcome(folder.path)
    samples, started = read_samples(folder.monitor)
    return CellData(
        method=method,
        fold=fold,
        folder=folder,
        state=_state(folder, outcome),
        result=folder.read_result() if folder.finished else None,
        outcome=outcome,
        limits=SupervisorSpec.read(order).limits if order.is_file() else Limits(),
        journal=folder.read_journal(),
        samples=samples,
        started=started,
    )


def _state(folder: CellFolder, outcome: Outcome | None) -> State:
    if folder.finished:
        return "finished"
    if outcome is None:
        return "begun" if folder.spec.is_file() else "not begun"
    return "interrupted" if outcome.status == "stopped" else "failed"


def read_samples(path: Path) -> tuple[list[MemorySample], datetime | None]:
    """The rows of a monitor.csv and when the first was written.

    A row cut short by a kill is left out; so are all where a power cut damaged the names of the columns. The clock of the
    file starts anew with every attempt; here it goes on.
    """
    samples: list[MemorySample] = []
    started, before_s, last_s = None, 0.0, 0.0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for row in csv.DictReader(line.replace("\0", "") for line in lines):  # a long run of them would be no field to csv
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
    """One sentence on all cells that ran with a budget; empty where none did, as in runs of older versions."""
    ran = {cell.name: cell for cell in facts.cells if cell.limits.rss_budget_bytes and cell.peaks.rss_bytes}
    over = [f"{name} ({', '.join(broken)})" for name, cell in ran.items() if (broken := cell.broken_budgets)]
    if over:
        return f"Over budget: {len(over)} of {counted(len(ran), 'cell')}, {', '.join(over)}."
    if not ran:
        return ""
    least = min(cell.limits.rss_budget_bytes or 0 for cell in ran.values())
    return f"Within budget: {counted(len(ran), 'cell')}, below {format_bytes(least)} resident and without swap."
