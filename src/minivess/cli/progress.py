"""Progress bars for long work; nothing is shown without a terminal or when quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from minivess.text import format_duration


@contextmanager
def volume_progress(verb: str, total: int, *, quiet: bool) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each volume."""
    with progress_bars(quiet) as progress:
        task = progress.add_task(verb, total=total)
        yield lambda: progress.advance(task)


@contextmanager
def share_progress(name: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Yield a function to call with the finished share of the work, 0 to 1."""
    with progress_bars(quiet) as progress:
        task = progress.add_task(name, total=100)
        yield lambda share: progress.update(task, completed=round(100 * share))


def progress_bars(quiet: bool, console: Console | None = None, *, auto_refresh: bool = True) -> Progress:
    """Create progress bars that disappear when they are done; disabled when quiet or without a terminal.

    Args:
        quiet: Show nothing.
        console: Where to show them; by default standard error.
        auto_refresh: Whether a thread of rich draws them. If text is printed meanwhile, the caller must draw them: the text
            and that thread can each move the cursor by the height that the other one has just changed.
    """
    console = console or Console(stderr=True)
    # On a narrow terminal the description wraps and the numbers stay on one line.
    columns = (
        TextColumn("{task.description}", table_column=Column(overflow="fold")),
        BarColumn(16, table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeLeftColumn(table_column=Column(no_wrap=True)),
    )
    disable = quiet or not console.is_terminal
    return Progress(*columns, console=console, disable=disable, transient=True, auto_refresh=auto_refresh)


class TimeLeftColumn(TimeRemainingColumn):
    """The time left of a task, counting down between two estimates.

    It is that of the field ``ends_at_s``, in seconds of the monotonic clock (None: not known yet), if the task has one; else
    rich's own estimate.
    """

    def render(self, task: Task) -> Text:
        if "ends_at_s" not in task.fields:
            return super().render(task)
        ends_at_s = task.fields["ends_at_s"]
        left_s = 0.0 if ends_at_s is None else ends_at_s - time.monotonic()
        text = "" if left_s < 1 else f"about {format_duration(round(left_s))}"
        return Text(text, style="progress.remaining")
