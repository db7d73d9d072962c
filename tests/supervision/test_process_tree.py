from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivess.supervision.process_tree import count_oom_kills, descendants, sample_system, sample_tree

MB = 10**6


@contextmanager
def running(code: str, new_session: bool = True) -> Iterator[tuple[int, str]]:
    """Run ``code`` in a Python process that then waits; yield its pid and the first line that it prints."""
    command = [sys.executable, "-c", f"{code}; import sys; sys.stdout.flush(); sys.stdin.read()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=new_session) as process:
        assert process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.kill()


class TestDescendants:
    def test_process_in_the_own_session_is_left_out(self) -> None:
        with running("print(1)") as (supervised, _), running("print(1)", new_session=False) as (tool, _):
            pids, measured = {process.pid for process in descendants(os.getpid())}, sample_tree(os.getpid()).pids
        assert supervised in pids
        assert tool not in pids
        assert set(measured) == pids

    def test_grandchildren_are_found(self) -> None:
        spawn = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid)"
        with running(spawn) as (_, line):
            grandchild = int(line)
            assert grandchild in {process.pid for process in descendants(os.getpid())}
            assert grandchild in sample_tree(os.getpid()).pids
            os.kill(grandchild, 9)


class TestSampleTree:
    def test_anonymous_and_file_backed_memory_are_separated(self) -> None:
        before = sample_tree(os.getpid())
        with running("x = b'x' * 50_000_000; print(1)") as (child, _):
            sample = sample_tree(os.getpid())
        assert child in sample.pids
        assert 50 * MB < sample.anonymous_bytes - before.anonymous_bytes < 80 * MB
        assert sample.file_bytes > before.file_bytes
        assert sample.rss_bytes == sample.anonymous_bytes + sample.file_bytes
        assert sample.cpu_s > before.cpu_s

    def test_shared_memory_counts_as_anonymous(self) -> None:
        before = sample_tree(os.getpid())
        shared = "import mmap; x = mmap.mmap(-1, 50_000_000); x.write(b'x' * 50_000_000); print(1)"
        with running(shared):
            sample = sample_tree(os.getpid())
        assert sample.anonymous_bytes - before.anonymous_bytes > 50 * MB

    def test_zombie_does_not_count(self) -> None:
        with running("print(1)") as (child, _):
            os.kill(child, 9)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            assert child not in sample_tree(os.getpid()).pids


class TestSampleSystem:
    def test_free_space_is_that_of_the_disk_of_the_folder(self, tmp_path: Path) -> None:
        stat, sample = os.statvfs(tmp_path), sample_system(tmp_path)
        assert sample.disk_free_bytes is not None
        assert abs(sample.disk_free_bytes - stat.f_bavail * stat.f_frsize) < 2**30
        assert sample.available_bytes > 0

    def test_missing_disk_gives_none_and_the_rest_is_measured(self, tmp_path: Path) -> None:
        sample = sample_system(tmp_path / "gone")
        assert sample.disk_free_bytes is None
        assert sample.available_bytes > 0


class TestOomKills:
    def test_count_never_decreases(self) -> None:
        assert 0 <= count_oom_kills() <= count_oom_kills()
