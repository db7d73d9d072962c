"""Prefect's ``flow`` and ``task`` if a Prefect server is available, otherwise plain functions. Prefect only shows a run.

Functions stay plain in three cases: ``PREFECT_DISABLED=1`` is set; ``PREFECT_API_URL`` is not set, because Prefect would
then start a temporary server, which takes 20 s and sometimes times out; or the server at that URL does not answer.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_CONNECT_TIMEOUT_S = 3.0


def _plain(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Replace ``flow`` and ``task``: return the function unchanged, called with or without options."""
    return functools.partial(_plain, **options) if function is None else function


def _plain_logger() -> logging.Logger:
    return logging.getLogger("minivess")


def _why_plain() -> str | None:
    """Return why Prefect does not show the run: "" if the user disabled it, None if a server listens."""
    url = os.environ.get("PREFECT_API_URL", "")
    if os.environ.get("PREFECT_DISABLED") == "1":
        return ""
    if not url:
        return "To watch runs in Prefect: start `just prefect-up`, then set the PREFECT_API_URL that it prints"
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        socket.create_connection((parts.hostname or "", port), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        return f"Prefect does not show this run; the run itself is not affected: no server at {url} ({error})"
    return None


WHY_PLAIN = _why_plain()
ENABLED = WHY_PLAIN is None

flow: Any = _plain
task: Any = _plain
get_run_logger: Callable[[], Any] = _plain_logger

if ENABLED:
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    # The run prints its own progress on the terminal.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # Do not wait long for a server that has gone; the default is 60 s per call.
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")
    import prefect
    from prefect.cache_policies import NO_CACHE

    # Prefect must not validate our arguments or store our results.
    flow = functools.partial(prefect.flow, validate_parameters=False, persist_result=False)
    task = functools.partial(prefect.task, cache_policy=NO_CACHE, persist_result=False)
    get_run_logger = prefect.get_run_logger
