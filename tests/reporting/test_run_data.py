from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from minivess.digests import unseal
from minivess.errors import RunError
from minivess.experiments.run_folder import RunFolder
from minivess.reporting.run_data import budget_sentence, read_run_data, read_samples
from minivess.supervision.recorder import MonitorRow, append_row
from minivess.text import GIB


class TestRunFacts:
    def test_losses_come_in_the_order_of_the_configuration_and_baselines_last(self, finished: RunFolder):
        facts = read_run_data(finished)
        assert facts.methods == ("dice_ce", "cbdice", "threshold")
        assert facts.losses == ("dice_ce", "cbdice")
        assert [(cell.method, cell.fold) for cell in facts.cells][:3] == [("dice_ce", 0), ("dice_ce", 1), ("cbdice", 0)]
        assert {cell.state for cell in facts.cells} == {"finished"}

    def test_time_and_peaks_of_a_cell(self, finished: RunFolder):
        cell = read_run_data(finished).cells[0]
        assert (cell.seconds, cell.peaks.anonymous_bytes, cell.peaks.gpu_bytes) == (40.0, 2 * GIB, GIB)

    def test_the_state_of_a_cell_follows_from_its_files(self, copied: Callable[[], RunFolder]):
        folder = copied()
        for name in ("cbdice-fold0", "cbdice-fold1"):
            (folder.path / "cells" / name / "result.json").unlink()
        (folder.path / "cells/cbdice-fold1/outcome.json").unlink()
        for file in (folder.path / "cells/threshold-fold1").glob("*.json"):
            file.unlink()
        failed = folder.path / "cells/cbdice-fold0/outcome.json"
        failed.write_text(unseal(failed.read_text()).replace('"status": "finished"', '"status": "failed"'))
        states = {cell.name: cell.state for cell in read_run_data(folder).cells}
        assert [states[f"cbdice-fold{k}"] for k in (0, 1)] == ["failed", "started"]
        assert states["threshold-fold1"] == "not started"
        failed.write_text(unseal(failed.read_text()).replace('"status": "failed"', '"status": "stopped"'))
        assert {cell.name: cell.state for cell in read_run_data(folder).cells}["cbdice-fold0"] == "interrupted"

    def test_an_error_names_the_missing_profile(self, copied: Callable[[], RunFolder]):
        folder = copied()
        folder.profile.unlink()
        with pytest.raises(RunError) as caught:
            read_run_data(folder)
        assert all(value in caught.value.got for value in ("profile.json", str(folder.path)))


class TestSamples:
    def test_time_continues_over_attempts_and_a_cut_off_row_is_left_out(self, tmp_path: Path):
        for at_s in (0.0, 10.0, 0.0, 5.0):
            append_row(
                tmp_path / "monitor.csv", MonitorRow("2026-01-02T03:04:00", at_s, 30, 10, None, None, *[1] * 5, 1.0)
            )
        with (tmp_path / "monitor.csv").open("a") as file:
            file.write("2026-01-02T03:05:00,6.")
        samples, started = read_samples(tmp_path / "monitor.csv")
        assert [sample.at_s for sample in samples] == [0, 10, 10, 15]
        assert (samples[0].memory_bytes, samples[0].gpu_bytes) == (20, None)
        assert started is not None
        assert started.minute == 4

    @pytest.mark.parametrize("damage", [b"\0" * 40, b"\xff" * 40, b"\0" * 200_000])
    def test_a_damaged_header_gives_no_samples(self, tmp_path: Path, damage: bytes):
        file = tmp_path / "monitor.csv"
        append_row(file, MonitorRow("2026-01-02T03:04:00", 0.0, 30, 10, None, None, *[1] * 5, 1.0))
        file.write_bytes(damage + file.read_bytes()[len(damage) :] + b"\n1,2,3\n")
        assert read_samples(file) == ([], None)

    def test_a_missing_file_gives_no_samples(self, tmp_path: Path):
        assert read_samples(tmp_path / "monitor.csv") == ([], None)


class TestBudgetSentence:
    def test_all_cells_within_their_budget(self, finished: RunFolder) -> None:
        sentence = budget_sentence(read_run_data(finished))
        assert sentence.startswith("Within the memory budget: 6 cells")
        assert "16.0 GiB" in sentence

    def test_a_cell_that_swapped_in_an_earlier_attempt_is_over_its_budget(
        self, copied: Callable[[], RunFolder]
    ) -> None:
        folder = copied()
        monitor = folder.cell("cbdice", 1).monitor
        head, first, *rest = monitor.read_text().splitlines(keepends=True)
        row = first.split(",")
        row[head.split(",").index("swap_growth_bytes")] = str(2**30)
        monitor.write_text("".join([head, ",".join(row), *rest]))
        sentence = budget_sentence(read_run_data(folder))
        assert sentence.startswith("Over the memory budget: 1 of 6")
        assert all(value in sentence for value in ("cbdice-fold1 (", "swap", "1.0 GiB)"))

    def test_resident_memory_includes_file_backed_pages(self, copied: Callable[[], RunFolder]) -> None:
        folder = copied()
        outcome = folder.cell("dice_ce", 0).path / "outcome.json"
        outcome.write_text(json.dumps(json.loads(unseal(outcome.read_text())) | {"peak_rss_bytes": 17 * 2**30}))
        sentence = budget_sentence(read_run_data(folder))
        assert all(value in sentence for value in ("dice_ce-fold0 (", "17.0 GiB", "16.0 GiB)"))

    def test_cells_of_older_code_without_a_budget_are_not_judged(self, copied: Callable[[], RunFolder]) -> None:
        folder = copied()
        for order in folder.path.glob("cells/*/supervisor.json"):
            values = json.loads(unseal(order.read_text()))
            del values["limits"]["rss_budget_bytes"]
            order.write_text(json.dumps(values))
        assert budget_sentence(read_run_data(folder)) == ""
