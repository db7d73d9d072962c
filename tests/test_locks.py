from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minivess.errors import RunError
from minivess.locks import acquire, hold, is_held


class TestAcquire:
    def test_waits_for_another_holder_until_the_timeout(self, tmp_path: Path) -> None:
        with (tmp_path / ".lock").open("a") as one, (tmp_path / ".lock").open("a") as other:
            assert acquire(one.fileno(), tmp_path / ".lock")
            assert not acquire(other.fileno(), tmp_path / ".lock", 0.1)
            one.close()
            assert acquire(other.fileno(), tmp_path / ".lock", 0)

    def test_a_file_that_cannot_be_locked_is_a_run_error(self, tmp_path: Path) -> None:
        (tmp_path / ".lock").touch()
        only_a_path = os.open(tmp_path / ".lock", os.O_PATH)  # the kernel does not lock such a descriptor
        with pytest.raises(RunError, match=r"\.lock: "):
            acquire(only_a_path, tmp_path / ".lock")
        os.close(only_a_path)


class TestIsHeld:
    def test_only_while_a_process_holds_it(self, tmp_path: Path) -> None:
        lock = tmp_path / ".lock"
        assert not is_held(lock)
        with hold(lock):
            assert is_held(lock)
        assert not is_held(lock)

    def test_a_lock_that_cannot_be_looked_at_counts_as_held(self, tmp_path: Path) -> None:
        (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
        assert is_held(tmp_path / ".lock")


HOLD = "import sys, time; from pathlib import Path; from minivess.locks import hold\n"


class TestHold:
    def test_a_group_that_shares_the_folder_may_use_the_lock(self, tmp_path: Path) -> None:
        before = os.umask(0o002)
        try:
            with hold(tmp_path / ".lock"):
                assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664
        finally:
            os.umask(before)

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("data")
        (tmp_path / ".lock").symlink_to(tmp_path / "precious")
        with pytest.raises(RunError, match="link"), hold(tmp_path / ".lock"):
            pass
        assert (tmp_path / "precious").read_text() == "data"

    def test_a_running_process_keeps_others_out(self, tmp_path: Path) -> None:
        code = HOLD + "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(RunError, match=f"process {other.pid}"), hold(tmp_path / ".lock"):
                pass
            other.kill()

    def test_wait_waits_for_a_running_process(self, tmp_path: Path) -> None:
        code = HOLD + "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(1.5)"
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            start = time.monotonic()
            with hold(tmp_path / ".lock", wait=True):
                assert 0.5 < time.monotonic() - start < 10

    def test_a_dead_process_holds_nothing(self, tmp_path: Path) -> None:
        code = HOLD + "import os, signal\nwith hold(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=False)
        with hold(tmp_path / ".lock"):
            pass

    def test_waits_for_a_supervisor_that_outlives_its_run(self, tmp_path: Path) -> None:
        code = HOLD + (
            "import os, subprocess\n"
            "with hold(Path(sys.argv[1])) as lock:\n"
            "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1.5)'], pass_fds=(lock,))\n"
            "    os._exit(1)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=False)
        start = time.monotonic()
        with hold(tmp_path / ".lock"):
            assert 0.5 < time.monotonic() - start < 10
