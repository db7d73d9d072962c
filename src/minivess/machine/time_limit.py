"""Wait for a call for a limited time, because a library that waits for a driver or a server cannot be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """Return the result of ``work``. After the limit it continues in a thread that ends with the process.

    Args:
        seconds: The limit.
        work: The call.

    Raises:
        TimeoutError: There is no result after ``seconds``.
        Exception: The error of ``work``.
    """
    done: Future[T] = Future()

    def answer() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=answer, daemon=True).start()
    try:
        return done.result(seconds)
    except TimeoutError as error:
        raise TimeoutError(str(error) or f"no answer within {seconds:g} s") from None
