"""The supervisor: start one child process, stop it before it harms the machine, and write how it ended.

Run as ``python -m minivess.worker supervisor SPEC.json``. Imports neither torch nor numpy.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from minivess.json_files import read_state
from minivess.machine.gpus import GpuReader
from minivess.supervision.child_process import (
    ASKING,
    end_descendants,
    signals_held,
    start_child,
    wake_at_end_of_parent,
)
from minivess.supervision.exit_codes import ExitCode
from minivess.supervision.gpu_watch import GpuWatch
from minivess.supervision.limits import Breach, Limits, Verdict, find_breach, find_warnings, next_wait_s
from minivess.supervision.outcome import OUTCOME_FILE, Cause, Outcome, cause_of, cure_for, status_of, write_outcome
from minivess.supervision.process_tree import count_oom_kills
from minivess.supervision.recorder import Recorder, Snapshot, now_iso
from minivess.text import format_bytes

LOG_FILE = "log.txt"
ORDER_FILE = "supervisor.json"
"""Name of the file in the cell folder that holds the `SupervisorSpec`."""
ORPHAN_GRACE_S = 0.3
"""Seconds that the child has to write a checkpoint after the process that started the supervisor has ended."""
GPU_SILENCE_S = 30.0
"""If the last GPU reading is older than this many seconds, the GPU driver counts as hung."""


@dataclass(frozen=True)
class SupervisorSpec:
    """What to run and within which limits.

    Attributes:
        argv: The command.
        folder: The cell folder, which must exist: it holds log, monitor CSV, heartbeat and outcome.
        limits: When to stop the command.
        environment: Variables to set for the child in addition to those of the supervisor. If CUDA_VISIBLE_DEVICES is
            among them, with the uuid or the index of one GPU, the memory of that GPU is watched.
        interval_s: Seconds between two rows of the monitor CSV.
        poll_s: Longest time in seconds between two checks of the limits, at most 1 s.
        grace_s: Seconds that the child has to write a checkpoint and exit after it was asked to stop.
    """

    argv: tuple[str, ...]
    folder: Path
    limits: Limits = field(default_factory=Limits)
    environment: dict[str, str] = field(default_factory=dict)
    interval_s: float = 10.0
    poll_s: float = 0.5
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        assert 0 < self.poll_s <= 1

    @classmethod
    def read(cls, path: Path) -> SupervisorSpec:
        """Read a spec from a JSON file.

        Raises:
            RunError: The file is damaged.
        """
        return read_state(path, cls, "delete it; the same command then writes it again")


def supervise(spec: SupervisorSpec, gpu_reader: GpuReader | None = None) -> Outcome:
    """Run the child until it ends, kill everything that it has left running, and write ``outcome.json``.

    Call it from the main thread of a process that has no other children in their own sessions: the kernel kills the
    child when that thread ends, and that process adopts the orphans of the child. SIGTERM, SIGINT and the end of the
    parent process ask the child to stop; a second SIGINT kills it. After the end of the parent the child has less time,
    so that nothing of a killed run lives longer than a second.

    Args:
        spec: What to run.
        gpu_reader: How to read GPU memory; by default NVML, then nvidia-smi, then not at all.

    Returns:
        How the child ended.
    """
    (spec.folder / OUTCOME_FILE).unlink(missing_ok=True)
    _note(spec.folder, f"start {shlex.join(spec.argv)}")
    with signals_held() as (held, mask):
        try:
            child = start_child(spec.argv, spec.folder / LOG_FILE, spec.environment, mask)
            with GpuWatch(spec.poll_s, gpu_reader, spec.environment.get("CUDA_VISIBLE_DEVICES")) as gpu:
                watch = _Watch(spec, child, gpu)
                returncode = watch.until_exit(held)
        finally:
            end_descendants()
        outcome = watch.outcome(returncode)
        if not spec.folder.is_dir():  # deleted; writing into it would make a part of it again
            return outcome
        try:
            write_outcome(spec.folder, outcome)
        except OSError as error:  # a full disk: the exit code still names the category
            print(f"could not write {spec.folder / OUTCOME_FILE}: {error}\n{outcome}", file=sys.stderr)
    return outcome


class _Watch:
    """State of one supervised child: snapshots, warnings, and the request to stop."""

    def __init__(self, spec: SupervisorSpec, child: subprocess.Popen[bytes], gpu: GpuWatch) -> None:
        self._spec, self._child, self._gpu = spec, child, gpu
        self._parent_pid, self._oom_kills = os.getppid(), count_oom_kills()
        self._started_iso, self._log_start_bytes = now_iso(), (spec.folder / LOG_FILE).stat().st_size
        self._recorder = Recorder(spec.folder, gpu, spec.interval_s, spec.limits.gpu_shared)
        self._last = self._recorder.take_snapshot()
        self._asked: Breach | None = None
        self._deadline_s = float("inf")
        self._killed = False
        self._interrupts = 0
        self._warnings: dict[str, str] = {}

    def until_exit(self, held: set[signal.Signals]) -> int:
        """Watch the child until it ends and return its return code. A signal in ``held`` ends a wait early."""
        while (returncode := self._child.poll()) is None:
            self._last = snapshot = self._recorder.take_snapshot()
            self._act_on(snapshot)
            limit_bytes, poll_s = self._spec.limits.memory_limit_bytes, self._spec.poll_s
            used_bytes, growth = snapshot.tree.anonymous_bytes, snapshot.growth_bytes_per_s
            until_kill_s = max(0.0, self._deadline_s - time.monotonic())
            self._wait_for_signal(held, min(next_wait_s(used_bytes, growth, limit_bytes, poll_s), until_kill_s))
        return returncode

    def outcome(self, returncode: int) -> Outcome:
        """Return how the child ended, given the return code of `until_exit`."""
        cause, message = self._conclude(returncode)
        peaks = self._recorder.peaks
        return Outcome(
            status=status_of(cause),
            cause=cause,
            message=message,
            cure=cure_for(cause),
            exit_code=returncode if returncode >= 0 else None,
            signal=-returncode if returncode < 0 else None,
            peak_rss_bytes=peaks.rss_bytes,
            peak_anonymous_bytes=peaks.anonymous_bytes,
            peak_gpu_bytes=peaks.gpu_bytes,
            swap_growth_bytes=peaks.swap_growth_bytes,
            started_iso=self._started_iso,
            ended_iso=now_iso(),
            duration_s=round(self._recorder.elapsed_s(), 3),
            warnings=tuple(self._warnings.values()),
        )

    def _act_on(self, snapshot: Snapshot) -> None:
        for key, text in find_warnings(snapshot, self._spec.limits):
            self._warn(key, text)
        if self._spec.limits.gpu_limit_bytes is not None:
            self._warn_if_gpu_unread()
        breach = find_breach(snapshot, self._spec.limits)
        if breach and breach.verdict is Verdict.KILL:
            self._kill(breach)
        elif breach:
            self._ask(breach)
        elif os.getppid() != self._parent_pid:
            self._ask(_interruption("the process that started the supervisor has ended"))
            self._deadline_s = min(self._deadline_s, time.monotonic() + ORPHAN_GRACE_S)
        if self._asked and time.monotonic() >= self._deadline_s:
            self._kill(self._asked)

    def _warn_if_gpu_unread(self) -> None:
        if self._gpu.trouble:
            self._warn_gpu_unread()
        elif time.monotonic() - self._gpu.read_at_s > GPU_SILENCE_S:
            self._warn("gpu hangs", f"the GPU driver gave no reading for {GPU_SILENCE_S:g} s")

    def _warn_gpu_unread(self) -> None:
        why = self._gpu.trouble or "the driver gives no reading for this cell alone"
        self._warn("gpu unseen", f"GPU memory could not be read and was not limited during that time: {why}")

    def _wait_for_signal(self, held: set[signal.Signals], wait_s: float) -> None:
        """Wait ``wait_s`` seconds, or less if a signal arrives because the child has ended or a stop is requested."""
        received = signal.sigtimedwait(held, wait_s)
        if received is None or received.si_signo not in ASKING:
            return
        asked = _interruption(f"asked to stop by {signal.Signals(received.si_signo).name}")
        self._ask(asked)
        self._interrupts += received.si_signo == signal.SIGINT
        if self._interrupts > 1:
            self._kill(asked)

    def _ask(self, breach: Breach) -> None:
        if self._asked:
            return
        self._asked, self._deadline_s = breach, time.monotonic() + self._spec.grace_s
        self._child.terminate()
        _note(self._spec.folder, f"asked the process to stop: {breach.message}")

    def _kill(self, breach: Breach) -> None:
        os.killpg(self._child.pid, signal.SIGKILL)
        if not self._killed:
            self._asked, self._killed = breach, True
            _note(self._spec.folder, f"killed the process: {breach.message}")

    def _warn(self, key: str, text: str) -> None:
        if key not in self._warnings:
            self._warnings[key] = text
            _note(self._spec.folder, f"warning: {text}")

    def _conclude(self, returncode: int) -> tuple[Cause, str]:
        limits = self._spec.limits
        if limits.gpu_limit_bytes is not None and self._recorder.peaks.gpu_bytes is None:
            self._warn_gpu_unread()
        asked, left = self._asked, returncode in {ExitCode.STOPPED, -signal.SIGTERM}
        if asked and (self._killed or left):
            return asked.cause, f"{asked.message}; " + (
                "the process was killed" if self._killed else "the process stopped when asked"
            )
        cause = cause_of(returncode)
        if cause is Cause.KILLED and count_oom_kills() > self._oom_kills:
            cause = Cause.KERNEL_OUT_OF_MEMORY
        if asked:
            self._warn("asked", f"the process was asked to stop but ended in another way: {asked.message}")
        return cause, self._describe(cause, returncode)

    def _describe(self, cause: Cause, returncode: int) -> str:
        how = _describe_returncode(returncode)
        if cause in {Cause.KILLED, Cause.KERNEL_OUT_OF_MEMORY}:
            tree, available = self._last.tree, format_bytes(self._last.system.available_bytes)
            held = f"{format_bytes(tree.rss_bytes)} ({format_bytes(tree.anonymous_bytes)} of it anonymous)"
            kernel = cause is Cause.KERNEL_OUT_OF_MEMORY
            sender = "sent by the kernel, which ran out of memory" if kernel else "sent by another process"
            last = f"the last snapshot shows that it held {held} and that the machine had {available} available"
            return f"{how}, {sender}; {last}"
        if cause in {Cause.FINISHED, Cause.PAUSED, Cause.INTERRUPTED}:
            return how
        return "\n".join([how, *_last_lines(self._spec.folder / LOG_FILE, self._log_start_bytes)])


def _interruption(message: str) -> Breach:
    return Breach(Cause.INTERRUPTED, message, Verdict.ASK)


def _describe_returncode(returncode: int) -> str:
    if returncode < 0:
        return f"ended by signal {-returncode} ({signal.strsignal(-returncode)})"
    name = f" ({ExitCode(returncode).name})" if returncode in set(ExitCode) else ""
    return f"ended with exit code {returncode}{name}"


def _last_lines(log: Path, from_bytes: int, count: int = 15, tail_bytes: int = 8192) -> list[str]:
    """Return the last non-empty lines that this attempt wrote to the log."""
    if not log.is_file():  # the folder was deleted
        return []
    with log.open("rb") as file:
        end_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(from_bytes, end_bytes - tail_bytes))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-count:]


def _note(folder: Path, text: str) -> None:
    """Append a line of the supervisor to the log of the child. A full disk must not end the supervision."""
    with contextlib.suppress(OSError), (folder / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(f"[supervisor {now_iso()}] {text}\n")


def main(spec: str) -> int:
    """Supervise what the JSON file ``spec`` describes.

    Returns:
        The exit code, which names the category of the outcome.
    """
    wake_at_end_of_parent()
    return supervise(SupervisorSpec.read(Path(spec))).supervisor_exit_code
