"""Kill a run of two cells with SIGKILL at random moments, repeat the command, and compare the result with an undisturbed run.

A sequence is one run folder: the command is killed a few times and then runs to its end. Its result must be identical to that of
the undisturbed run: weights byte for byte, predictions voxel for voxel, scores digit for digit. Killed are the command alone, the
command with its supervisor and its cell (as in a power failure), or the cell alone. Half of the kills happen at a random time,
half while a checkpoint is being written.

With ``--disturb KIND``, the run is disturbed instead, and must go on to its end by itself (a kill of the end is repeated):

    hangup      SIGHUP to the command and its supervisor, up to four times in a run
    stop        SIGSTOP to all processes for longer than limits.hang_minutes, then SIGCONT
    terminal    the terminal of the command is closed
    full        standard output and standard error are full from the start
    end         SIGKILL to all processes during comparison, report and registration

    python benchmarks/chaos.py [--kills 200] [--seed 0] [--set training.deterministic=true] [--disturb KIND]

The exit code is 1 if a sequence did not finish, or its result differs.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from minivess.data.formats.nifti import read_volume
from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.experiments.run_folder import RunFolder

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PATHS = (str(EXAMPLES), *filter(None, [os.environ.get("PYTHONPATH")]))
CELLS = ("dice_ce-fold0", "dice_ce-fold1")
CONFIG = """\
name: chaos
losses: [dice_ce]
folds: 2
model: {{name: {model}}}
training: {{max_epochs: 4, steps_per_epoch: 10, validate_every: 2, checkpoint_minutes: 0, learning_rate: 0.01}}
evaluation: {{baselines: []}}
limits: {{monitor_interval_s: 0.5}}
tracking_uri: none
"""
MODEL = "name: small\nbuilder: my_unet:build\nstrides: planned\nfilters: [4, 8, 8]\noptions: {dropout: 0.1}\n"


@dataclass
class Bench:
    """A folder with data and configuration in which the command runs.

    Attributes:
        folder: The folder.
        settings: Further options of the command.
        seen: How often each kind of kill occurred, and each stage of the run that was hit.
    """

    folder: Path
    settings: tuple[str, ...] = ()
    seen: Counter[str] = field(default_factory=Counter)

    def prepare(self) -> None:
        write_phantom(self.folder / "data", small_cases(4))
        (self.folder / "small.yaml").write_text(MODEL)
        (self.folder / "chaos.yaml").write_text(CONFIG.format(model=self.folder / "small.yaml"))

    def start(self, name: str, *more: str, **streams: Any) -> psutil.Popen:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True} | streams
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "PREFECT_DISABLED": "1"}
        return psutil.Popen(self.argv(name, *more), cwd=self.folder, env=env, **streams)

    def argv(self, name: str, *more: str) -> list[str]:
        paths = ("--config", "chaos.yaml", "--data-dir", "data", "--output-dir", "runs", "--name", name)
        return [sys.executable, "-m", "minivess.cli.main", "run", *paths, *self.settings, *more]

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.folder / "runs" / name)


def hang_up(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    process, count = bench.start(name), 0
    while process.poll() is None and count < 4:
        time.sleep(rng.uniform(0, longest_s / 4))
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGHUP)
                count += 1
                bench.seen[f"during {_stage(bench.run(name), False)}"] += 1
    process.communicate()
    return count


def stop_and_continue(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    process, count = bench.start(name, "--set", "limits.hang_minutes=0.3"), 0
    while process.poll() is None and count < 4:
        time.sleep(rng.uniform(0, longest_s / 4))
        if process.poll() is not None:
            break
        tree = [process, *process.children(recursive=True)]
        bench.seen[f"during {_stage(bench.run(name), False)}"] += 1
        for number, pause_s in (
            (signal.SIGSTOP, 20.0),
            (signal.SIGCONT, 0.0),
        ):  # 18 s without progress is a hang
            for one in tree:
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(number)
            time.sleep(pause_s)
        count += 1
    process.communicate()
    return count


def close_terminal(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(bench.folder)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "PREFECT_DISABLED": "1"}
        os.execvpe(sys.executable, bench.argv(name), env)
    until = time.monotonic() + rng.uniform(0, longest_s)
    while time.monotonic() < until and select.select([terminal], [], [], 0.1) is not None:
        with suppress(OSError):
            if select.select([terminal], [], [], 0)[0]:
                os.read(terminal, 65536)
    bench.seen[f"during {_stage(bench.run(name), False)}"] += 1
    os.close(terminal)
    os.waitpid(process, 0)
    return 1


def fill_output(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    with open("/dev/full", "w") as full:
        bench.start(name, stdout=full, stderr=full).wait()
    bench.seen["from the start"] += 1
    return 1


def kill_the_end(bench: Bench, name: str, rng: random.Random, longest_s: float) -> int:
    """Kill all processes between the end of the last cell and the end of the command; the next time, only that part runs."""
    process = bench.start(name, "--set", "tracking_uri=null")
    cells = [bench.run(name).cell_named(cell) for cell in CELLS]
    while process.poll() is None and not all(cell.finished for cell in cells):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 8))
    if process.poll() is not None:
        return 0
    run = bench.run(name)
    stage = "registration" if run.report.is_file() else "report" if run.comparison.is_file() else "comparison"
    bench.seen[f"during {stage}"] += 1
    for victim in [*process.children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    process.communicate()
    return 1


DISTURBANCES = {
    "hangup": hang_up,
    "stop": stop_and_continue,
    "terminal": close_terminal,
    "full": fill_output,
    "end": kill_the_end,
}


def disturb(bench: Bench, kind: str, count: int, rng: random.Random, longest_s: float) -> tuple[int, list[str]]:
    """Disturb runs ``count`` times; return the number of runs and what was wrong with them."""
    done, runs = 0, 0
    wrong: list[str] = []
    while done < count:
        name = f"{kind}{runs:03d}"
        done += DISTURBANCES[kind](bench, name, rng, longest_s)
        if kind == "end":
            bench.start(name, "--set", "tracking_uri=null").communicate()
        elif not bench.run(name).report.is_file():
            wrong.append(f"{name}: it did not go on to its end")
            bench.start(name).communicate()
        wrong += [f"{name}: {what}" for what in differences(bench.run(name), bench.run("undisturbed"))]
        runs += 1
        print(f"{kind}: {done} of {count}, {len(wrong)} wrong", file=sys.stderr, flush=True)
    return runs, wrong


def kill_once(bench: Bench, name: str, rng: random.Random, longest_s: float) -> bool:
    """Start the command and kill it; return False if it ended before."""
    process = bench.start(name)
    writing = rng.random() < 0.5
    moment = time.monotonic() + rng.uniform(0, 0.8 * longest_s)
    skip = rng.randint(0, 6)  # the number of checkpoints to let pass
    while process.poll() is None and time.monotonic() < moment + (longest_s if writing else 0):
        if writing and any(bench.run(name).path.glob("cells/*/checkpoints/.tmp-*")):
            skip -= 1
            if skip < 0:
                break
        time.sleep(0.001 if writing else 0.02)
    if process.poll() is not None:
        return False
    victims, mode = _victims(process, rng)
    bench.seen[f"killed {mode}"] += 1
    bench.seen[f"during {_stage(bench.run(name), writing)}"] += 1
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.SIGKILL)
    process.communicate()
    return True


def _victims(process: psutil.Popen, rng: random.Random) -> tuple[list[psutil.Process], str]:
    with suppress(psutil.NoSuchProcess):
        below = process.children(recursive=True)
        mode = rng.choice(["the command", "all processes", "the cell"])
        if mode == "all processes":
            return [process, *below], mode
        cells = [child for child in below if {"cell", "dry_start"} & set(child.cmdline())]
        if mode == "the cell" and cells:
            return cells, mode
    return [process], "the command"


def _stage(run: RunFolder, writing: bool) -> str:
    if writing and any(run.path.glob("cells/*/checkpoints/.tmp-*")):
        return "the writing of a checkpoint"
    beats = sorted(run.path.glob("*/heartbeat")) + sorted(run.path.glob("cells/*/heartbeat"))
    if not beats:
        return "the start"
    newest = max(beats, key=lambda path: path.stat().st_mtime_ns)
    with suppress(OSError, ValueError):
        return str(json.loads(newest.read_text())["stage"]).split()[0]
    return "the writing of a heartbeat"


def differences(ours: RunFolder, theirs: RunFolder) -> Iterator[str]:
    for name in CELLS:
        one, other = (folder.path / "cells" / name for folder in (ours, theirs))
        if (one / "weights/network.safetensors").read_bytes() != (other / "weights/network.safetensors").read_bytes():
            yield f"{name}: weights"
        for path in sorted(other.glob("predictions/*.nii.gz")):
            if not np.array_equal(read_volume(one / "predictions" / path.name), read_volume(path)):
                yield f"{name}: {path.name}"
    if ours.read_rows() != theirs.read_rows():
        yield "scores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--set", action="append", default=[], help="set a key of the experiment, as in `minivess run`")
    parser.add_argument("--disturb", choices=DISTURBANCES, help="disturb the run instead of killing it")
    options = parser.parse_args()
    settings = tuple(word for setting in options.set for word in ("--set", setting))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    rng, kills, sequences = random.Random(options.seed), 0, 0
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), settings)
        bench.prepare()
        began = time.monotonic()
        bench.start("undisturbed").communicate()
        longest_s = time.monotonic() - began
        print(f"undisturbed: {longest_s:.0f} s", file=sys.stderr, flush=True)
        assert all((bench.run("undisturbed").path / "cells" / name / "result.json").is_file() for name in CELLS)
        if options.disturb:
            sequences, wrong = disturb(bench, options.disturb, options.kills, rng, longest_s)
        while not options.disturb and kills < options.kills:
            name = f"run{sequences:03d}"
            for _ in range(rng.randint(4, 12)):
                killed = kill_once(bench, name, rng, longest_s)
                kills += killed
                if not killed or kills == options.kills:
                    break
            last = bench.start(name)
            errors = last.communicate()[1].decode()
            found = (
                [errors.strip()] if last.returncode else list(differences(bench.run(name), bench.run("undisturbed")))
            )
            wrong += [f"{name}: {what}" for what in found]
            sequences += 1
            print(f"{kills} kills, {sequences} sequences, {len(wrong)} differences", file=sys.stderr, flush=True)
    print(f"| {options.kills} times {options.disturb or 'killed'}, seed {options.seed} | |\n|---|---|")
    print(f"| undisturbed run | {longest_s:.0f} s |\n| sequences, each run to its end | {sequences} |")
    for what, count in sorted(bench.seen.items()):
        print(f"| {what} | {count} |")
    print(f"| differences or sequences without an end | {len(wrong)} |")
    print("".join(f"\n- {what}" for what in wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
