"""What the chaos benchmark starts and compares: a small run of two cells in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
        seen: How often each kind of kill or disturbance occurred, and each stage of the run that was hit.
    """

    folder: Path
    settings: tuple[str, ...] = ()
    seen: Counter[str] = field(default_factory=Counter)

    def prepare(self) -> None:
        """Write data and configuration."""
        write_phantom(self.folder / "data", small_cases(4))
        (self.folder / "small.yaml").write_text(MODEL)
        (self.folder / "chaos.yaml").write_text(CONFIG.format(model=self.folder / "small.yaml"))

    def start(self, name: str, *more: str, **streams: Any) -> psutil.Popen:
        """Start the command with the run ``name``; standard error is a pipe unless ``streams`` says otherwise."""
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True} | streams
        return psutil.Popen(self.argv(name, *more), cwd=self.folder, env=self.environment(), **streams)

    def argv(self, name: str, *more: str) -> list[str]:
        """Return the command line."""
        paths = ("--config", "chaos.yaml", "--data-dir", "data", "--output-dir", "runs", "--name", name)
        return [sys.executable, "-m", "minivess.cli.main", "run", *paths, *self.settings, *more]

    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        return {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS), "PREFECT_DISABLED": "1"}

    def run(self, name: str) -> RunFolder:
        """Return the run folder ``name``."""
        return RunFolder(self.folder / "runs" / name)


def stage_of(run: RunFolder, writing: bool = False) -> str:
    """Return what a run is doing; with ``writing``, the writing of a checkpoint is a stage of its own."""
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
    """Yield each artefact of ``ours`` that is missing or differs from that of ``theirs``."""
    for cell in theirs.cells():
        name, other = cell.path.name, cell.path
        one = ours.path / "cells" / name
        if not (one / "result.json").is_file():
            yield f"{name}: not finished"
            continue
        if (one / "weights/network.safetensors").read_bytes() != (other / "weights/network.safetensors").read_bytes():
            yield f"{name}: weights"
        for path in sorted(other.glob("predictions/*.nii.gz")):
            if not np.array_equal(read_volume(one / "predictions" / path.name), read_volume(path)):
                yield f"{name}: {path.name}"
    if ours.read_rows() != theirs.read_rows():
        yield "scores"
    elif not ours.comparison.is_file() or ours.comparison.read_bytes() != theirs.comparison.read_bytes():
        yield "comparison"
    if not ours.report.is_file():
        yield "no report"
