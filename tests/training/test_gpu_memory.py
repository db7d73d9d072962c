from __future__ import annotations

import time
from pathlib import Path

import pytest

from minivess.training.gpu_memory import Card, GpuSample, GpuWatch, SmiReader, busiest_card

MIB = 2**20
SMI = """#!/bin/sh
case "$1" in
  --query-gpu=*) echo "GPU-a, 900"; echo "GPU-b, 4000" ;;
  *) echo "GPU-b, 41, 3000"; echo "GPU-b, 42, 500"; echo "GPU-a, 43, [N/A]" ;;
esac
"""


def put_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(script)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


class Frozen:
    def cards(self) -> list[Card]:
        time.sleep(5)
        return [Card(1, {})]


class TestBusiestCard:
    def test_no_card(self) -> None:
        assert busiest_card([], [1]) is None

    def test_the_card_that_the_tree_uses_not_the_fullest(self) -> None:
        cards = [Card(8000, {1: 7000}), Card(3000, {2: 1000, 3: 500, 4: 100})]
        assert busiest_card(cards, [2, 3]) == GpuSample(tree_bytes=1500, used_bytes=3000)

    def test_tree_not_listed(self) -> None:
        assert busiest_card([Card(10, {1: 5}), Card(20, {})], [9]) == GpuSample(tree_bytes=None, used_bytes=20)


class TestSmiReader:
    def test_answers_become_cards(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        assert SmiReader().cards() == [Card(900 * MIB, {}), Card(4000 * MIB, {41: 3000 * MIB, 42: 500 * MIB})]


class TestGpuWatch:
    def test_smi_takes_over_where_nvml_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        with GpuWatch(0.01) as watch:
            watch.pids = (42,)
            deadline = time.monotonic() + 5
            while not (watch.latest and watch.latest.tree_bytes) and time.monotonic() < deadline:
                time.sleep(0.01)
        assert watch.latest == GpuSample(tree_bytes=500 * MIB, used_bytes=4000 * MIB)

    def test_failing_command_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, "#!/bin/sh\nexit 9\n")
        with GpuWatch(0.01) as watch:
            time.sleep(0.2)
        assert watch.latest is None
        assert "exit status 9" in watch.trouble

    def test_hung_driver_holds_nobody_up(self) -> None:
        began = time.monotonic()
        with GpuWatch(0.01, Frozen()) as watch:
            assert watch.latest is None
        assert time.monotonic() - began < 2
