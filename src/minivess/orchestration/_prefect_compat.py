"""Prefect where it is wanted, plain functions where it is not; Prefect only shows a run, it never owns one.

Plain when ``PREFECT_DISABLED=1``, and also when no ``PREFECT_API_URL`` names a server: Prefect would then start a temporary
one, which takes 20 s and sometimes times out. Plain, too, when the server that is named does not answer.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_ANSWER_S = 3.0


def _plain(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Stands in for ``flow`` and ``task``, with or without options: the function as it is."""
    return functools.partial(_plain, **options) if function is None else function


def _plain_logger() -> logging.Logger:
    return logging.getLogger("minivess")


def _why_plain() -> str | None:
    """Why nothing is shown, for people (empty where they asked for that); None where a server listens."""
    url = os.environ.get("PREFECT_API_URL", "")
    if os.environ.get("PREFECT_DISABLED") == "1":
        return ""
    if not url:
        return "Prefect's view of runs: `just prefect-up`, then set the PREFECT_API_URL that it prints"
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        socket.create_connection((parts.hostname or "", port), timeout=_ANSWER_S).close()
    except (OSError, ValueError) as error:
        return f"Prefect shows nothing of this run, which loses nothing by it: no server at {url} ({error})"
    return None


WHY_PLAIN = _why_plain()
ENABLED = WHY_PLAIN is None

flow: Any = _plain
task: Any = _plain
get_run_logger: Callable[[], Any] = _plain_logger

if ENABLED:
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # The run has a view of its own on the terminal.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # Once the server is gone nothing is gained by waiting for it; the default is 60 s a call.
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")
    import prefect
    from prefect.cache_policies import NO_CACHE

    # There is nothing in our arguments and results that Prefect should inspect or keep.
    flow = functools.partial(prefect.flow, validate_parameters=False, persist_result=False)
    task = functools.partial(prefect.task, cache_policy=NO_CACHE, persist_result=False)
    get_run_logger = prefect.get_run_logger
