"""Two users share a folder that gives its group to everything in it (setgid), each with a umask of 002."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.experiments.run_folder import RunFolder

ANNA, BEN, GROUP = 41001, 41002, 41000


READS = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "+dac_read_search")
"""Options of setpriv that take every right of root away except reading, because Python may be installed where only root can read.

What another user can write is not affected.
"""


class Shared:
    """A folder of root that the group may write to, with data and configuration.

    Args:
        path: The folder, outside pytest's own, which is private.
        study: The YAML of the run.
    """

    def __init__(self, path: Path, study: str) -> None:
        self.path, self.run = path, RunFolder(path / "runs" / "tiny")
        write_phantom(path / "data", small_cases(4))
        (path / "study.yaml").write_text(study)
        os.chown(path, 0, GROUP)
        path.chmod(0o2775)

    def start(self, user: int, *arguments: str) -> subprocess.Popen[str]:
        """Start the command as another user, whose own group is not that of the folder."""
        who = ("setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(GROUP), *READS)
        home = str(self.path / f"home{user}")
        env = {**os.environ, "HOME": home, "XDG_CACHE_HOME": home, "PREFECT_DISABLED": "1"}
        argv = [*who, sys.executable, "-m", "minivess.cli.main", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.path, env=env, umask=0o002, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def shared(tiny_study: str) -> Iterator[Shared]:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv, to start processes of two other users")
    with tempfile.TemporaryDirectory(prefix="minivess-shared-") as folder:
        yield Shared(Path(folder), tiny_study.replace("epochs: 3", "epochs: 30").replace("tracking_uri: none\n", ""))


def result_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, errors = process.communicate(timeout=240)
    return process.returncode, f"{output}{errors}"


RUN = ("run", "--config", "study.yaml", "--data-dir", "data", "--output-dir", "runs", "--quiet")


@pytest.mark.slow
def test_a_second_user_is_kept_out_while_the_first_one_runs_and_then_continues_the_run(shared: Shared) -> None:
    cell = shared.run.cell("dice_ce", 0)
    first = shared.start(ANNA, *RUN, "--only", "loss=dice_ce,fold=0")
    while len(cell.read_journal()) < 3:
        assert first.poll() is None, result_of(first)
        time.sleep(0.05)
    code, text = result_of(shared.start(BEN, *RUN))
    assert (code, "is held by process" in text) == (5, True), text
    first.kill()
    result_of(first)
    code, text = result_of(shared.start(BEN, *RUN, "--only", "loss=dice_ce,fold=0"))
    assert code == 0, text
    assert "resumes after step" in cell.log.read_text()
    assert shared.run.report.stat().st_uid == BEN
    for command in ("compare", "report", "track sync"):  # writes over what the other user wrote
        code, text = result_of(shared.start(ANNA, *command.split(), "runs/tiny"))
        assert code == 0, f"{command}: {text}"
    written = [(path, path.stat()) for path in (shared.path / "runs").rglob("*")]
    assert [path for path, stat in written if stat.st_gid != GROUP or stat.st_mode & 0o060 != 0o060] == []
