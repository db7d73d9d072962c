"""Kill a run of two cells with SIGKILL at random moments, repeat the command, and compare the result with an undisturbed run.

A sequence is one run folder: the command is killed a few times and then runs to its end. Its result must be identical to that of
the undisturbed run: weights byte for byte, predictions voxel for voxel, scores digit for digit. Killed are the command alone, the
command with its supervisor and its cell (as in a power failure), or the cell alone. Half of the kills happen at a random time,
half while a checkpoint is being written.

    python benchmarks/chaos.py [--kills 200] [--seed 0] [--set training.deterministic=true]

The exit code is 1 if a sequence did not finish, or its result differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
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

    def start(self, name: str) -> psutil.Popen:
        paths = ("--config", "chaos.yaml", "--data-dir", "data", "--output-dir", "runs", "--name", name)
        return psutil.Popen(
            [sys.executable, "-m", "minivess.cli.main", "run", *paths, *self.settings, "--quiet"],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "PREFECT_DISABLED": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, name: str) -> RunFolder:
        return RunFolder(self.folder / "runs" / name)


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
    options = parser.parse_args()
    settings = tuple(word for setting in options.set for word in ("--set", setting))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    rng, kills, wrong, sequences = random.Random(options.seed), 0, [], 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), settings)
        bench.prepare()
        began = time.monotonic()
        bench.start("undisturbed").communicate()
        longest_s = time.monotonic() - began
        print(f"undisturbed: {longest_s:.0f} s", file=sys.stderr, flush=True)
        assert all((bench.run("undisturbed").path / "cells" / name / "result.json").is_file() for name in CELLS)
        while kills < options.kills:
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
    print(f"| {options.kills} kills, seed {options.seed} | |\n|---|---|")
    print(f"| undisturbed run | {longest_s:.0f} s |\n| sequences, each run to its end | {sequences} |")
    for what, count in sorted(bench.seen.items()):
        print(f"| {what} | {count} |")
    print(f"| differences or sequences without an end | {len(wrong)} |")
    print("".join(f"\n- {what}" for what in wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
