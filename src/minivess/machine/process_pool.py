"""One function over many files in several processes, started afresh, or in this one where starting them would cost more."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from minivess.machine.host import read_host

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_A_PROCESS_BYTES = 100 * 2**20
"""Stored bytes that one process reads in about the time that it takes to start."""

PROCESS_BYTES = 256 * 2**20
"""Memory that one process may come to: the libraries that it imports, and a few blocks of voxels."""


def choose_processes(stored_bytes: int, items: int) -> int:
    """Processes for so much work: as many as processors, items and half of the free memory allow (a cgroup's where it has less)."""
    if stored_bytes < 2 * WORTH_A_PROCESS_BYTES:
        return 1
    host = read_host()
    room = host.ram_available_bytes // 2 // PROCESS_BYTES
    return max(1, min(host.cpu_count, items, room, stored_bytes // WORTH_A_PROCESS_BYTES))


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    processes: int,
    done: Callable[[Item], None],
) -> list[Result]:
    """The results in the order of the items.

    Should a process die, killed for memory or unable to import a script that lacks ``if __name__ == "__main__"``, what
    is missing is done in this process.

    Args:
        function: Importable by its name, as are items and results.
        items: Begun in this order.
        processes: With 1 everything is done in this process.
        done: Called with each item once it is finished, in any order.
    """
    results: dict[int, Result] = {}
    if processes > 1:
        # Spawned: a copy of a process with threads may hang on a lock that no thread of its own will give back.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(processes, len(items)), context, initializer=_belong_to_the_parent)
        try:
            futures: dict[Future[Result], int] = {pool.submit(function, item): k for k, item in enumerate(items)}
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                done(items[futures[future]])
        except BrokenProcessPool:
            pass
        finally:
            pool.shutdown(cancel_futures=True)
    for number, item in enumerate(items):
        if number not in results:
            results[number] = function(item)
            done(item)
    return [results[number] for number in range(len(items))]


def _belong_to_the_parent() -> None:
    """Ctrl-C is the parent's to answer; and where the parent was killed, nobody else would ever end this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of a pool has the one that began it"
    parent.join()
    os._exit(1)
