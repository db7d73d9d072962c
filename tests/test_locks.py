from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minivess.errors import RunError
from minivess.locks import acquire, hold


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


HOLD = "import sys, time; from pathlib import Path; from minivess.experiments.lock import hold\n"


class TestHold:
    def test_a_living_run_keeps_others_out(self, tmp_path: Path) -> None:
        code = HOLD + "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            with pytest.raises(RunError, match=f"held by process {other.pid}"), hold(tmp_path / ".lock"):
                pass
            other.kill()

    def test_the_patient_wait_for_the_living(self, tmp_path: Path) -> None:
        code = HOLD + "with hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(1.5)"
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            began = time.monotonic()
            with hold(tmp_path / ".lock", wait=True):
                assert 0.5 < time.monotonic() - began < 10

    def test_a_dead_run_holds_nothing(self, tmp_path: Path) -> None:
        code = HOLD + "import os, signal\nwith hold(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=False)
        with hold(tmp_path / ".lock"):
            pass

    def test_a_supervisor_that_outlives_its_run_is_waited_for(self, tmp_path: Path) -> None:
        code = HOLD + (
            "import os, subprocess\n"
            "with hold(Path(sys.argv[1])) as lock:\n"
            "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1.5)'], pass_fds=(lock,))\n"
            "    os._exit(1)\n"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], check=False)
        began = time.monotonic()
        with hold(tmp_path / ".lock"):
            assert 0.5 < time.monotonic() - began < 10
