"""Prefect where it is wanted, plain functions where it is not; Prefect only shows a run, it never owns one.

Plain when ``PREFECT_DISABLED=1``, and also when no ``PREFECT_API_URL`` names a server: Prefect would then start a temporary
one, which takes 20 s and sometimes times out.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

DISABLED = os.environ.get("PREFECT_DISABLED") == "1"
ENABLED = not DISABLED and bool(os.environ.get("PREFECT_API_URL"))

if ENABLED:
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from prefect import flow, get_run_logger, task
else:

    def _plain(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Stand in for ``flow`` and ``task``, with or without options: the function as it is."""
        return functools.partial(_plain, **options) if function is None else function

    flow = task = _plain

    def get_run_logger() -> logging.Logger:
        """The plain logger where no Prefect run is active."""
        return logging.getLogger("minivess")


__all__ = ["DISABLED", "ENABLED", "flow", "get_run_logger", "task"]
