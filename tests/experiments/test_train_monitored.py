"""Test of the command `scripts/train_monitored.py` with all of its options, as a user types it."""

from __future__ import annotations

import csv
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from minivess.experiments.run_folder import RunFolder

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def trained(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("logs") / "dice_ce_full"
    command = (
        "uv run python scripts/train_monitored.py --compute gpu_low --loss dice_ce --experiment-name dynunet_loss_variation "
        f"--log-dir {folder} --memory-limit-gb 24 --monitor-interval 1 --debug --data-dir {phantoms} --seed 3 --num-folds 2 "
        "--patch-size 32x32x4 --set model.filters=[4,8,8]"
    )
    environment = {
        **os.environ,
        "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}",
        "UV_FIND_LINKS": os.environ.get("PIP_FIND_LINKS", ""),
        "PREFECT_DISABLED": "1",
    }
    done = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return RunFolder(folder)


class TestTrainMonitored:
    def test_every_option_is_in_the_saved_configuration(self, trained: RunFolder) -> None:
        config = trained.read_config()
        assert (config.experiment_name, config.seed, config.folds) == ("dynunet_loss_variation", 3, 2)
        assert (config.plan.compute, config.plan.patch_size) == ("gpu_low", (32, 32, 4))
        assert (config.limits.memory_limit_gib, config.limits.monitor_interval_s) == (24, 1)
        assert trained.read_plan().patch == (32, 32, 4)

    def test_every_fold_is_trained_monitored_and_scored(self, trained: RunFolder) -> None:
        assert sorted(row.case for row in trained.read_rows() if row.method == "dice_ce") == [
            f"phantom0{number}" for number in (1, 2, 3, 4)
        ]
        for fold in (0, 1):
            with trained.cell("dice_ce", fold).monitor.open() as file:
                assert 0 < max(int(row["tree_rss_bytes"]) for row in csv.DictReader(file)) < 16 * 2**30

    def test_metrics_with_intervals_of_each_fold_are_in_mlflow(self, trained: RunFolder) -> None:
        with sqlite3.connect(trained.path.parent / "mlflow.db") as database:
            (name,) = database.execute("select name from experiments where name != 'Default'").fetchone()
            keys = {key for (key,) in database.execute("select distinct key from metrics")}
        assert name == "dynunet_loss_variation"
        for metric in ("cldice", "centreline_dsc", "dsc", "measured_masd"):
            assert {metric, f"{metric}/low", f"{metric}/high"} <= keys
