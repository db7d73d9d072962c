"""A run as a Prefect flow whose steps and cells are tasks; without Prefect the same functions, plain.

Prefect is a view: each piece of work is done exactly once and its own value or error comes back, whatever becomes of the
server. Trouble with the server is a note on stderr.
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
from minivess.supervision.outcome import Outcome

T = TypeVar("T")


class _ShownAsFailedError(Exception):
    """The work is done and its value is kept; Prefect is to show it in red."""


def as_flow(name: str, work: Callable[[], T]) -> T:
    """Do ``work`` as a flow run called ``name``; to be called from the main thread. SIGTERM is a KeyboardInterrupt there."""

    def interruptible() -> T:
        # Prefect makes an exception of its own of SIGTERM, which nothing above would know; it takes its handler back at the end.
        if ENABLED:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        return work()

    return _shown(flow(name="minivess", flow_run_name=_quoted(name)), interruptible, lambda value: None)


def as_task(name: str, work: Callable[[], T]) -> T:
    """Do one step of a flow."""
    return _shown(task(name=name, task_run_name=_quoted(name)), work, lambda value: None)


def as_cell(name: str, work: Callable[[], Outcome | None]) -> Outcome | None:
    """Run one cell of a flow; its outcome is in the task's log, and one that is not finished is shown as failed."""

    def judge(outcome: Outcome | None) -> str | None:
        if outcome is None:
            get_run_logger().info("was finished before")
            return None
        get_run_logger().info("%s: %s %s", outcome.status, outcome.message, outcome.cure)
        return None if outcome.status == "finished" else f"{outcome.status}: {outcome.message}"

    return _shown(task(name="cell", task_run_name=_quoted(name)), work, judge)


def show_results(name: str, table: str, page: Path) -> None:
    """Leave the comparison as a Markdown table, and where the report is, as artifacts of the flow run."""
    if ENABLED:
        from prefect.artifacts import create_link_artifact, create_markdown_artifact

        key = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
        try:
            create_markdown_artifact(table, key=f"{key}-comparison", description=f"Comparison of the losses of {name}")
            create_link_artifact(
                page.absolute().as_uri(), str(page), key=f"{key}-report", description=f"Report of {name}"
            )
        except Exception as trouble:
            _note(trouble)


def why_plain() -> str:
    """A line for people where no Prefect server shows the run; empty where one does, or where none is wanted."""
    return WHY_PLAIN or ""


def _shown(decorate: Any, work: Callable[[], T], judge: Callable[[T], str | None]) -> T:
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
    except BaseException as trouble:
        if not isinstance(trouble, Exception) and not kept.done():
            raise
        if not kept.done() or kept.exception() is not trouble:
            _note(trouble)
    return kept.result() if kept.done() else work()


def _quoted(name: str) -> str:
    """Prefect formats names of runs with their parameters."""
    return name.replace("{", "{{").replace("}", "}}")


def _note(trouble: BaseException) -> None:
    _say_once(f"{type(trouble).__name__}: {trouble}".splitlines()[0])


@cache
def _say_once(why: str) -> None:
    print(f"Prefect shows no more of this run, which loses nothing by it ({why})", file=sys.stderr)
