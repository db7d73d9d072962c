"""Progress of long work: bars on a terminal, plain lines where there is none, nothing when quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from minivess.planning.sizes import format_gib

if TYPE_CHECKING:  # a glance at a data set need not wait for what a run imports
    from minivess.data.profiler import VolumeStats
    from minivess.experiments.prepare import Prepared
    from minivess.training.outcome import Outcome

_LINE_EVERY_S = 30.0


@contextmanager
def volume_progress(verb: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each volume."""
    with _progress(quiet) as progress:
        task = progress.add_task(verb, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def share_progress(name: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the finished share, 0 to 1."""
    with _progress(quiet) as progress:
        task = progress.add_task(name, total=100)
        yield lambda share: progress.update(task, completed=round(100 * share))


class RunView:
    """Watches a run: one bar over the cells, one within the present cell."""

    def __init__(self, prepared: Prepared, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._bars = self._console.is_terminal and not quiet
        self._progress = _progress(not self._bars, self._console)
        self._cells: TaskID | None = None
        self._stage = self._progress.add_task("", total=None, visible=False)
        self._store = self._progress.add_task("Storing volumes", total=len(prepared.profile.volumes), visible=False)
        self._line_due_s = 0.0

    def __enter__(self) -> RunView:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def says(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)

    def stored(self, volume: VolumeStats) -> None:
        self._progress.update(self._store, advance=1, visible=True)

    def cell_begins(self, name: str, number: int, total: int) -> None:
        self._progress.update(self._store, visible=False)
        if self._cells is None:
            self._cells = self._progress.add_task("Cells", total=total)
        self._progress.update(self._cells, completed=number - 1)
        self._progress.reset(self._stage, total=None, description=f"  {name}: starting", visible=True)
        self._line_due_s = time.monotonic() + _LINE_EVERY_S
        self._say(f"[{number}/{total}] {name}")

    def cell_moves(self, name: str, stage: str, done: int, total: int) -> None:
        self._progress.update(self._stage, description=f"  {name}: {stage}", completed=done, total=total)
        if not self._bars and time.monotonic() >= self._line_due_s:
            self._line_due_s = time.monotonic() + _LINE_EVERY_S
            self._say(f"    {stage} {done}/{total}")

    def cell_ends(self, name: str, outcome: Outcome | None) -> None:
        if outcome is None:
            self._console.print(f"[dim]{name} was finished before[/]", highlight=False)
        elif outcome.status == "finished":
            peak = f"peak memory {format_gib(outcome.peak_anonymous_bytes)}"
            self._console.print(f"[green]{name}[/] finished in {outcome.duration_s:.0f} s, {peak}", highlight=False)
        else:
            first = outcome.message.splitlines()[0]
            self._console.print(f"[red]{name}[/] {outcome.status}: {outcome.cause}: {first}", highlight=False)
        if self._cells is not None:
            self._progress.advance(self._cells)

    def _say(self, line: str) -> None:
        if not self._bars:
            self._console.print(line, highlight=False, markup=False)


def _progress(quiet: bool, console: Console | None = None) -> Progress:
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)
