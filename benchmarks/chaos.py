"""Kill a run of two cells with SIGKILL at random moments, repeat the command, and compare the result with an undisturbed run.

A sequence is one run folder: the command is killed a few times and then runs to its end. Its result must be identical to that of
the undisturbed run: weights byte for byte, predictions voxel for voxel, scores digit for digit. Killed are the command alone, the
command with its supervisor and its cell (as in a power failure), or the cell alone. Half of the kills happen at a random time,
half while a checkpoint is being written.

With ``--disturb KIND``, the run is disturbed instead, and must go on to its end by itself (only a kill is repeated):

    hangup      SIGHUP to the command and its supervisor, up to four times in a run
    stop        SIGSTOP to the command, its supervisor, its cell or all for longer than limits.hang_minutes, then SIGCONT
    terminal    the terminal of the command is closed
    frozen      nobody reads from the terminal of the command, from the plan on
    full        standard output, standard error or both are full from the start
    end         SIGKILL to all processes during comparison, report and registration

    python benchmarks/chaos.py [--kills 200] [--seed 0] [--set training.deterministic=true] [--disturb KIND]

The exit code is 1 if a sequence did not finish, or its result differs.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
from chaos_bench import Bench, differences, stage_of
from disturbances import DISTURBANCES, faults_of_tracking


def disturb(bench: Bench, kind: str, count: int, rng: random.Random, longest_s: float) -> tuple[int, list[str]]:
    """Disturb runs ``count`` times; return the number of runs and what was wrong with them."""
    done, runs = 0, 0
    wrong: list[str] = []
    while done < count:
        name = "end" if kind == "end" else f"{kind}{runs:03d}"
        done += DISTURBANCES[kind](bench, name, rng, longest_s)
        run = bench.run(name)
        found = [*differences(run, bench.run("undisturbed")), *(faults_of_tracking(bench) if kind == "end" else ())]
        wrong += [f"{name}, run {runs}: {what}" for what in found]
        if found:
            logs = sorted(run.path.rglob("log.txt"))
            print(*found, *(f"{log}\n{log.read_text()}" for log in logs), sep="\n", file=sys.stderr)
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
    bench.seen[f"during {stage_of(bench.run(name), writing)}"] += 1
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--set", action="append", default=[], help="set a key of the experiment, as in `minivess run`")
    parser.add_argument("--only", action="append", default=[], help="run only these cells, to save time")
    parser.add_argument("--disturb", choices=DISTURBANCES, help="disturb the run instead of killing it")
    options = parser.parse_args()
    settings = [word for name in ("set", "only") for value in getattr(options, name) for word in (f"--{name}", value)]
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    rng, kills, sequences = random.Random(options.seed), 0, 0
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), tuple(settings))
        bench.prepare()
        bench.start("undisturbed").communicate()
        began = time.monotonic()  # of a second run: the first one also compiles and stores
        bench.start("again").communicate()
        longest_s = time.monotonic() - began
        wrong += [f"undisturbed: {what}" for what in differences(bench.run("again"), bench.run("undisturbed"))]
        print(f"undisturbed: {longest_s:.0f} s", file=sys.stderr, flush=True)
        assert bench.run("undisturbed").report.is_file()
        if options.disturb:
            sequences, found = disturb(bench, options.disturb, options.kills, rng, longest_s)
            wrong += found
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
