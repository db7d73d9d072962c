"""Test of a run whose loss needs memory that no trace predicts: it is stopped at the limit, continues and finishes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minivess.experiments.run_folder import RunFolder

pytestmark = pytest.mark.slow

CONFIG = """\
name: hungry
losses: [hungry_losses:hungry]
folds: 2
model: {name: example_custom, filters: [4, 8, 8]}
plan: {batch: 4, patch_size: [32, 32, 4]}
training: {max_epochs: 1, steps_per_epoch: 5, validate_every: 0, checkpoint_minutes: 0}
evaluation: {baselines: []}
tracking_uri: none
limits: {memory_limit_gib: 1.2, monitor_interval_s: 0.5}
"""
LOSSES = """\
import time
import numpy as np
from minivess.losses.compound import dice_ce

class Hungry(type(dice_ce())):
    calls = 0
    def forward(self, logits, label, mask=None):
        self.calls += 1
        if "Fake" not in str(type(logits)):
            taken = []
            # A quarter of a GiB per patch; half a GiB after the calls of a dry start with two patches per pass.
            for _ in range(len(logits) * (8 if self.calls <= 8 else 16)):
                taken.append(np.ones(2**22))
                time.sleep(0.02)  # gives the supervisor time to measure
        return super().forward(logits, label, mask)

def hungry():
    return Hungry(dice_ce().terms)
"""


@pytest.fixture(scope="module")
def run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, str]:
    folder = tmp_path_factory.mktemp("hungry")
    (folder / "hungry.yaml").write_text(CONFIG)
    (folder / "hungry_losses.py").write_text(LOSSES)
    argv = ["run", "--config", str(folder / "hungry.yaml"), "--data-dir", str(phantoms), "--output-dir", str(folder)]
    argv += ["--only", "fold=0"]
    done = subprocess.run(
        [sys.executable, "-m", "minivess.cli.main", *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{os.environ['PYTHONPATH']}", "PREFECT_DISABLED": "1"},
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    return RunFolder(folder / "hungry"), " ".join(done.stderr.split())


class TestDryStart:
    def test_makes_the_plan_smaller_before_the_first_epoch_and_reports_it(self, run: tuple[RunFolder, str]) -> None:
        folder, messages = run
        plan = folder.read_plan()
        assert (plan.batch, plan.micro_batch) == (4, 2)
        assert "2 per forward pass" in plan.reasons["batch"]
        assert "Dry start: memory_limit" in messages
        assert "Dry start: succeeded" in messages

    def test_saves_step_times_and_removes_its_checkpoint(self, run: tuple[RunFolder, str]) -> None:
        result = json.loads(run[0].dry_start.result.read_text())
        assert list(result["step_seconds"]) == ["hungry_losses:hungry"]
        assert run[0].read_plan().step_seconds == result["step_seconds"]
        assert not run[0].dry_start.checkpoints.exists()


class TestCell:
    def test_continues_from_its_checkpoint_with_fewer_patches_per_pass(self, run: tuple[RunFolder, str]) -> None:
        folder, messages = run
        cell = folder.cell("hungry_losses:hungry", 0)
        result = cell.read_result()
        assert (result.micro_batch, result.steps) == (1, 5)
        assert re.search(r"\b1 patches .* 2\b", result.note)
        assert "resumes after step 4 of 5" in (cell.path / "log.txt").read_text()
        assert "hungry_losses:hungry-fold0: memory_limit with 2 patches" in messages
