"""Locks on open files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minivess.errors import RunError
from minivess.flock import acquire


class TestAcquire:
    def test_another_holder_is_waited_for_so_long_and_no_longer(self, tmp_path: Path) -> None:
        with (tmp_path / ".lock").open("a") as one, (tmp_path / ".lock").open("a") as other:
            assert acquire(one.fileno(), tmp_path / ".lock")
            assert not acquire(other.fileno(), tmp_path / ".lock", 0.1)
            one.close()
            assert acquire(other.fileno(), tmp_path / ".lock", 0)

    def test_a_file_that_cannot_be_locked_is_an_error_for_people(self, tmp_path: Path) -> None:
        (tmp_path / ".lock").touch()
        only_a_path = os.open(tmp_path / ".lock", os.O_PATH)  # which the kernel refuses to lock
        with pytest.raises(RunError, match=r"a disk that locks files; got .*\.lock: "):
            acquire(only_a_path, tmp_path / ".lock")
        os.close(only_a_path)
