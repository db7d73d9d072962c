"""Work in several processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from minivess.machine import process_pool
from minivess.machine.host import Host
from minivess.machine.process_pool import WORTH_A_PROCESS_BYTES, choose_processes, map_in_processes
from minivess.text import GIB


class TestChooseProcesses:
    def test_little_work_gets_one_process(self) -> None:
        assert choose_processes(WORTH_A_PROCESS_BYTES, 70) == 1
        assert choose_processes(100 * WORTH_A_PROCESS_BYTES, 1) == 1

    def test_never_more_processes_than_processors(self) -> None:
        assert 1 <= choose_processes(10**6 * WORTH_A_PROCESS_BYTES, 10**6) <= (os.cpu_count() or 1)

    def test_the_limits_of_a_container_are_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        container = Host(64, None, 2 * GIB, GIB, 0, 0)
        monkeypatch.setattr(process_pool, "read_host", lambda: container)
        assert choose_processes(10**6 * WORTH_A_PROCESS_BYTES, 10**6) == 2
        monkeypatch.setattr(
            process_pool, "read_host", lambda: replace(container, ram_available_bytes=64 * GIB, cpu_count=3)
        )
        assert choose_processes(10**6 * WORTH_A_PROCESS_BYTES, 10**6) == 3


class TestMapInProcesses:
    @pytest.mark.parametrize("processes", [1, 2])
    def test_results_are_in_order_and_each_item_is_reported(self, processes: int) -> None:
        done: list[int] = []
        assert map_in_processes(abs, [-3, 2, -1], processes, done.append) == [3, 2, 1]
        assert sorted(done) == [-3, -1, 2]

    def test_an_error_is_raised_in_the_parent(self) -> None:
        with pytest.raises(ValueError, match="invalid literal"):
            map_in_processes(int, ["1", "x"], 2, lambda item: None)

    def test_a_script_that_cannot_be_imported_still_gets_its_results(self, tmp_path: Path) -> None:
        # Without `if __name__ == "__main__"`, each new process would run the script again, which is an error.
        script = tmp_path / "unguarded.py"
        script.write_text(
            "from minivess.machine.process_pool import map_in_processes\n"
            "print(map_in_processes(abs, [-3, 2], 2, lambda item: None))\n"
        )
        done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
        assert done.stdout == "[3, 2]\n"

    def test_processes_end_when_their_parent_is_killed(self, tmp_path: Path) -> None:
        script = tmp_path / "killed.py"
        script.write_text(
            "import os, sys, time\n"
            "from pathlib import Path\n"
            "from minivess.machine.process_pool import map_in_processes\n"
            "def start(name):\n"
            "    Path(sys.path[0], f'{name}.{os.getpid()}').touch()\n"
            "    time.sleep(600)\n"
            "if __name__ == '__main__':\n"
            "    map_in_processes(start, ['a', 'b'], 2, lambda item: None)\n"
        )
        with subprocess.Popen([sys.executable, str(script)]) as parent:
            while len(started := [*tmp_path.glob("[ab].*")]) < 2:
                assert parent.poll() is None
                time.sleep(0.05)
            workers = [psutil.Process(int(path.suffix[1:])) for path in started]
            parent.kill()
        assert psutil.wait_procs(workers, timeout=30)[1] == []
