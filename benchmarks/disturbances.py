"""Disturb a run of the chaos benchmark once or a few times, and let it go on to its end.

Each function starts the command with the run ``name``, disturbs it, waits for its end and returns the number of disturbances.
Disturbances that come after the end of the command do not count.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import select
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import psutil
from chaos_bench import CELLS, Bench, stage_of
from mlflow import MlflowClient

HANG_S, PAUSE_S = 30.0, 32.0
"""A run is stopped for longer than its hang limit. The limit is longer than a process needs to start on a busy machine: 16 s were
seen, at a load of 12 on two processors."""
A_RUN = 4
"""Disturbances of one run, for kinds that can be repeated in it."""
TRACKED = ("--set", "tracking_uri=null")


def hang_up(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Send SIGHUP to the command and to its supervisor."""
    process, count = bench.start(name), 0
    while count < A_RUN and _goes_on(process, rng.uniform(0, 1.5 * longest_s / A_RUN)):
        bench.seen[f"during {stage_of(bench.run(name))}"] += 1
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)
        count += 1
    process.communicate()
    return count


def stop_and_continue(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Send SIGSTOP to the command, to its supervisor, to the cell or to all processes, and SIGCONT after the hang limit."""
    process, count = bench.start(name, "--set", f"limits.hang_minutes={HANG_S / 60}"), 0
    while count < A_RUN and _goes_on(process, rng.uniform(0, 1.5 * longest_s / A_RUN)):
        who, victims = _some_of(process, rng)
        stage = stage_of(bench.run(name))
        bench.seen[f"{who}, during {stage}"] += 1
        print(f"{time.strftime('%H:%M:%S')} {name}: {who} stopped, during {stage}", file=sys.stderr, flush=True)
        for number, pause_s in ((signal.SIGSTOP, PAUSE_S), (signal.SIGCONT, 0)):
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.send_signal(number)
            time.sleep(pause_s)
        count += 1
    process.communicate()
    return count


def close_terminal(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Close the terminal of the command."""
    process, terminal = _in_terminal(bench, name)
    until = time.monotonic() + rng.uniform(0, 0.9 * longest_s)
    while time.monotonic() < until:
        with suppress(OSError):  # EIO: the command has ended
            if select.select([terminal], [], [], 0.1)[0]:
                os.read(terminal, 65536)
    ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    bench.seen[f"during {stage_of(bench.run(name))}"] += not ended
    os.close(terminal)
    os.waitpid(process, 0)
    return int(not ended)


def freeze_terminal(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Stop reading from the terminal of the command once it has shown its plan, as a connection that hangs does."""
    process, terminal = _in_terminal(bench, name)
    run = bench.run(name)
    while not run.config.is_file():
        os.read(terminal, 65536)
    until = time.monotonic() + 5 * longest_s + 60
    while time.monotonic() < until and not run.report.is_file():
        time.sleep(0.2)
    bench.seen["from the plan on"] += 1
    if not run.report.is_file():  # it waits for the terminal
        os.kill(process, signal.SIGKILL)
    Thread(target=_read_all, args=(terminal,), daemon=True).start()
    os.waitpid(process, 0)
    return 1


def fill_output(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Let standard output, standard error or both be full from the start."""
    with open("/dev/full", "w") as full, open(os.devnull, "w") as null:
        who, streams = rng.choice([("output", (full, null)), ("error", (null, full)), ("both", (full, full))])
        bench.seen[f"standard {who}" if who != "both" else who] += 1
        bench.start(name, stdout=streams[0], stderr=streams[1]).wait()
    return 1


def kill_the_end(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Kill all processes while results are compared, reported and registered, and repeat the command.

    The trained cells are the same every time; results, report and MLflow's database are new.
    """
    runs, trained = bench.folder / "runs", bench.folder / "trained"
    if not trained.exists():
        bench.start("end").communicate()
        _remove_end(bench)
        shutil.copytree(runs / "end", trained)
    shutil.rmtree(runs / "end")
    _remove_end(bench)
    shutil.copytree(trained, runs / "end")
    process = bench.start("end", *TRACKED)
    for line in process.stderr:
        if line.startswith(f"{CELLS[-1]} is already finished".encode()):
            break
    run = bench.run("end")
    before, longest_s = rng.choice([(run.splits, 1.0), (run.comparison, 0.8), (run.report, 5.0)])
    while process.poll() is None and not before.is_file():
        time.sleep(0.005)
    ended = not _goes_on(process, rng.uniform(0, longest_s))
    if not ended:
        stage = "registration" if run.report.is_file() else "report" if run.comparison.is_file() else "comparison"
        bench.seen[f"during {stage}"] += 1
        _kill(process)
    process.communicate()
    bench.start("end", *TRACKED).communicate()
    return int(not ended)


def faults_of_tracking(bench: Bench) -> Iterator[str]:
    """Yield what is wrong in MLflow after `kill_the_end`: exactly one version is registered, and every run is finished."""
    runs = bench.folder / "runs"
    client = MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    if (found := [int(model.version) for model in client.search_model_versions()]) != [1]:
        yield f"registered versions {found}"
    states = [
        run.info.status for run in client.search_runs([each.experiment_id for each in client.search_experiments()])
    ]
    if states != ["FINISHED"] * (1 + len(CELLS)):
        yield f"states in MLflow {states}"
    yield from (f"left over beside the database: {path.name}" for path in runs.glob(".tmp-*"))


DISTURBANCES = {
    "hangup": hang_up,
    "stop": stop_and_continue,
    "terminal": close_terminal,
    "frozen": freeze_terminal,
    "full": fill_output,
    "end": kill_the_end,
}


def _goes_on(process: psutil.Popen, seconds: float) -> bool:
    """Wait; return whether the process still runs then."""
    with suppress(psutil.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is None


def _some_of(process: psutil.Popen, rng: random.Random) -> tuple[str, list[psutil.Process]]:
    """Choose the command, its supervisor, the supervised process or all processes; all if the chosen one does not run."""
    below = process.children(recursive=True)
    tasks: dict[str, list[psutil.Process]] = {"supervisor": [], "cell": [], "dry_start": []}
    for child in below:
        with suppress(psutil.NoSuchProcess):
            for task in tasks.keys() & set(child.cmdline()):
                tasks[task].append(child)
    groups: dict[str, list[psutil.Process]] = {
        "command": [process],
        "supervisor": tasks["supervisor"],
        "cell": tasks["cell"] or tasks["dry_start"],
    }
    who = rng.choice(["command", "supervisor", "cell", "all"])
    chosen = groups.get(who)
    return (who, chosen) if chosen else ("all", [process, *below])


def _in_terminal(bench: Bench, name: str) -> tuple[int, int]:
    """Start the command in a terminal; return its process id and the other end of the terminal."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(bench.folder)
        os.execvpe(sys.executable, bench.argv(name), bench.environment() | {"TERM": "xterm"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    return process, terminal


def _read_all(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 65536):
            pass


def _remove_end(bench: Bench) -> None:
    """Remove what the end of the run ``end`` has written."""
    runs = bench.folder / "runs"
    for path in [*runs.glob("mlflow*"), *runs.glob("end/mlflow*"), runs / "end/report.html"]:
        path.unlink(missing_ok=True)
    for folder in (runs / "mlartifacts", runs / "end/results"):
        shutil.rmtree(folder, ignore_errors=True)


def _kill(process: psutil.Popen) -> None:
    for victim in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
