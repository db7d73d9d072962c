"""The progress of a run on the terminal: one bar for all cells and one for each running cell, or plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from threading import Event, RLock, Thread
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID

from minivess.cli.progress import progress_bars
from minivess.cli.terminal_output import skipping
from minivess.data.profiler import VolumeStats
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import CellFolder
from minivess.experiments.time_estimate import predict_seconds
from minivess.experiments.time_left import TimeLeft
from minivess.reporting.run_data import read_samples
from minivess.supervision.outcome import Outcome
from minivess.text import GIB, format_bytes, format_duration

_LINE_EVERY_S = 30.0
_READ_EVERY_S = 1.0
_DRAW_EVERY_S = 0.2


class RunView:
    """Show the progress of a run; cells that run side by side may report from several threads at the same time.

    Whoever prints or draws holds the lock, because rich mixes up two threads that write at the same time.
    """

    def __init__(self, prepared: Prepared, *, quiet: bool) -> None:
        self._console = Console(file=skipping(sys.stderr), quiet=quiet)
        self._bars = self._console.is_terminal and not quiet
        self._progress = progress_bars(not self._bars, self._console, auto_refresh=False)
        self._cells: TaskID | None = None
        self._rows: dict[str, tuple[TaskID, CellLine]] = {}
        self._store = self._progress.add_task("Storing volumes", total=len(prepared.profile.volumes), visible=False)
        self._line_due_s = 0.0
        self._prepared = prepared
        self._lock = RLock()
        self._ended = Event()
        self._left: TimeLeft | None = None
        self._left_due_s = 0.0

    def __enter__(self) -> RunView:
        self._progress.start()
        if self._bars:
            Thread(target=self._draw, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with self._lock:
            self._progress.stop()

    def _draw(self) -> None:
        while not self._ended.wait(_DRAW_EVERY_S):
            with self._lock:
                if not self._ended.is_set():
                    self._progress.refresh()

    def _print(self, text: str, *, markup: bool) -> None:
        with self._lock:
            self._console.print(text, highlight=False, markup=markup)

    def on_message(self, text: str) -> None:
        self._print(text, markup=False)

    def on_volume_stored(self, volume: VolumeStats) -> None:
        with self._lock:
            self._progress.update(self._store, advance=1, visible=True)

    def on_cell_start(self, name: str, number: int, total: int) -> None:
        with self._lock:
            self._progress.update(self._store, visible=False)
            self._left = self._left or self._time_left()
            self._left.start(name)
            if self._cells is None:
                self._cells = self._progress.add_task("Cells", total=total, ends_at_s=None)
            self._drop("dry start")
            self._show(name, "starting", 0, None)
            self._show_time_left()
            self._line_due_s = time.monotonic() + _LINE_EVERY_S
            self._print_line(f"[{number}/{total}] {name}")

    def on_progress(self, name: str, stage: str, done: int, total: int) -> None:
        with self._lock:
            text = self._show(name, stage, done, total)
            self._update_time_left(name, stage, done, total)
            if not self._bars and time.monotonic() >= self._line_due_s:
                self._line_due_s = time.monotonic() + _LINE_EVERY_S
                left_s = self._left.of_run() if self._left else None
                left = f", about {format_duration(left_s)} left" if left_s is not None else ""
                self._print_line(f"    {text} {done}/{total}{left}")

    def on_cell_end(self, name: str, outcome: Outcome | None) -> None:
        with self._lock:
            self._drop(name)
            if self._left:
                if outcome is not None and outcome.status == "paused":
                    self._left.pause(name)
                else:
                    self._left.end(name, was_finished=outcome is None)
                self._show_time_left()
        if outcome is not None and outcome.status == "paused":
            self._print(f"[dim]{name} waits for the other losses of the race[/]", markup=True)
            return
        if outcome is None:
            self._print(f"[dim]{name} is already finished[/]", markup=True)
        elif outcome.status == "finished":
            peak = f"peak memory {format_bytes(outcome.peak_anonymous_bytes)}"
            self._print(f"[green]{name}[/] finished in {outcome.duration_s:.0f} s, {peak}", markup=True)
        else:
            first = outcome.message.splitlines()[0]
            self._print(f"[red]{name}[/] {outcome.status}: {outcome.cause}: {escape(first)}", markup=True)
        if self._cells is not None:
            self._progress.advance(self._cells)

    def on_cells_dropped(self, names: Sequence[str]) -> None:
        with self._lock:
            if self._left:
                self._left.drop(names)
                self._show_time_left()
            if self._cells is not None:
                self._progress.advance(self._cells, len(names))

    def _show(self, name: str, stage: str, done: int, total: int | None) -> str:
        """Update the row of a running cell, add it if it is new, and return its text."""
        if name not in self._rows:
            self._rows[name] = self._progress.add_task("", total=None, ends_at_s=None), CellLine(self._prepared, name)
        row, line = self._rows[name]
        text = f"{name}: {stage}{line.read()}"
        self._progress.update(row, description=f"  {text}", completed=done, total=total)
        return text

    def _time_left(self) -> TimeLeft:
        """Prepare the estimate when the first cell starts: the plan in the run folder then has the times of the dry start."""
        prepared = self._prepared
        predicted = predict_seconds(prepared.config, prepared.profile, prepared.splits, prepared.folder.read_plan())
        cells = [prepared.folder.cell(*cell) for cell in prepared.folder.cells_to_finish(prepared.config)]
        waiting = [cell.path.name for cell in cells if not cell.finished]
        return TimeLeft(predicted, waiting, prepared.at_full_speed)

    def _update_time_left(self, name: str, stage: str, done: int, total: int) -> None:
        if self._left is None:
            return
        self._left.progress(name, stage, done, total)
        if time.monotonic() >= self._left_due_s:
            self._show_time_left()

    def _show_time_left(self) -> None:
        if self._left is None:
            return
        now_s = time.monotonic()
        self._left_due_s = now_s + _READ_EVERY_S
        left = [(row, self._left.of_cell(cell)) for cell, (row, _) in self._rows.items()]
        if self._cells is not None:
            left.append((self._cells, self._left.of_run()))
        for row, left_s in left:
            self._progress.update(row, ends_at_s=None if left_s is None else now_s + left_s)

    def _drop(self, name: str) -> None:
        if name in self._rows:
            self._progress.remove_task(self._rows.pop(name)[0])

    def _print_line(self, line: str) -> None:
        if not self._bars:
            self._print(line, markup=False)


class CellLine:
    """The state of a cell in one line, read from its files once a second: epoch, loss, Dice, memory and its limits."""

    def __init__(self, prepared: Prepared, name: str) -> None:
        self._prepared = prepared
        self._cell = CellFolder(prepared.folder.path / "cells" / name)
        self._text, self._due_s = "", 0.0

    def read(self) -> str:
        """Return the text to append to the stage of the cell; empty while its files say nothing."""
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _READ_EVERY_S
            self._text = "".join(f", {part}" for part in [*self._learning(self._cell), *self._memory(self._cell)])
        return self._text

    def _learning(self, cell: CellFolder) -> Iterator[str]:
        lines = cell.read_journal()
        if lines:
            yield f"epoch {lines[-1]['epoch']} of {self._prepared.config.training.max_epochs}"
            yield f"loss {lines[-1]['loss']:.3f}"
        scores = [line["dsc"] for line in lines if "dsc" in line]
        if scores:
            yield f"Dice {scores[-1]:.3f}"

    def _memory(self, cell: CellFolder) -> Iterator[str]:
        hardware = self._prepared.hardware
        samples, _ = read_samples(cell.monitor)
        if samples:
            yield f"memory {samples[-1].memory_bytes / GIB:.1f} of {format_bytes(hardware.ram_abort_bytes)}"
        if samples and samples[-1].gpu_bytes is not None:
            yield f"GPU {samples[-1].gpu_bytes / GIB:.1f} of {format_bytes(hardware.gpu_abort_bytes)}"
