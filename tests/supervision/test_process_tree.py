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
    """Pid and first printed line of a Python process that has run ``code`` and waits."""
    command = [sys.executable, "-c", f"{code}; import sys; sys.stdout.flush(); sys.stdin.read()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=new_session) as process:
        assert process.stdout is not None
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.kill()


class TestDescendants:
    def test_own_session_is_left_out(self) -> None:
        with running("print(1)") as (supervised, _), running("print(1)", new_session=False) as (tool, _):
            pids = {process.pid for process in descendants(os.getpid())}
        assert supervised in pids
        assert tool not in pids

    def test_grandchildren_are_found(self) -> None:
        spawn = "import subprocess; p = subprocess.Popen(['sleep', '60']); print(p.pid)"
        with running(spawn) as (_, line):
            grandchild = int(line)
            assert grandchild in {process.pid for process in descendants(os.getpid())}
            os.kill(grandchild, 9)


class TestSampleTree:
    def test_memory_is_told_apart(self) -> None:
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

    def test_zombie_is_gone(self) -> None:
        with running("print(1)") as (child, _):
            os.kill(child, 9)
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
            assert child not in sample_tree(os.getpid()).pids


class TestSampleSystem:
    def test_disk_is_the_folders(self, tmp_path: Path) -> None:
        stat, sample = os.statvfs(tmp_path), sample_system(tmp_path)
        assert sample.disk_free_bytes is not None
        assert abs(sample.disk_free_bytes - stat.f_bavail * stat.f_frsize) < 2**30
        assert sample.available_bytes > 0

    def test_a_disk_that_does_not_answer_hides_nothing_else(self, tmp_path: Path) -> None:
        sample = sample_system(tmp_path / "gone")
        assert sample.disk_free_bytes is None
        assert sample.available_bytes > 0


class TestOomKills:
    def test_count_does_not_fall(self) -> None:
        assert 0 <= count_oom_kills() <= count_oom_kills()
