"""From one YAML to what will be run: nothing here trains."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.errors import ConfigError
from minivess.experiments.config import load_config
from minivess.experiments.prepare import Prepared, prepare
from minivess.planning.hardware import detect_hardware
from minivess.training.checkpoint import CheckpointManager

TEXT = """\
name: small
losses: [dice_ce]
folds: 2
seed: 3
model: {name: dynunet, filters: [4, 8, 8]}
training: {max_epochs: 50}
debug:
  training: {max_epochs: 1, steps_per_epoch: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def _prepare(config: Path, phantoms: Path, **plan: object) -> Prepared:
    values = {"data_dir": str(phantoms), "output_dir": str(config.parent / "runs"), "plan": plan}
    return prepare(load_config(config, values), detect_hardware(), os.environ)


class TestExperimentRunner:
    def test_parse_experiment_yaml(self, config: Path) -> None:
        parsed = load_config(config)
        assert (parsed.name, parsed.losses, parsed.folds, parsed.seed) == ("small", ("dice_ce",), 2, 3)
        assert parsed.training.steps == 50 * 250
        config.write_text(TEXT.replace("folds:", "fold:"), encoding="utf-8")
        with pytest.raises(ConfigError, match=r"'fold' \(.*small.yaml, line 3\).*did you mean 'folds'"):
            load_config(config)

    def test_dry_run_validates_without_training(self, config: Path, phantoms: Path) -> None:
        argv = [
            "run",
            "--config",
            str(config),
            "--data-dir",
            str(phantoms),
            "--output-dir",
            str(config.parent / "runs"),
        ]
        done = CliRunner().invoke(cli, [*argv, "--dry-run"])
        assert done.exit_code == 0, done.output
        assert all(word in done.output for word in ("dice_ce-fold1", "12500 optimizer steps a cell", "about"))
        assert not (config.parent / "runs").exists()
        refused = CliRunner().invoke(cli, [*argv, "--dry-run", "--patch-size", "96x96x23"])
        assert "96x96x23" in str(refused.exception)

    def test_a_trial_with_fewer_cases_leaves_the_scan_whole(self, config: Path, phantoms: Path) -> None:
        values = {"data_dir": str(phantoms), "output_dir": str(config.parent / "runs"), "cases": 3}
        prepared = prepare(load_config(config, values), detect_hardware(), os.environ)
        assert (len(prepared.profile.volumes), len(prepared.scanned.volumes)) == (3, 4)
        assert sum(len(fold.held_out) for fold in prepared.splits.folds) == 3

    def test_auto_profile_triggers_detection(self, config: Path, phantoms: Path) -> None:
        plan = _prepare(config, phantoms).plan
        assert plan.profile_name == f"auto_{detect_hardware().tier}_dynunet"
        assert plan.reasons["profile_name"].startswith("detected")

    def test_explicit_profile_overrides_auto(self, config: Path, phantoms: Path) -> None:
        plan = _prepare(config, phantoms, compute="gpu_low").plan
        assert plan.profile_name == "gpu_low_dynunet"
        assert plan.reasons["profile_name"].startswith("asked for")

    def test_resume_finds_checkpoint(self, tmp_path: Path) -> None:
        import torch

        manager = CheckpointManager(tmp_path)
        for step in (3, 7):
            manager.save(step, {"weight": torch.full((2,), float(step))}, {"step": step})
        (tmp_path / "step-00000007" / "tensors.safetensors").write_bytes(b"torn")
        found = CheckpointManager(tmp_path).restore()
        assert found is not None
        assert (found[0]["weight"].tolist(), found[1]["step"]) == ([3.0, 3.0], 3)

    def test_debug_overrides_applied(self, config: Path) -> None:
        assert load_config(config, debug=True).training.steps == 2
        assert load_config(config, debug=True).name == "small-debug"
        assert load_config(config, {"name": "mine"}, debug=True).name == "mine-debug"
        assert load_config(config, {"training": {"max_epochs": 5}}, debug=True).training.steps == 10
