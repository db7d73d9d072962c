"""A real run with repeats: they differ by seed, losses share them, and they can be added to a finished run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from minivess.cli.main import cli
from minivess.experiments.load_run import load_run
from minivess.experiments.run_folder import RunFolder

pytestmark = pytest.mark.slow  # two real runs


@pytest.fixture(scope="module")
def raised(
    phantoms: Path, tiny_study: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, dict[str, int]]:
    """A run that finished with one repeat and was continued with two; and the times of its first files."""
    folder = tmp_path_factory.mktemp("repeats")
    (folder / "tiny.yaml").write_text(tiny_study.replace("[dice_ce]", "[dice_ce, tversky]"))
    command = ["run", "--config", str(folder / "tiny.yaml"), "--data-dir", str(phantoms), "--output-dir", str(folder)]
    run = RunFolder(folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_DISABLED", "1")
        first = CliRunner().invoke(cli, [*command, "--quiet"])
        assert first.exit_code == 0, first.output
        before = {str(path): path.stat().st_mtime_ns for path in run.path.glob("cells/*/*") if path.is_file()}
        planned = CliRunner().invoke(cli, [*command, "--set", "repeats=2", "--dry-run", "--json"])
        (folder / "planned.json").write_text(planned.stdout)
        second = CliRunner().invoke(cli, [*command, "--set", "repeats=2", "--quiet"])
        assert second.exit_code == 0, second.output
    return run, before


class TestRepeats:
    def test_nothing_that_was_finished_is_trained_again(self, raised: tuple[RunFolder, dict[str, int]]) -> None:
        run, before = raised
        assert {path: os.stat(path).st_mtime_ns for path in before} == before
        added = {cell.path.name for cell in run.cells()} - {Path(path).parent.name for path in before}
        assert added == {f"{loss}-fold{fold}-repeat2" for loss in ("dice_ce", "tversky") for fold in (0, 1)}

    def test_folds_are_the_same_and_seeds_differ(self, raised: tuple[RunFolder, dict[str, int]]) -> None:
        run, _ = raised
        first, second = (run.cell("dice_ce", 0, repeat) for repeat in (1, 2))
        assert first.read_spec().held_out == second.read_spec().held_out
        assert first.read_journal()[0]["loss"] != second.read_journal()[0]["loss"]
        assert second.read_spec().seed == run.cell("tversky", 0, 2).read_spec().seed != first.read_spec().seed

    def test_the_dry_run_says_what_is_finished(self, raised: tuple[RunFolder, dict[str, int]]) -> None:
        cells = json.loads((raised[0].path.parent / "planned.json").read_text())["cells"]
        assert [cell["name"] for cell in cells if not cell["finished"]] == [
            f"{loss}-fold{fold}-repeat2" for loss in ("dice_ce", "tversky") for fold in (0, 1)
        ]

    def test_every_row_has_its_repeat_and_the_case_as_its_group(self, raised: tuple[RunFolder, dict[str, int]]) -> None:
        loaded = load_run(raised[0].path)
        counts = loaded.cases.groupby(["method", "repeat"]).size().to_dict()
        assert counts == {
            ("dice_ce", 1): 4,
            ("dice_ce", 2): 4,
            ("tversky", 1): 4,
            ("tversky", 2): 4,
            ("threshold", 1): 4,
        }
        assert (loaded.cases["group"] == loaded.cases["case"]).all()
        assert sorted(loaded.cells["repeat"]) == [1] * 6 + [2] * 4

    def test_a_comparison_averages_the_repeats_within_a_case(self, raised: tuple[RunFolder, dict[str, int]]) -> None:
        loaded = load_run(raised[0].path)
        mean = loaded.cases[loaded.cases.method == "dice_ce"].dsc.mean()
        (score,) = [score for score in loaded.comparison.metrics[1].methods if score.method == "dice_ce"]
        assert (score.interval.mean, score.interval.n) == (pytest.approx(mean), 4)

    def test_the_report_names_the_repeat_of_a_cell(self, raised: tuple[RunFolder, dict[str, int]]) -> None:
        page = raised[0].report.read_text()
        assert page.count("fold 1, repeat 2</th>") == 2
        assert "10 <span>of 10</span>" in page
