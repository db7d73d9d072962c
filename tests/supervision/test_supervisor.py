"""Tests of the supervisor with real child processes, started in the same way as the experiment runner starts it."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from minivess.errors import RunError
from minivess.json_files import to_plain, write_state
from minivess.machine.host import read_host
from minivess.supervision.exit_codes import ExitCode
from minivess.supervision.limits import Limits
from minivess.supervision.outcome import Cause, Outcome, read_outcome
from minivess.supervision.recorder import MonitorRow
from minivess.supervision.supervisor import SupervisorSpec

MB = 10**6
STOPS_WHEN_ASKED = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
"""
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
)


def write_spec(folder: Path, code: str, limits: Limits | None = None, **options: Any) -> Path:
    options = {"poll_s": 0.05, "interval_s": 0.2, "grace_s": 5.0} | options
    spec = SupervisorSpec((sys.executable, "-c", code), folder, limits or Limits(), **options)
    path = folder / "spec.json"
    write_state(path, spec)
    return path


def start(folder: Path, code: str, limits: Limits | None = None, **options: Any) -> subprocess.Popen[bytes]:
    path = write_spec(folder, code, limits, **options)
    return subprocess.Popen([sys.executable, "-m", "minivess.worker", "supervisor", str(path)])


def run(folder: Path, code: str, limits: Limits | None = None, **options: Any) -> Outcome:
    start(folder, code, limits, **options).wait(timeout=30)
    return read_outcome(folder)


def run_in_script(folder: Path, code: str, limits: Limits, reader: str = "None", **options: Any) -> tuple[Outcome, int]:
    """Run with a GPU reader of this module; return the outcome and the child's peak resident memory from the kernel."""
    script = f"""
import resource, sys, time
from pathlib import Path
from minivess.supervision import supervisor
from minivess.machine.gpus import GpuUse
from minivess.supervision.supervisor import SupervisorSpec, supervise
class Rising:
    used_bytes = 0
    def uses(self):
        self.used_bytes += 100
        return [GpuUse(self.used_bytes, {{}})]
class Broken:
    def __init__(self, from_reading=1):
        self.readings, self.from_reading = 0, from_reading
    def uses(self):
        self.readings += 1
        if self.readings >= self.from_reading:
            raise OSError("driver gone")
        return [GpuUse(0, {{}})]
class Frozen:
    def uses(self):
        time.sleep(60)
class Two:
    other_bytes = 0
    def uses(self):
        self.other_bytes += 1000
        return [GpuUse(7, {{}}, 0, "GPU-mine"), GpuUse(self.other_bytes, {{}}, 1, "GPU-other")]
supervisor.GPU_SILENCE_S = 0.2
supervise(SupervisorSpec.read(Path(sys.argv[1])), {reader})
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
"""
    command = [sys.executable, "-c", script, str(write_spec(folder, code, limits, **options))]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30)
    return read_outcome(folder), int(answer.stdout)


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition is still false after {seconds} s"
        time.sleep(0.02)


def wait_ready(folder: Path) -> None:
    log = folder / "log.txt"
    wait_until(lambda: log.exists() and "\nready" in log.read_text())


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def child_of(supervisor: subprocess.Popen[bytes]) -> int:
    return psutil.Process(supervisor.pid).children()[0].pid


class TestMemoryLimit:
    LIMITS = Limits(memory_limit_bytes=300 * MB)

    def test_leak_in_steps_ends_below_limit(self, tmp_path: Path) -> None:
        leak = "import time\nheld = []\nwhile True: held.append(b'x' * 10_000_000); time.sleep(0.03)"
        outcome, peak_bytes = run_in_script(tmp_path, leak, self.LIMITS)
        assert outcome.cause is Cause.MEMORY_LIMIT
        assert outcome.status == "failed"
        assert 200 * MB < outcome.peak_anonymous_bytes < 300 * MB
        assert peak_bytes < 300 * MB

    def test_fast_allocation_ends_below_limit(self, tmp_path: Path) -> None:
        outcome, peak_bytes = run_in_script(tmp_path, "import time; time.sleep(.5); x = b'x' * 2**31", self.LIMITS)
        assert outcome.cause is Cause.MEMORY_LIMIT
        assert outcome.signal == signal.SIGKILL
        assert peak_bytes < 300 * MB

    def test_child_that_stops_when_asked_exits_at_the_soft_threshold(self, tmp_path: Path) -> None:
        grow = (
            STOPS_WHEN_ASKED
            + "held = [b'x' * 200_000_000]\nwhile True: held.append(b'x' * 5_000_000); time.sleep(0.03)"
        )
        supervisor = start(tmp_path, grow, Limits(memory_limit_bytes=500 * MB))
        assert supervisor.wait(timeout=30) == ExitCode.HOST_OUT_OF_MEMORY
        outcome = read_outcome(tmp_path)
        assert (outcome.cause, outcome.exit_code, outcome.signal) == (Cause.MEMORY_LIMIT, ExitCode.STOPPED, None)
        assert outcome.peak_anonymous_bytes > 0.92 * 500 * MB

    def test_memory_of_all_processes_is_summed(self, tmp_path: Path) -> None:
        half = "import time; held = b'x' * 160_000_000; time.sleep(60)"
        two = f"import subprocess, sys\nfor _ in '12': p = subprocess.Popen([sys.executable, '-c', {half!r}])\np.wait()"
        assert run(tmp_path, two, self.LIMITS).cause is Cause.MEMORY_LIMIT

    def test_73_forks_that_grow_at_the_same_time_end_below_limit(self, tmp_path: Path) -> None:
        written = tmp_path / "written"  # one byte for each megabyte
        grow = f"""
import os, time
gate, opener = os.pipe()
counter = os.open({str(written)!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for _ in range(73):
    if os.fork() == 0:
        os.close(opener)
        os.read(gate, 1)
        held = []
        for _ in range(16):
            held.append(b"x" * {MB})
            os.write(counter, b".")
        time.sleep(60)
time.sleep(1)
os.close(opener)
time.sleep(60)
"""
        outcome = run(tmp_path, grow, Limits(memory_limit_bytes=1000 * MB), poll_s=0.5)
        assert outcome.cause is Cause.MEMORY_LIMIT
        assert 0 < written.stat().st_size < 1000

    def test_files_in_shared_memory_count_for_the_machine(self, tmp_path: Path) -> None:
        available = read_host().ram_available_bytes
        if available < 4 * 2**30 or psutil.disk_usage("/dev/shm").free < 2**31:
            pytest.skip("needs 4 GiB of memory and 2 GiB in /dev/shm")
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
            fill = f"with open({file.name!r}, 'wb') as file:\n while file.tell() < 2**31: file.write(b'x' * {MB})"
            limits = Limits(memory_limit_bytes=200 * MB, available_min_bytes=available - 2**29)
            assert run(tmp_path, fill, limits).cause is Cause.SYSTEM_MEMORY_LOW

    def test_mapped_file_does_not_count(self, tmp_path: Path) -> None:
        libraries = Path(sysconfig.get_path("purelib"), "torch", "lib").glob("*.so*")
        big = max(libraries, key=lambda path: path.stat().st_size)
        touch = f"""
import mmap, time
file = open({str(big)!r}, "rb")
data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
touched = sum(data[i] for i in range(0, len(data), 4096))
time.sleep(0.3)
"""
        outcome = run(tmp_path, touch, Limits(memory_limit_bytes=big.stat().st_size // 2))
        assert outcome.cause is Cause.FINISHED
        assert outcome.peak_rss_bytes > big.stat().st_size
        assert outcome.peak_anonymous_bytes < 50 * MB


class TestOtherLimits:
    def test_machine_short_of_memory_kills(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, IGNORES_SIGTERM, Limits(available_min_bytes=2**60))
        assert (outcome.cause, outcome.signal) == (Cause.SYSTEM_MEMORY_LOW, signal.SIGKILL)

    def test_full_disk_asks_the_child_to_stop(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, "import time; time.sleep(60)", Limits(disk_free_min_bytes=2**60))
        assert (outcome.cause, outcome.signal) == (Cause.DISK_FULL, signal.SIGTERM)

    def test_gpu_limit_from_the_readings(self, tmp_path: Path) -> None:
        limits = Limits(gpu_warn_bytes=250, gpu_limit_bytes=1000)
        outcome, _ = run_in_script(tmp_path, "import time; time.sleep(60)", limits, "Rising()")
        assert outcome.cause is Cause.GPU_MEMORY_LIMIT
        assert (outcome.peak_gpu_bytes or 0) >= 1000
        assert outcome.supervisor_exit_code == ExitCode.CUDA_OUT_OF_MEMORY
        assert any("250" in warning for warning in outcome.warnings)

    def test_unreadable_gpu_gives_a_warning(self, tmp_path: Path) -> None:
        outcome, _ = run_in_script(tmp_path, "", Limits(gpu_limit_bytes=1000), "Broken()")
        assert outcome.cause is Cause.FINISHED
        (warning,) = outcome.warnings
        assert "OSError: driver gone" in warning

    def test_gpu_lost_during_the_run_gives_a_warning_immediately(self, tmp_path: Path) -> None:
        until_logged = f"""
import pathlib, time
while pathlib.Path({str(tmp_path / "log.txt")!r}).read_text().count("driver gone") < 2:  # these lines are logged too
    time.sleep(0.02)
"""
        outcome, _ = run_in_script(tmp_path, until_logged, Limits(gpu_limit_bytes=1000), "Broken(from_reading=4)")
        assert (outcome.cause, outcome.peak_gpu_bytes) == (Cause.FINISHED, 0)
        (warning,) = outcome.warnings
        assert "OSError: driver gone" in warning

    def test_gpu_driver_that_hangs_from_the_start_gives_a_warning(self, tmp_path: Path) -> None:
        outcome, _ = run_in_script(tmp_path, "import time; time.sleep(.5)", Limits(gpu_limit_bytes=1000), "Frozen()")
        assert any("0.2 s" in warning for warning in outcome.warnings)

    def test_unreadable_gpu_without_a_gpu_limit_gives_no_warning(self, tmp_path: Path) -> None:
        outcome, _ = run_in_script(tmp_path, "import time; time.sleep(.3)", Limits(), "Broken()")
        assert outcome.warnings == ()

    def test_memory_on_another_gpu_does_not_count(self, tmp_path: Path) -> None:
        sleep, limits = "import time; time.sleep(.5)", Limits(gpu_limit_bytes=1000)
        environment = {"CUDA_VISIBLE_DEVICES": "GPU-mine"}
        outcome, _ = run_in_script(tmp_path, sleep, limits, "Two()", environment=environment)
        assert (outcome.cause, outcome.peak_gpu_bytes, outcome.warnings) == (Cause.FINISHED, 0, ())

    def test_no_heartbeat_is_a_hang(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, IGNORES_SIGTERM, Limits(hang_s=0.4), grace_s=0.2)
        assert (outcome.cause, outcome.signal) == (Cause.HANG, signal.SIGKILL)

    def test_regular_heartbeat_is_no_hang(self, tmp_path: Path) -> None:
        heartbeat = tmp_path / "heartbeat"
        beat = f"import pathlib, time\nfor _ in range(10): pathlib.Path({str(heartbeat)!r}).touch(); time.sleep(0.1)"
        assert run(tmp_path, beat, Limits(hang_s=0.6)).cause is Cause.FINISHED

    def test_time_in_which_the_child_is_stopped_is_no_hang(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, STOPS_WHEN_ASKED + "time.sleep(0.5)", Limits(hang_s=3.0))
        wait_ready(tmp_path)
        child = child_of(supervisor)
        os.kill(child, signal.SIGSTOP)
        time.sleep(3.5)
        os.kill(child, signal.SIGCONT)
        supervisor.wait(timeout=30)
        assert read_outcome(tmp_path).cause is Cause.FINISHED

    def test_time_in_which_the_supervisor_is_stopped_is_no_hang(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, STOPS_WHEN_ASKED + "time.sleep(4)", Limits(hang_s=3.0))
        wait_ready(tmp_path)
        supervisor.send_signal(signal.SIGSTOP)
        time.sleep(3.2)
        supervisor.send_signal(signal.SIGCONT)
        supervisor.wait(timeout=30)
        assert read_outcome(tmp_path).cause is Cause.FINISHED


class TestStopping:
    def test_sigterm_asks_the_child_to_stop(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, STOPS_WHEN_ASKED + "time.sleep(60)")
        wait_ready(tmp_path)
        supervisor.terminate()
        assert supervisor.wait(timeout=10) == ExitCode.STOPPED
        outcome = read_outcome(tmp_path)
        assert (outcome.status, outcome.cause, outcome.exit_code) == ("stopped", Cause.INTERRUPTED, ExitCode.STOPPED)

    def test_child_that_ignores_sigterm_is_killed_after_the_grace_time(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, IGNORES_SIGTERM, grace_s=0.3)
        wait_ready(tmp_path)
        child = child_of(supervisor)
        supervisor.terminate()
        supervisor.wait(timeout=10)
        assert is_gone(child)
        assert read_outcome(tmp_path).signal == signal.SIGKILL

    def test_second_interrupt_kills_immediately(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, IGNORES_SIGTERM, grace_s=60)
        wait_ready(tmp_path)
        supervisor.send_signal(signal.SIGINT)
        wait_until(lambda: "SIGINT" in (tmp_path / "log.txt").read_text())
        assert supervisor.poll() is None
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(timeout=5) == ExitCode.STOPPED

    def test_child_that_finishes_after_the_request_to_stop_gives_a_warning(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, STOPS_WHEN_ASKED.replace("75", "0") + "time.sleep(60)")
        wait_ready(tmp_path)
        supervisor.terminate()
        assert supervisor.wait(timeout=10) == ExitCode.FINISHED
        assert "SIGTERM" in read_outcome(tmp_path).warnings[0]


class TestNoProcessSurvives:
    def test_child_dies_with_killed_supervisor(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, IGNORES_SIGTERM)
        wait_ready(tmp_path)
        child = child_of(supervisor)
        supervisor.kill()
        supervisor.wait()
        wait_until(lambda: is_gone(child), 2)
        assert not (tmp_path / "outcome.json").exists()

    def test_supervisor_stops_when_its_parent_dies(self, tmp_path: Path) -> None:
        path = write_spec(tmp_path, STOPS_WHEN_ASKED + "time.sleep(60)")
        command = [sys.executable, "-m", "minivess.worker", "supervisor", str(path)]
        parent = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.Popen({command}).wait()"])
        wait_ready(tmp_path)
        parent.kill()
        parent.wait()
        wait_until((tmp_path / "outcome.json").exists)
        outcome = read_outcome(tmp_path)
        assert (outcome.cause, outcome.exit_code) == (Cause.INTERRUPTED, ExitCode.STOPPED)

    @pytest.mark.parametrize("session", [False, True])
    def test_grandchildren_are_killed(self, tmp_path: Path, session: bool) -> None:
        spawn = f"p = subprocess.Popen(['sleep', '60'], start_new_session={session}); print(p.pid)"
        orphan = f"subprocess.run([sys.executable, '-c', {'import subprocess; ' + spawn!r}])"
        run(tmp_path, f"import subprocess, sys; {spawn}; sys.stdout.flush(); {orphan}")
        pids = [int(line) for line in (tmp_path / "log.txt").read_text().splitlines() if line.isdigit()]
        assert len(pids) == 2
        assert all(is_gone(pid) for pid in pids)

    def test_child_has_a_high_oom_score(self, tmp_path: Path) -> None:
        run(tmp_path, "import time; time.sleep(0.2); print(open('/proc/self/oom_score_adj').read())")
        assert "\n800\n" in (tmp_path / "log.txt").read_text()


class TestCauses:
    @pytest.mark.parametrize(
        ("code", "cause"),
        [
            (ExitCode.INTERNAL_ERROR, Cause.ERROR),
            (ExitCode.CUDA_OUT_OF_MEMORY, Cause.CUDA_OUT_OF_MEMORY),
            (ExitCode.NAN_LOSS, Cause.NAN_LOSS),
            (ExitCode.DISK_FULL, Cause.DISK_FULL),
            (ExitCode.HOST_OUT_OF_MEMORY, Cause.HOST_OUT_OF_MEMORY),
        ],
    )
    def test_exit_code_gives_the_cause_and_is_passed_on(self, tmp_path: Path, code: ExitCode, cause: Cause) -> None:
        supervisor = start(tmp_path, f"raise SystemExit({int(code)})")
        assert supervisor.wait(timeout=10) == code
        outcome = read_outcome(tmp_path)
        assert (outcome.status, outcome.cause, outcome.exit_code) == ("failed", cause, code)
        assert code.name in outcome.message

    def test_message_has_the_traceback_of_the_last_attempt_only(self, tmp_path: Path) -> None:
        run(tmp_path, "print(1 / 0)")
        outcome = run(tmp_path, "raise ValueError('boom')")
        assert outcome.cause is Cause.ERROR
        assert outcome.message.endswith("ValueError: boom")
        assert "ZeroDivisionError" not in outcome.message

    def test_kill_from_outside(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, "import os, time; time.sleep(0.3); os.kill(os.getpid(), 9)")
        assert (outcome.cause, outcome.signal) == (Cause.KILLED, signal.SIGKILL)
        assert len(re.findall(r"[\d.]+ [MG]iB", outcome.message)) == 3  # resident, anonymous, available

    def test_crash(self, tmp_path: Path) -> None:
        outcome = run(tmp_path, "import os; os.abort()")
        assert (outcome.cause, outcome.signal) == (Cause.ERROR, signal.SIGABRT)


class TestFiles:
    def test_one_row_per_interval_under_one_header(self, tmp_path: Path) -> None:
        attempts = [run(tmp_path, "import time; time.sleep(0.9)", interval_s=0.2) for _ in range(2)]
        with (tmp_path / "monitor.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert tuple(rows[0]) == MonitorRow._fields
        assert len(rows) == pytest.approx(sum(1 + attempt.duration_s // 0.2 for attempt in attempts), abs=2)
        assert [row["elapsed_s"] < "0.1" for row in rows].count(True) == 2
        assert all(int(row["processes"]) == 1 and row["gpu_tree_bytes"] == "" for row in rows[1:4])

    def test_unwritable_outcome_keeps_the_exit_code(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, f"import os; os.mkdir({str(tmp_path / 'outcome.json')!r}); raise SystemExit(72)")
        assert supervisor.wait(timeout=10) == ExitCode.NAN_LOSS

    def test_environment_reaches_the_child(self, tmp_path: Path) -> None:
        run(tmp_path, "import os; print(os.environ['CELL'])", environment={"CELL": "dice_ce fold 0"})
        assert "\ndice_ce fold 0\n" in (tmp_path / "log.txt").read_text()

    def test_old_outcome_is_removed_at_the_start_and_no_temporary_file_remains(self, tmp_path: Path) -> None:
        run(tmp_path, "")
        supervisor = start(tmp_path, STOPS_WHEN_ASKED + "time.sleep(60)")
        wait_until(lambda: (tmp_path / "log.txt").read_text().count("ready\n") == 1)
        assert not (tmp_path / "outcome.json").exists()
        supervisor.terminate()
        supervisor.wait(timeout=10)
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"spec.json", "log.txt", "monitor.csv", "outcome.json"}


class TestSupervisorProcess:
    def test_uses_little_memory(self, tmp_path: Path) -> None:
        supervisor = start(tmp_path, STOPS_WHEN_ASKED + "time.sleep(60)", poll_s=0.01)
        wait_ready(tmp_path)
        time.sleep(0.3)
        rss_bytes = psutil.Process(supervisor.pid).memory_info().rss
        supervisor.terminate()
        supervisor.wait(timeout=10)
        assert rss_bytes < 60 * MB

    def test_signals_reach_the_child_unblocked(self, tmp_path: Path) -> None:
        run(tmp_path, "print(open('/proc/self/status').read())")
        (mask,) = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("SigBlk")]
        assert int(mask.split()[1], 16) == 0

    def test_spec_round_trip(self, tmp_path: Path) -> None:
        spec = SupervisorSpec(("a", "b c"), tmp_path, Limits(hang_s=60.0), {"A": "1"}, 1.0, 0.25, 2.0)
        write_state(tmp_path / "spec.json", spec)
        assert SupervisorSpec.read(tmp_path / "spec.json") == spec
        write_state(tmp_path / "spec.json", to_plain(spec) | {"colour": "red"})
        with pytest.raises(RunError, match="colour"):
            SupervisorSpec.read(tmp_path / "spec.json")
