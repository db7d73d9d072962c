"""Tests of the column with the time left."""

from __future__ import annotations

import time
from typing import Any

from rich.progress import Progress

from minivess.cli.progress import TimeLeftColumn


def shown(**fields: Any) -> str:
    with Progress(disable=True) as progress:
        number = progress.add_task("", **fields)
        return TimeLeftColumn().render(next(task for task in progress.tasks if task.id == number)).plain


class TestTimeLeftColumn:
    def test_it_counts_down_between_two_estimates(self) -> None:
        ends_at_s = time.monotonic() + 90.2
        assert shown(ends_at_s=ends_at_s) == "about 1 min 30 s"
        time.sleep(1)
        assert shown(ends_at_s=ends_at_s) == "about 1 min 29 s"

    def test_an_unknown_or_a_passed_end_shows_nothing(self) -> None:
        assert shown(ends_at_s=None) == ""
        assert shown(ends_at_s=time.monotonic() - 1) == ""
