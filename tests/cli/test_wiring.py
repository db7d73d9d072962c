"""What the commands give to a run: every option and key reaches the configuration, the plan and the supervisor."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import minivess.cli.experiment
from minivess.cli.main import cli
from minivess.experiments.cell_process import supervise
from minivess.experiments.cell_selection import CellFilter
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.prepare import prepare
from minivess.machine.processes import PYTHON, worker_command
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB

YAML = """\
name: wired
losses: [dice_ce]
folds: 2
model: {name: example_custom, filters: [4, 8, 8]}
limits: {memory_limit_gib: 12, monitor_interval_s: 3, hang_minutes: 7}
"""


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ExperimentConfig, dict[str, Any]]]:
    """The configurations that commands would run, with their further arguments; nothing runs."""
    calls: list[tuple[ExperimentConfig, dict[str, Any]]] = []
    monkeypatch.setattr(minivess.cli.experiment, "execute", lambda config, **more: calls.append((config, more)))
    return calls


def _invoke(*arguments: str) -> None:
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0, done.output


def _order(config: ExperimentConfig, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the module `this` under the supervisor of a run on a machine with 32 GiB; return what the supervisor was given."""

    def command(task: str, *arguments: str) -> list[str]:
        return worker_command(task, *arguments) if task == "supervisor" else [*PYTHON, "-m", task, *arguments]

    monkeypatch.setattr("minivess.experiments.cell_process.worker_command", command)
    prepared = prepare(config, HardwareBudget.imagined(None, 32 * GIB), os.environ)
    supervise(folder, "this", prepared, lambda stage, done, total: None)
    found: dict[str, Any] = json.loads((folder / "supervisor.json").read_text())
    return found


def _facts(order: dict[str, Any]) -> Sequence[float]:
    """Memory limit and budget in GiB, seconds between rows, seconds until a hang."""
    limits = order["limits"]
    sizes = (limits[f"{name}_bytes"] / GIB for name in ("memory_limit", "rss_budget", "available_min"))
    return (*sizes, order["interval_s"], limits["hang_s"], limits["swap_growth_warn_bytes"])


class TestLimitsReachTheSupervisor:
    def test_from_the_yaml_file(
        self, executed: list, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "wired.yaml").write_text(YAML)
        _invoke(
            "run", "--config", str(tmp_path / "wired.yaml"), "--data-dir", str(phantoms), "--output-dir", str(tmp_path)
        )
        assert _facts(_order(executed[0][0], tmp_path, monkeypatch)) == (12, 8, 1, 3, 420, 0)

    def test_from_the_command_line(
        self, executed: list, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits = ("--memory-limit-gb", "18", "--monitor-interval", "4", "--set", "limits.hang_minutes=2")
        model = ("--model", "example_custom", "--set", "model.filters=[4,8,8]")
        paths = ("--data-dir", str(phantoms), "--log-dir", str(tmp_path / "logs"))
        _invoke("train", "--loss", "dice_ce", *paths, *limits, *model)
        assert _facts(_order(executed[0][0], tmp_path, monkeypatch)) == (18, 12, 1, 4, 120, 0)

    def test_without_limits_they_follow_from_the_machine(
        self, executed: list, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "wired.yaml").write_text("\n".join(YAML.splitlines()[:4]))
        _invoke(
            "run", "--config", str(tmp_path / "wired.yaml"), "--data-dir", str(phantoms), "--output-dir", str(tmp_path)
        )
        order = _order(executed[0][0], tmp_path, monkeypatch)
        assert _facts(order) == (24, 16, 1, 10, 1800, 0)
        assert (order["limits"]["disk_free_min_bytes"], order["limits"]["gpu_limit_bytes"]) == (GIB // 2, None)


class TestTrain:
    def test_every_option_is_in_the_configuration(self, executed: list, tmp_path: Path) -> None:
        numbers = ("--seed", "5", "--num-folds", "4", "--max-epochs", "6", "--batch", "3", "--overlap", "0.25")
        plan = ("--compute", "cpu", "--patch-size", "32x16x8", "--micro-batch", "2", "--precision", "bf16")
        more = ("--workers", "0", "--cache-rate", "0.5", "--patch-policy", "pad", "--set", "training.augment=false")
        _invoke("train", "--loss", "warp", "--log-dir", str(tmp_path / "a"), *numbers, *plan, *more)
        config, _ = executed[0]
        assert (config.losses, config.seed, config.folds, config.training.max_epochs) == (("warp",), 5, 4, 6)
        assert config.plan.model_dump() == {
            "compute": "cpu", "patch_size": (32, 16, 8), "batch": 3, "micro_batch": 2, "patch_policy": "pad",
            "precision": "bf16", "workers": 0, "cache_rate": 0.5, "overlap": 0.25,
        }  # fmt: skip
        assert (config.training.augment, config.name, config.output_dir) == (False, "a", tmp_path)

    def test_debug_is_short(self, executed: list, tmp_path: Path) -> None:
        _invoke("train", "--loss", "warp", "--log-dir", str(tmp_path / "a"), "--debug")
        config, _ = executed[0]
        assert (config.cases, config.folds, config.training.steps) == (6, 2, 10)


class TestRun:
    def test_options_replace_the_keys_of_the_file(self, executed: list, tmp_path: Path) -> None:
        (tmp_path / "wired.yaml").write_text(YAML)
        options = (
            "--batch",
            "3",
            "--set",
            "seed=9",
            "--set",
            "limits.hang_minutes=8",
            "--only",
            "fold=1",
            "--name",
            "b",
        )
        _invoke("run", "--config", str(tmp_path / "wired.yaml"), *options)
        config, more = executed[0]
        assert (config.name, config.plan.batch, config.seed, config.folds) == ("b", 3, 9, 2)
        assert (config.limits.hang_minutes, config.limits.memory_limit_gib) == (8, 12)
        assert (more["only"], more["dry_run"]) == ([CellFilter(None, 1)], False)
