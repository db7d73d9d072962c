"""Settle what a killed run left in Prefect: its flow and task runs would stay "running" for ever."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from minivess.locks import is_held


def tag_of(folder: Path) -> str:
    """Return the tag that marks the flow runs of a run folder."""
    return f"minivess:{folder.absolute()}"


def settle_killed_runs(folder: Path) -> None:
    """Set the flow and task runs of a run folder to "crashed" if the server shows them as running although no process runs.

    A run that another process is working on is left alone: it holds the lock of the folder. An error of the server is a
    note on stderr.

    Args:
        folder: The run folder.
    """
    if is_held(folder / ".lock"):
        return
    try:
        _settle(tag_of(folder))
    except Exception as error:  # Prefect is only a view
        print(f"Prefect still shows a killed run as running ({type(error).__name__})", file=sys.stderr)


def _settle(tag: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, TaskRunFilter
    from prefect.client.schemas.objects import State
    from prefect.states import Crashed

    state: State[Any] = Crashed(message="the process of this run was killed")
    active = {"type": {"any_": ["RUNNING", "PENDING"]}}
    with get_client(sync_client=True) as client:
        mine = FlowRunFilter.model_validate({"tags": {"all_": [tag]}})
        open_tasks = TaskRunFilter.model_validate({"state": active})
        for run in client.read_flow_runs(flow_run_filter=mine):
            if run.state is None or run.state.is_final():
                continue
            one = FlowRunFilter.model_validate({"id": {"any_": [str(run.id)]}})
            for task in client.read_task_runs(flow_run_filter=one, task_run_filter=open_tasks):
                client.set_task_run_state(task.id, state, force=True)
            client.set_flow_run_state(run.id, state, force=True)
