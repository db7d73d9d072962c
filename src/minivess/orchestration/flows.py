"""Show a run as a Prefect flow whose steps and cells are tasks; without Prefect the work runs as plain functions.

Prefect is only a view. Each piece of work is done exactly once, and its value or error is returned even if the server fails. A
failure of the server is a note on stderr.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from minivess.orchestration._prefect_compat import ENABLED, WHY_PLAIN, flow, get_run_logger, task
from minivess.orchestration.settle import settle_killed_runs, tag_of
from minivess.supervision.outcome import Outcome

T = TypeVar("T")


class _ShownAsFailedError(Exception):
    """Raised after the work is done and its value is kept, so that Prefect shows the task as failed."""


def as_flow(name: str, work: Callable[[], T], folder: Path | None = None) -> T:
    """Run ``work`` as a flow run called ``name``, in which SIGTERM raises KeyboardInterrupt; call it from the main thread.

    Args:
        name: Name of the flow run.
        work: The work.
        folder: The run folder. Flow runs of earlier processes that were killed in it are set to "crashed" first.
    """
    interrupt = signal.getsignal(signal.SIGTERM)

    def interruptible() -> T:
        # Prefect turns SIGTERM into its own exception, which the callers do not handle; it restores the handler at the end.
        if ENABLED:
            signal.signal(signal.SIGTERM, interrupt)
        return work()

    decorated = flow(name="minivess", flow_run_name=_quoted(name))
    if not ENABLED or folder is None:
        return _shown(decorated, interruptible, lambda value: None)
    from prefect import tags

    settle_killed_runs(folder)
    with tags(tag_of(folder)):
        return _shown(decorated, interruptible, lambda value: None)


def as_task(name: str, work: Callable[[], T]) -> T:
    """Run ``work`` as one step (a task) of the flow."""
    return _shown(task(name=name, task_run_name=_quoted(name)), work, lambda value: None)


def as_cell(name: str, work: Callable[[], Outcome | None]) -> Outcome | None:
    """Run one cell as a task of the flow. The task's log has the outcome; a cell that did not finish is shown as failed."""

    def judge(outcome: Outcome | None) -> str | None:
        if outcome is None:
            get_run_logger().info("is already finished")
            return None
        get_run_logger().info("%s: %s %s", outcome.status, outcome.message, outcome.cure)
        return None if outcome.status in ("finished", "paused") else f"{outcome.status}: {outcome.message}"

    return _shown(task(name="cell", task_run_name=_quoted(name)), work, judge)


def show_results(name: str, table: str, page: Path) -> None:
    """Store the comparison (a Markdown table) and a link to the report as artifacts of the flow run."""
    if ENABLED:
        from prefect.artifacts import create_link_artifact, create_markdown_artifact

        key = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
        try:
            create_markdown_artifact(table, key=f"{key}-comparison", description=f"Comparison of the losses of {name}")
            create_link_artifact(
                page.absolute().as_uri(), str(page), key=f"{key}-report", description=f"Report of {name}"
            )
        except Exception as error:
            _note(error)


def why_plain() -> str:
    """Return one line that says why Prefect does not show the run; "" if it does or if the user disabled it."""
    return WHY_PLAIN or ""


def _shown(decorate: Any, work: Callable[[], T], judge: Callable[[T], str | None]) -> T:
    """Run ``work`` once inside the decorator of Prefect and return its value, even if Prefect fails.

    Args:
        decorate: Prefect's ``flow`` or ``task``, with its options.
        work: The work.
        judge: Returns why Prefect should show the value as failed; None for success.
    """
    kept: Future[T] = Future()

    def once() -> None:
        try:
            kept.set_result(work())
        except BaseException as error:
            kept.set_exception(error)
            raise
        if fault := judge(kept.result()):
            raise _ShownAsFailedError(fault)

    try:
        decorate(once)()
    except _ShownAsFailedError:
        pass
    except BaseException as error:
        if not isinstance(error, Exception) and not kept.done():
            raise
        if not kept.done() or kept.exception() is not error:
            _note(error)
    return kept.result() if kept.done() else work()


def _quoted(name: str) -> str:
    """Escape braces, because Prefect formats the names of runs as templates."""
    return name.replace("{", "{{").replace("}", "}}")


def _note(error: BaseException) -> None:
    _print_once(f"{type(error).__name__}: {error}".splitlines()[0])


@cache
def _print_once(why: str) -> None:
    print(f"Prefect no longer shows this run; the run itself is not affected ({why})", file=sys.stderr)
