"""The test set in a real run: until all cells have finished its voxels are damaged, and every opening of a file is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from minivess.data.formats.nifti import read_volume
from minivess.data.phantoms.phantom import in_groups, small_cases, write_phantom
from minivess.experiments.best_model import find_best_model
from minivess.experiments.load_run import load_run
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.unseen import UnseenSpec
from minivess.experiments.unseen_scores import read_unseen
from minivess.json_files import read_state, write_state

TEST = ("animal3_1", "animal3_2")
RECORD = """\
import os, sys
def record(event, arguments):
    if event == "open" and "animal3" in str(arguments[0]):
        with os.fdopen(os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "w") as log:
            print(*sys.orig_argv[1:4], str(arguments[0]), file=log)
sys.addaudithook(record)
"""

pytestmark = pytest.mark.slow  # two real runs


@dataclass
class Study:
    """Both runs of the same command: the test files are damaged in the first, and whole in the second."""

    run: RunFolder
    data: Path
    refused: subprocess.CompletedProcess[str]
    opened: list[str]
    before: dict[str, int]
    scored: subprocess.CompletedProcess[str]
    command: Callable[[], subprocess.CompletedProcess[str]]


def _damage(path: Path) -> None:
    """Overwrite the middle of a compressed file: header and length can be read, the voxels cannot."""
    content, middle = path.read_bytes(), path.stat().st_size // 2
    path.write_bytes(content[:middle] + bytes(300) + content[middle + 300 :])


@pytest.fixture(scope="module")
def study(tiny_study: str, tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("unseen")
    data = folder / "data"
    write_phantom(data, in_groups(small_cases(6), 3))
    files = [path for path in data.rglob("*.nii.gz") if path.name.startswith(TEST)]
    whole = {path: path.read_bytes() for path in files}
    for path in files:
        _damage(path)
    text = tiny_study.replace("tracking_uri: none\n", "").replace("dry_start: false\n", "")
    (folder / "tiny.yaml").write_text(f"{text}groups: groups.csv\ntest: [{', '.join(TEST)}]\n")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(RECORD.format(log=str(folder / "opened.txt")))
    paths = f"{folder / 'site'}{os.pathsep}{os.environ['PYTHONPATH']}"

    def command() -> subprocess.CompletedProcess[str]:
        argv = [
            "run",
            "--config",
            str(folder / "tiny.yaml"),
            "--data-dir",
            str(data),
            "--output-dir",
            str(folder / "runs"),
        ]
        environment = {**os.environ, "PREFECT_DISABLED": "1", "PYTHONPATH": paths}
        argv = [sys.executable, "-m", "minivess.cli.main", *argv]
        return subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=600)

    refused = command()
    opened = (folder / "opened.txt").read_text().splitlines()
    run = RunFolder(folder / "runs" / "tiny")
    before = {str(path): path.stat().st_mtime_ns for path in run.path.glob("cells/*/result.json")}
    for path, content in whole.items():
        path.write_bytes(content)
    return Study(run, data, refused, opened, before, command(), command)


class TestBeforeTheEnd:
    def test_every_cell_finishes_and_is_reported_although_the_test_set_cannot_be_read(self, study: Study) -> None:
        assert study.refused.returncode == 5, study.refused.stderr
        assert {Path(path).parent.name for path in study.before} == {
            f"{method}-fold{fold}" for method in ("dice_ce", "threshold") for fold in (0, 1)
        }
        assert "Failed: test set" in study.refused.stderr
        assert "Report:" in study.refused.stdout

    def test_only_the_command_itself_opened_a_test_file(self, study: Study) -> None:
        """Not the dry start, a cell or a scoring process: no line names a worker, except the one that scans at the end."""
        workers = {line.split()[1] for line in study.opened if line.startswith("-m minivess.worker")}
        assert len(study.opened) > 0
        assert workers <= {"minivess.cli.main"}

    def test_no_test_case_is_in_the_folds_the_profile_or_the_store_of_the_run(self, study: Study) -> None:
        splits = study.run.read_splits()
        assert splits.test == TEST
        assert not {name for fold in splits.folds for name in (*fold.train, *fold.held_out)} & set(TEST)
        assert not {volume.name for volume in study.run.read_profile().volumes} & set(TEST)
        store = study.run.cell("dice_ce", 0).read_spec().store
        assert not [path for path in store.iterdir() if path.name.startswith("animal3")]


class TestAtTheEnd:
    def test_nothing_is_trained_again(self, study: Study) -> None:
        assert study.scored.returncode == 0, study.scored.stderr
        assert {path: os.stat(path).st_mtime_ns for path in study.before} == study.before

    def test_the_registered_network_is_scored(self, study: Study, tmp_path: Path) -> None:
        scores, best = read_unseen(study.run), find_best_model(study.run)
        assert scores is not None
        assert best is not None
        assert (scores.cell, scores.earlier) == (best.name, ()) == ("dice_ce-ensemble", ())
        assert [(row.case, row.group) for row in scores.rows] == [(name, "animal3") for name in TEST]
        argv = [sys.executable, "-m", "minivess.cli.main", "predict", str(study.run.path), "-o", str(tmp_path)]
        subprocess.run([*argv, str(study.data / "raw" / "animal3_1.nii.gz")], check=True)
        kept = study.run.unseen(scores.cell).predictions / "animal3_1.nii.gz"
        assert (read_volume(tmp_path / "animal3_1_y.nii.gz") == read_volume(kept)).all()

    def test_it_is_in_no_comparison_and_in_a_table_of_its_own(self, study: Study) -> None:
        loaded = load_run(study.run.path)
        assert not set(loaded.comparison.cases) & set(TEST)
        assert list(loaded.test.case) == list(TEST)
        assert study.run.test_cases.read_text().count("animal3_") == 2

    def test_terminal_and_report_show_it(self, study: Study) -> None:
        assert "Test set (2 cases in 1 group, dice_ce, ensemble)" in " ".join(study.scored.stdout.split())
        page = study.run.report.read_text()
        section = page[page.index('<section id="test">') : page.index('<section id="cases">')]
        assert all(name in section for name in TEST)
        assert "<dt>test set</dt>" in page

    def test_mlflow_has_it_apart_from_the_fold(self, study: Study) -> None:
        from minivess.tracking.client import open_client
        from minivess.tracking.uris import sqlite_uri

        client = open_client(sqlite_uri(study.run.path.parent / "mlflow.db"))
        (experiment,) = [one for one in client.search_experiments() if one.name == "tiny"]
        runs = {run.info.run_name: run.data for run in client.search_runs([experiment.experiment_id])}
        scores = read_unseen(study.run)
        assert scores is not None
        assert runs["tiny"].metrics["test/dsc"] == pytest.approx(scores.interval("dsc").mean)
        assert not [name for fold in (0, 1) for name in runs[f"dice_ce-fold{fold}"].metrics if name.startswith("test/")]
        (version,) = client.search_model_versions("name='tiny'")
        assert version.tags["test_dsc"].startswith(f"{scores.interval('dsc').mean:.3f}"[:4])

    def test_scores_of_a_network_that_was_trained_again_are_kept_and_named(self, study: Study) -> None:
        """Another digest of the weights stands for the network that was there before."""
        scores = read_unseen(study.run)
        assert scores is not None
        place = study.run.unseen(scores.cell)
        spec = read_state(place.spec, UnseenSpec, "")
        write_state(place.spec, spec.model_copy(update={"weights_digest": "of another network"}))
        assert study.command().returncode == 0
        again = read_unseen(study.run)
        assert again is not None
        assert (again.rows, again.earlier) == (scores.rows, (f"{scores.cell}-before-1",))
