"""Two cells side by side on one machine, in real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minivess.errors import RunError
from minivess.experiments.run_folder import CellFolder, RunFolder

Start = Callable[..., subprocess.Popen[str]]
TWO = ("--only", "loss=dice_ce", "--set", "limits.cells_at_a_time=2")


class TestSideBySide:
    @pytest.mark.slow
    def test_both_cells_finish_with_equal_threads_and_memory(self, minivess_run: Start, tmp_path: Path) -> None:
        process = minivess_run(tmp_path, *TWO, PREFECT_DISABLED="1")
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        cells = _cells(tmp_path)
        assert [cell.finished for cell in cells] == [True, True]
        specs = [json.loads((cell.path / "supervisor.json").read_text()) for cell in cells]
        assert {len(spec["environment"]["OMP_NUM_THREADS"]) for spec in specs} == {1}
        assert len({spec["limits"]["memory_limit_bytes"] for spec in specs}) == 1

    @pytest.mark.slow
    def test_interrupt_saves_and_stops_both_cells(self, minivess_run: Start, tmp_path: Path) -> None:
        process = minivess_run(tmp_path, *TWO, "--set", "training.max_epochs=3000", PREFECT_DISABLED="1")
        cells = _cells(tmp_path)
        deadline = time.monotonic() + 90
        while not all(cell.journal.is_file() for cell in cells):  # until both run at the same time
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == RunError.exit_code
        assert "interrupted" in err
        assert "Traceback" not in err
        assert all(list(cell.checkpoints.glob("step-*")) for cell in cells)


def _cells(folder: Path) -> list[CellFolder]:
    run = RunFolder(folder / "tiny")
    return [run.cell("dice_ce", fold) for fold in (0, 1)]
