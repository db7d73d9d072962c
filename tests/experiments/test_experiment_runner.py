"""Tests of the experiment runner, from one YAML file to the plan. Only the test of resuming trains, a few steps."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from minivess.cli.main import cli
from minivess.data.profiler import scan_dataset
from minivess.errors import ConfigError, PlanError, RunError
from minivess.experiments.config_file import load_config
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.run_folder import RunFolder
from minivess.planning.hardware import detect_hardware
from minivess.supervision.outcome import Cause, cure_for

TEXT = """\
name: small
losses: [dice_ce]
folds: 2
seed: 3
model: {name: example_custom, filters: [4, 8, 8]}
training: {max_epochs: 50}
debug:
  training: {max_epochs: 1, steps_per_epoch: 2}
"""
LOSSES = """\
import os, signal, sys
from minivess.losses.compound import dice_ce

class Stopping(type(dice_ce())):
    steps = 0
    def forward(self, *arguments):
        self.steps += 1
        if self.steps == 5 and "cell" in sys.orig_argv:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().forward(*arguments)

def stopping():
    return Stopping(dice_ce().terms)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def _run(config: Path, phantoms: Path, *options: str) -> Result:
    paths = ["--config", str(config), "--data-dir", str(phantoms), "--output-dir", str(config.parent / "runs")]
    return CliRunner().invoke(cli, ["run", *paths, *options])


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
        done = _run(config, phantoms, "--dry-run")
        assert done.exit_code == 0, done.output
        assert all(word in done.output for word in ("dice_ce-fold1", "12500 optimizer steps", "about"))
        assert all(
            word in done.output for word in ("memory", "computed from its trace", "\nseed: 3\n", "max_epochs: 50")
        )
        assert not (config.parent / "runs").exists()
        shown = yaml.safe_load(done.output.partition("configuration\n")[2].partition("\nplan ")[0].split("\n\n")[0])
        assert shown["data_dir"] == str(phantoms)
        refused = _run(config, phantoms, "--dry-run", "--patch-size", "96x96x23")
        assert "96x96x23" in str(refused.exception)

    def test_dry_run_suggests_how_to_shorten_a_run_of_days(self, config: Path, phantoms: Path) -> None:
        assert "--debug" not in _run(config, phantoms, "--dry-run", "--set", "training.max_epochs=1").output
        done = _run(config, phantoms, "--dry-run", "--set", "training.max_epochs=1000000")
        assert "more than two days" in done.output
        assert "--debug" in done.output

    def test_dry_run_as_json(self, config: Path, phantoms: Path) -> None:
        summary = json.loads(_run(config, phantoms, "--dry-run", "--json").stdout)
        assert (summary["config"]["seed"], summary["steps"], summary["plan"]["peak_bytes"] > 0) == (3, 12500, True)
        seconds = {cell["name"]: cell["seconds"] for cell in summary["cells"]}
        assert list(seconds) == ["threshold-fold0", "threshold-fold1", "dice_ce-fold0", "dice_ce-fold1"]
        assert summary["seconds"] == pytest.approx(sum(filter(None, seconds.values())))

    def test_trial_with_fewer_cases_keeps_the_scan_of_all_cases(self, config: Path, phantoms: Path) -> None:
        values = {"data_dir": str(phantoms), "output_dir": str(config.parent / "runs"), "cases": 3}
        prepared = prepare(load_config(config, values), detect_hardware(), os.environ)
        assert (len(prepared.profile.volumes), len(prepared.scanned.volumes)) == (3, 4)
        assert sum(len(fold.held_out) for fold in prepared.splits.folds) == 3

    def test_trial_makes_its_own_folds_even_if_folds_came_with_the_data(self, config: Path, phantoms: Path) -> None:
        data = Path(shutil.copytree(phantoms, config.parent / "data"))
        names = [volume.name for volume in scan_dataset(data).volumes]
        folds = [{"train": [other for other in names if other != name], "val": [name]} for name in names]
        (data / "splits_final.json").write_text(json.dumps(folds))
        values = {"data_dir": str(data), "output_dir": str(config.parent / "runs"), "cases": 3}
        assert len(prepare(load_config(config, values), detect_hardware(), os.environ).splits.folds) == 2
        with pytest.raises(ConfigError, match="--set folds=4"):
            prepare(load_config(config, values | {"cases": None}), detect_hardware(), os.environ)

    def test_auto_profile_triggers_detection(self, config: Path, phantoms: Path, detected: Callable[..., None]) -> None:
        """The same command on two machines: the plan uses the GPU and the memory of each."""
        plans = []
        for ram_gib, gpu_gib in ((8, None), (32, 8)):
            detected(ram_mib=1024 * ram_gib, card_mib=gpu_gib and 1024 * gpu_gib)
            plans.append(" ".join(_run(config, phantoms, "--dry-run").output.split()))
        assert "auto_cpu_example_custom" in plans[0]
        assert "60 % of the usable memory is 3.6 GiB" in plans[0]
        assert "auto_gpu_low_example_custom" in plans[1]
        assert "60 % of the usable memory is 14.4 GiB" in plans[1]
        assert "the budget is 6.0 GiB" in plans[1]

    def test_disk_too_small_for_the_store_is_refused(
        self, config: Path, phantoms: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Volumes and labels need 0.9 MiB, checkpoints and masks a little more."""
        usage = shutil.disk_usage(config)._replace(free=800_000)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        with pytest.raises(PlanError, match="larger disk"):
            _prepare(config, phantoms)

    def test_explicit_profile_overrides_auto(self, config: Path, phantoms: Path, detected: Callable[..., None]) -> None:
        """The batch of gpu_extreme is 4, that of all smaller profiles 2. Without a GPU, the CPU uses these bounds."""
        detected(ram_mib=8 * 1024)
        plans = [_prepare(config, phantoms, **keys).plan for keys in ({}, {"compute": "gpu_extreme"})]
        assert [plan.profile_name for plan in plans] == ["auto_cpu_example_custom", "gpu_extreme_example_custom"]
        assert [(plan.batch, plan.device) for plan in plans] == [(2, "cpu"), (4, "cpu")]
        assert plans[1].reasons["profile_name"].startswith("gpu_extreme was requested")

    def test_resume_finds_checkpoint(
        self, config: Path, phantoms: Path, examples: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each attempt is asked to stop in its fifth step; the second resumes from the checkpoint of the first."""
        (config.parent / "own_losses.py").write_text(LOSSES)
        monkeypatch.setenv("PYTHONPATH", f"{config.parent}{os.pathsep}{examples}")
        monkeypatch.syspath_prepend(config.parent)
        text = TEXT.replace("[dice_ce]", "['own_losses:stopping']") + "dry_start: false\ntracking_uri: none\n"
        config.write_text(text.replace("max_epochs: 50", "max_epochs: 3, steps_per_epoch: 4"))
        cell = RunFolder(config.parent / "runs" / "small").cell("own_losses:stopping", 0)
        for step in (5, 10):
            stopped = _run(config, phantoms, "--only", "loss=own_losses:stopping,fold=0")
            assert isinstance(stopped.exception, RunError), stopped.stderr
            assert stopped.exception.cure == cure_for(Cause.INTERRUPTED)
            assert max(path.name for path in cell.checkpoints.iterdir()) == f"step-{step:08d}"
        assert "resumes after step 5 of 12" in (cell.path / "log.txt").read_text()
        assert [line["step"] for line in cell.read_journal()] == [4, 8]

    def test_debug_overrides_applied(self, config: Path) -> None:
        assert load_config(config, debug=True).training.steps == 2
        assert load_config(config, debug=True).name == "small-debug"
        assert load_config(config, {"name": "mine"}, debug=True).name == "mine-debug"
        assert load_config(config, {"training": {"max_epochs": 5}}, debug=True).training.steps == 10
