"""Apply one function to many items in several processes.

If starting processes would take longer than the work itself, the work is done in the current process.
"""

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
"""Number of stored bytes that one process reads in about the time that it needs to start."""

PROCESS_BYTES = 256 * 2**20
"""Memory that one process may use: the libraries that it imports, and a few blocks of voxels."""


def choose_processes(stored_bytes: int, items: int) -> int:
    """Choose the number of processes from the amount of work, the processors and half of the free memory.

    Limits of cgroups count as limits of the machine.

    Args:
        stored_bytes: Total size of the files to read.
        items: Number of items.
    """
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
    """Apply a function to every item, in several processes.

    If a process dies, the missing results are computed in the current process. A process may be killed because memory
    is short, or it may be unable to import a script that has no ``__main__`` guard.

    Args:
        function: A function that can be imported by its name. Items and results must be picklable.
        items: The items, in the order in which they are started.
        processes: Number of processes; with 1, all work is done in the current process.
        done: Called with each item when it is finished, in any order.

    Returns:
        The results in the order of the items.
    """
    results: dict[int, Result] = {}
    if processes > 1:
        # Spawn instead of fork: a forked copy of a process with threads may wait for a lock that no thread releases.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(min(processes, len(items)), context, initializer=_end_with_parent)
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


def _end_with_parent() -> None:
    """Ignore Ctrl-C, which the parent handles, and end when the parent ends, even if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait_for_parent_and_exit, daemon=True).start()


def _wait_for_parent_and_exit() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a process of the pool has a parent process"
    parent.join()
    os._exit(1)
