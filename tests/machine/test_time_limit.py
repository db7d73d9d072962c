from __future__ import annotations

import time

import pytest

from minivess.machine.time_limit import within


class TestWithin:
    def test_a_call_that_hangs_is_abandoned(self) -> None:
        before = time.monotonic()
        with pytest.raises(TimeoutError, match=r"0\.05 s"):
            within(0.05, lambda: time.sleep(0.5))
        assert time.monotonic() - before < 0.4

    def test_results_and_errors_are_those_of_the_call(self) -> None:
        assert within(5, lambda: 3) == 3
        with pytest.raises(ZeroDivisionError):
            within(5, lambda: 1 / 0)
