"""The process that can never let training take the desktop down: starts one child, watches it, says how it ended.

Run as ``python -m minivess.supervision.supervisor SPEC.json``. Imports neither torch nor numpy.
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
from minivess.supervision.child_process import ASKING, end_descendants, signals_held, start_child
from minivess.supervision.exit_codes import ExitCode
from minivess.supervision.gpu_watch import GpuWatch
from minivess.supervision.limits import Breach, Limits, Verdict, find_breach, find_warnings, next_wait_s
from minivess.supervision.outcome import OUTCOME_FILE, Cause, Outcome, cause_of, cure_for, status_of, write_outcome
from minivess.supervision.process_tree import count_oom_kills
from minivess.supervision.recorder import Recorder, Snapshot, now_iso
from minivess.text import format_bytes

LOG_FILE = "log.txt"
ORDER_FILE = "supervisor.json"
"""In the cell folder: what the supervisor was told."""
GPU_SILENCE_S = 30.0
"""A GPU reading older than this is a hung driver."""


@dataclass(frozen=True)
class SupervisorSpec:
    """What to run and within which limits.

    Attributes:
        argv: The command.
        folder: The cell folder, which exists: log, monitor CSV, heartbeat and outcome are in it.
        limits: When to stop it.
        environment: Variables set for the child on top of the supervisor's own. A CUDA_VISIBLE_DEVICES among them, with
            the uuid or the index of one card, is the card whose memory is watched.
        interval_s: Time between two rows of the monitor CSV.
        poll_s: Longest time between two checks of the limits, at most 1 s.
        grace_s: Time that the child has to write a checkpoint and leave when asked.
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
        """Read a spec from a JSON file; raises RunError if it is damaged."""
        return read_state(path, cls, "delete it; the same command writes it again")


def supervise(spec: SupervisorSpec, gpu_reader: GpuReader | None = None) -> Outcome:
    """Run the child to its end and write ``outcome.json``; nothing that it started outlives it.

    To be called from the main thread of a process that has no other children in sessions of their own: the child
    dies with that thread, and its orphans are adopted by that process. SIGTERM, SIGHUP and SIGINT, and the end of
    the parent, ask the child to stop; a second SIGINT kills it.

    Args:
        spec: What to run.
        gpu_reader: How to read GPU memory; by default NVML, then nvidia-smi, then not at all.
    """
    (spec.folder / OUTCOME_FILE).unlink(missing_ok=True)
    _note(spec.folder, f"starts {shlex.join(spec.argv)}")
    with signals_held() as (held, mask):
        try:
            child = start_child(spec.argv, spec.folder / LOG_FILE, spec.environment, mask)
            with GpuWatch(spec.poll_s, gpu_reader, spec.environment.get("CUDA_VISIBLE_DEVICES")) as gpu:
                watch = _Watch(spec, child, gpu)
                returncode = watch.until_exit(held)
        finally:
            end_descendants()
        outcome = watch.outcome(returncode)
        try:
            write_outcome(spec.folder, outcome)
        except OSError as error:  # a full disk: the exit code still tells the category
            print(f"could not write {spec.folder / OUTCOME_FILE}: {error}\n{outcome}", file=sys.stderr)
    return outcome


class _Watch:
    """One child under watch, and what was asked of it."""

    def __init__(self, spec: SupervisorSpec, child: subprocess.Popen[bytes], gpu: GpuWatch) -> None:
        self._spec, self._child, self._gpu = spec, child, gpu
        self._parent_pid, self._oom_kills = os.getppid(), count_oom_kills()
        self._started_iso, self._log_start_bytes = now_iso(), (spec.folder / LOG_FILE).stat().st_size
        self._recorder = Recorder(spec.folder, gpu, spec.interval_s, spec.limits.gpu_shared)
        self._last = self._recorder.look()
        self._asked: Breach | None = None
        self._deadline_s = float("inf")
        self._killed = False
        self._interrupts = 0
        self._warnings: dict[str, str] = {}

    def until_exit(self, held: set[signal.Signals]) -> int:
        """Watch until the child has ended; its return code. ``held`` are the signals that wake the watch."""
        while (returncode := self._child.poll()) is None:
            self._last = look = self._recorder.look()
            self._act_on(look)
            limit_bytes, poll_s = self._spec.limits.memory_limit_bytes, self._spec.poll_s
            self._listen(held, next_wait_s(look.tree.anonymous_bytes, look.growth_bytes_per_s, limit_bytes, poll_s))
        return returncode

    def outcome(self, returncode: int) -> Outcome:
        """What became of it, given the return code of `until_exit`."""
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

    def _act_on(self, look: Snapshot) -> None:
        for about, text in find_warnings(look, self._spec.limits):
            self._warn(about, text)
        if self._spec.limits.gpu_limit_bytes is not None:
            self._warn_of_blindness()
        breach = find_breach(look, self._spec.limits)
        if breach and breach.verdict is Verdict.KILL:
            self._kill(breach)
        elif breach:
            self._ask(breach)
        elif os.getppid() != self._parent_pid:
            self._ask(_interruption("the process that started the supervisor has ended"))
        if self._asked and time.monotonic() >= self._deadline_s:
            self._kill(self._asked)

    def _warn_of_blindness(self) -> None:
        if self._gpu.trouble:
            self._warn_unseen()
        elif time.monotonic() - self._gpu.read_at_s > GPU_SILENCE_S:
            self._warn("gpu hangs", f"the graphics driver gave no reading for {GPU_SILENCE_S:g} s")

    def _warn_unseen(self) -> None:
        why = self._gpu.trouble or "no reading of this cell by itself"
        self._warn("gpu unseen", f"GPU memory could not be read, and was not watched meanwhile: {why}")

    def _listen(self, held: set[signal.Signals], wait_s: float) -> None:
        """Wait for ``wait_s``, or until a signal comes: the child ended, or somebody asks to stop."""
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

    def _warn(self, about: str, text: str) -> None:
        if about not in self._warnings:
            self._warnings[about] = text
            _note(self._spec.folder, f"warning: {text}")

    def _conclude(self, returncode: int) -> tuple[Cause, str]:
        limits = self._spec.limits
        if limits.gpu_limit_bytes is not None and self._recorder.peaks.gpu_bytes is None:
            self._warn_unseen()
        asked, left = self._asked, returncode in {ExitCode.STOPPED, -signal.SIGTERM}
        if asked and (self._killed or left):
            return asked.cause, f"{asked.message}; " + ("killed" if self._killed else "left when asked to")
        cause = cause_of(returncode)
        if cause is Cause.KILLED and count_oom_kills() > self._oom_kills:
            cause = Cause.KERNEL_OUT_OF_MEMORY
        if asked:
            self._warn("asked", f"had been asked to stop, and ended otherwise: {asked.message}")
        return cause, self._describe(cause, returncode)

    def _describe(self, cause: Cause, returncode: int) -> str:
        how = _in_words(returncode)
        if cause in {Cause.KILLED, Cause.KERNEL_OUT_OF_MEMORY}:
            tree, available = self._last.tree, format_bytes(self._last.system.available_bytes)
            held = f"{format_bytes(tree.rss_bytes)} ({format_bytes(tree.anonymous_bytes)} of it anonymous)"
            kernel = cause is Cause.KERNEL_OUT_OF_MEMORY
            by = "by the kernel, which ran out of memory" if kernel else "by another process"
            return f"{how} {by}; last seen holding {held}, with {available} available on the machine"
        if cause in {Cause.FINISHED, Cause.INTERRUPTED}:
            return how
        return "\n".join([how, *_last_lines(self._spec.folder / LOG_FILE, self._log_start_bytes)])


def _interruption(message: str) -> Breach:
    return Breach(Cause.INTERRUPTED, message, Verdict.ASK)


def _in_words(returncode: int) -> str:
    if returncode < 0:
        return f"ended by signal {-returncode} ({signal.strsignal(-returncode)})"
    name = f" ({ExitCode(returncode).name})" if returncode in set(ExitCode) else ""
    return f"ended with exit code {returncode}{name}"


def _last_lines(log: Path, from_bytes: int, count: int = 15, tail_bytes: int = 8192) -> list[str]:
    """The last lines of what this attempt wrote."""
    with log.open("rb") as file:
        end_bytes = file.seek(0, os.SEEK_END)
        file.seek(max(from_bytes, end_bytes - tail_bytes))
        text = file.read().decode(errors="replace")
    return [line for line in text.splitlines() if line.strip()][-count:]


def _note(folder: Path, text: str) -> None:
    """A line of our own in the child's log; a full disk must not end the watch."""
    with contextlib.suppress(OSError), (folder / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(f"[supervisor {now_iso()}] {text}\n")


def main(spec: str) -> int:
    """Supervise what the JSON file ``spec`` describes; the exit code is the outcome's category."""
    return supervise(SupervisorSpec.read(Path(spec))).supervisor_exit_code
