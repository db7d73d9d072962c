from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def in_processes() -> str:
    """End of a script that defines ``work`` and ``arguments``: it calls ``work`` with each argument in its own process."""
    return """
import multiprocessing
processes = [multiprocessing.get_context("fork").Process(target=work, args=(argument,)) for argument in arguments]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(max(abs(process.exitcode) for process in processes))
"""
