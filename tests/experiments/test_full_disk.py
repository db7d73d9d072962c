"""Test of a full disk, on a small file system that is really mounted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivess.experiments.run_folder import RunFolder

pytestmark = pytest.mark.slow

CONFIG = """\
name: full
losses: [dice_ce]
folds: 2
model: {name: example_custom, filters: [4, 8, 8]}
training: {max_epochs: 1, steps_per_epoch: 3, validate_every: 0}
evaluation: {baselines: []}
limits: {monitor_interval_s: 0.5}
tracking_uri: none
"""


def _mount(*options: str) -> bool:
    return subprocess.run(["mount", "-t", "tmpfs", *options], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not _mount("-o", "size=48m", "none", str(folder)):
        pytest.skip("needs the permission to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _run(folder: Path, phantoms: Path, disk: Path) -> subprocess.CompletedProcess[str]:
    (folder / "full.yaml").write_text(CONFIG)
    argv = ["--config", str(folder / "full.yaml"), "--data-dir", str(phantoms), "--output-dir", str(disk)]
    return subprocess.run(
        [sys.executable, "-m", "minivess.cli.main", "run", *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "PREFECT_DISABLED": "1"},
        timeout=300,
    )


class TestFullDisk:
    def test_full_disk_is_reported_before_the_first_epoch_and_more_space_is_enough_to_continue(
        self, tmp_path: Path, phantoms: Path, small_disk: Path
    ) -> None:
        first = _run(tmp_path, phantoms, small_disk)
        assert first.returncode != 0
        assert "disk_full" in first.stderr
        assert "free space" in " ".join(first.stderr.split())
        assert "Traceback" not in first.stderr
        assert _mount("-o", "remount,size=1g", "none", str(small_disk))
        again = _run(tmp_path, phantoms, small_disk)
        assert again.returncode == 0, again.stderr
        assert len(RunFolder(small_disk / "full").read_rows()) == 4
