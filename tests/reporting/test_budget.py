"""Whether a run kept its budgets."""

from __future__ import annotations

import json
from collections.abc import Callable

from minivess.experiments.folder import RunFolder
from minivess.reporting.budget import budget_sentence
from minivess.reporting.facts import read_facts


class TestBudgetSentence:
    def test_kept_by_all(self, finished: RunFolder) -> None:
        said = budget_sentence(read_facts(finished))
        assert said == "Within budget: 6 cells, below 16.0 GiB resident and without swap."

    def test_a_cell_that_swapped_in_an_earlier_attempt_failed_it(self, copied: Callable[[], RunFolder]) -> None:
        folder = copied()
        monitor = folder.cell("cbdice", 1).monitor
        head, first, *rest = monitor.read_text().splitlines(keepends=True)
        row = first.split(",")
        row[head.split(",").index("swap_growth_bytes")] = str(2**30)
        monitor.write_text("".join([head, ",".join(row), *rest]))
        assert (
            budget_sentence(read_facts(folder))
            == "Over budget: 1 of 6 cells, cbdice-fold1 (the machine's swap grew by 1.0 GiB)."
        )

    def test_resident_memory_counts_with_the_pages_of_files(self, copied: Callable[[], RunFolder]) -> None:
        folder = copied()
        outcome = folder.cell("dice_ce", 0).path / "outcome.json"
        outcome.write_text(json.dumps(json.loads(outcome.read_text()) | {"peak_rss_bytes": 17 * 2**30}))
        assert "dice_ce-fold0 (17.0 GiB resident of 16.0 GiB)" in budget_sentence(read_facts(folder))

    def test_cells_that_older_code_ran_without_a_budget_are_not_judged(self, copied: Callable[[], RunFolder]) -> None:
        folder = copied()
        for order in folder.path.glob("cells/*/supervisor.json"):
            told = json.loads(order.read_text())
            del told["limits"]["rss_budget_bytes"]
            order.write_text(json.dumps(told))
        assert budget_sentence(read_facts(folder)) == ""
