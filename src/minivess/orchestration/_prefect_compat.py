"""Prefect where it is wanted, plain functions where it is not; Prefect only shows a run, it never owns one.

Plain when ``PREFECT_DISABLED=1``, and also when no ``PREFECT_API_URL`` names a server: Prefect would then start a temporary
one, which takes 20 s and sometimes times out.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any

ENABLED = os.environ.get("PREFECT_DISABLED") != "1" and bool(os.environ.get("PREFECT_API_URL"))


def _plain(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Stands in for ``flow`` and ``task``, with or without options: the function as it is."""
    return functools.partial(_plain, **options) if function is None else function


def _plain_logger() -> logging.Logger:
    return logging.getLogger("minivess")


flow: Any = _plain
task: Any = _plain
get_run_logger: Callable[[], Any] = _plain_logger

if ENABLED:
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    import prefect

    flow, task, get_run_logger = prefect.flow, prefect.task, prefect.get_run_logger
