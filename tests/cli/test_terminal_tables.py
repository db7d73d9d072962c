from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.console import Console

from minivess.cli import terminal_tables
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.reporting.headline import headline
from minivess.statistics.compare_methods import compare

ROWS = [
    {
        "method": method,
        "fold": k,
        "case": f"c{k}",
        "dsc": dsc + 0.01 * k,
        "cldice": dsc + 0.02 * k,
        "measured_masd": 2.0 - dsc - 0.03 * k,
    }
    for method, dsc in (("threshold", 0.4), ("warp", 0.5), ("cbdice", 0.7))
    for k in (0, 1)
]


class TestShowComparison:
    @pytest.mark.parametrize(("width", "lines"), [(80, 2), (120, 1)])
    def test_intervals_are_below_their_means_on_a_narrow_terminal(
        self, width: int, lines: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal_tables, "console", Console(width=width))
        terminal_tables.show_comparison(compare(ROWS))
        out = capsys.readouterr().out.splitlines()
        first = next(k for k, line in enumerate(out) if line.startswith("cbdice"))
        assert out[first + lines].startswith("threshold")
        assert "0.705" in out[first]
        assert max(map(len, out)) <= width

    @pytest.mark.parametrize("width", [44, 60, 80])
    def test_metrics_that_do_not_fit_go_below_with_all_names_and_unbroken_intervals(
        self, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal_tables, "console", Console(width=width))
        rows = [{**row, "betti0_error": 4.0, "betti1_error": 2.0 + row["fold"]} for row in ROWS]
        terminal_tables.show_comparison(
            compare(rows, metrics=[name for name in rows[0] if name not in ("method", "fold", "case")])
        )
        out = capsys.readouterr().out
        assert "…" not in out
        assert max(map(len, out.splitlines())) <= width
        assert out.count("[2.000, 3.000]") == 3  # two losses and the baseline
        names = re.findall(r"^(cbdice|warp) {2,}", out, re.MULTILINE)  # rows of tables, not lines of the verdict
        assert names.count("cbdice") == names.count("warp") >= 3  # two tables of scores or more, and the tests

    def test_the_connectivity_of_topology_metrics_is_stated(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal_tables, "console", Console(width=200))
        terminal_tables.show_comparison(compare(ROWS, metrics=["dsc", "cldice"]))
        assert capsys.readouterr().out.count("26-connected") == 1
        terminal_tables.show_comparison(compare(ROWS, metrics=["dsc"]))
        assert "connected" not in capsys.readouterr().out

    def test_every_note_is_printed_once(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal_tables, "console", Console(width=200))
        terminal_tables.show_comparison(compare(ROWS[:-1]))
        assert capsys.readouterr().out.count("(c1)") == 1

    def test_baselines_come_last_and_the_verdict_after_them(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal_tables, "console", Console(width=200))
        terminal_tables.show_comparison(compare(ROWS))
        out = capsys.readouterr().out
        title = headline(compare(ROWS)).title
        assert "cbdice" in title
        assert out.index("warp") < out.index("threshold") < out.index(title)

    def test_every_loss_has_its_p_and_effect_size_against_the_best(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(terminal_tables, "console", Console(width=80))
        terminal_tables.show_comparison(compare(ROWS))
        out = capsys.readouterr().out
        row = out[out.index("p, effect size") :].splitlines()[1:3]
        assert row[0].split() == ["warp", *["0.500,", "-1.00"] * 2, "0.500,", "+1.00"]  # two cases: 2 of 4 patterns
        assert row[1].split() == ["cbdice", "best", "best", "best"]
        assert out.count("threshold") == 1


class TestShowUnfinished:
    def test_number_of_finished_cells_and_command_that_continues(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = RunFolder(tmp_path)
        write_state(folder.config, ExperimentConfig(name="one", losses=("warp",), folds=2))
        cells = [folder.cell(method, fold) for method in ("threshold", "warp") for fold in (0, 1)]
        for finished, said in ((3, "3 of 4 cells"), (4, "")):
            for cell in cells[:finished]:
                cell.path.mkdir(parents=True, exist_ok=True)
                cell.result.touch()
            terminal_tables.show_unfinished(folder, "the same command")
            assert bool(out := capsys.readouterr().out) == bool(said)
            assert out.startswith(said)
