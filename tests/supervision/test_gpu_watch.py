from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from minivess.machine.gpus import GpuUse, NvmlReader, SmiReader, select_uses
from minivess.supervision.gpu_watch import GpuSample, GpuWatch, busiest_gpu

MIB = 2**20
SMI = """#!/bin/sh
case "$1" in
  --query-gpu=*) echo "0, GPU-a, 900"; echo "1, GPU-b, 4000" ;;
  *) echo "GPU-b, 41, 3000"; echo "GPU-b, 42, 500"; echo "GPU-a, 43, [N/A]" ;;
esac
"""


def put_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    command = folder / "nvidia-smi"
    command.write_text(script)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


class Frozen:
    def uses(self) -> list[GpuUse]:
        time.sleep(5)
        return [GpuUse(1, {})]


class Flickering:
    """Fails at the 4th look only, with an error or without any card."""

    def __init__(self, error: Exception | None) -> None:
        self.looks, self._error = 0, error

    def uses(self) -> list[GpuUse]:
        self.looks += 1
        if self.looks != 4:
            return [GpuUse(self.looks)]
        if self._error:
            raise self._error
        return []


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


class FakeNvml(SimpleNamespace):
    """A driver with two cards: the first is lost when told so, the second cannot list its processes."""

    class NVMLError(Exception): ...

    lost, opened = False, 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.opened += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        if not self.opened:
            raise self.NVMLError("Uninitialized")
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if self.lost and index == 0:
            raise self.NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(used=(900, 4000)[handle])

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return ("GPU-a", "GPU-b")[handle]

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        if handle == 1:
            raise self.NVMLError("Unknown Error")
        return [SimpleNamespace(pid=41, usedGpuMemory=700), SimpleNamespace(pid=42, usedGpuMemory=None)]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


class TestBusiestGpu:
    def test_no_card(self) -> None:
        assert busiest_gpu([], [1]) is None

    def test_the_card_that_the_tree_uses_not_the_fullest(self) -> None:
        cards = [GpuUse(8000, {1: 7000}), GpuUse(3000, {2: 1000, 3: 500, 4: 100})]
        assert busiest_gpu(cards, [2, 3]) == GpuSample(tree_bytes=1500, used_bytes=3000)

    def test_a_tree_that_is_not_listed_beside_others_of_this_machine_holds_nothing_yet(self) -> None:
        assert busiest_gpu([GpuUse(10, {os.getpid(): 5})], [2**30]) == GpuSample(tree_bytes=0, used_bytes=10)

    def test_a_driver_that_lists_nobody_whom_we_know_says_nothing_of_the_tree(self) -> None:
        assert busiest_gpu([GpuUse(10, {}), GpuUse(20, {2**30: 5})], [9]) == GpuSample(tree_bytes=None, used_bytes=20)


class TestSelectUses:
    @pytest.mark.parametrize(("name", "left"), [("GPU-b", [20]), ("1", [20]), (None, [10, 20]), ("GPU-c", [])])
    def test_by_uuid_or_index(self, name: str | None, left: list[int]) -> None:
        cards = [GpuUse(10, index=0, uuid="GPU-a"), GpuUse(20, index=1, uuid="GPU-b")]
        assert [card.used_bytes for card in select_uses(cards, name)] == left


class TestNvmlReader:
    def test_a_card_that_cannot_list_its_processes_is_a_card(self, nvml: FakeNvml) -> None:
        assert NvmlReader().uses() == [GpuUse(900, {41: 700}, 0, "GPU-a"), GpuUse(4000, {}, 1, "GPU-b")]

    def test_a_lost_card_does_not_hide_the_others(self, nvml: FakeNvml) -> None:
        reader = NvmlReader()
        nvml.lost = True
        assert [card.uuid for card in reader.uses()] == ["GPU-b"]

    def test_a_second_reader_opens_the_driver_anew(self, nvml: FakeNvml) -> None:
        for _ in range(2):
            NvmlReader()
        assert nvml.opened == 1


class TestSmiReader:
    def test_answers_become_cards(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        held = {41: 3000 * MIB, 42: 500 * MIB}
        assert SmiReader().uses() == [GpuUse(900 * MIB, {}, 0, "GPU-a"), GpuUse(4000 * MIB, held, 1, "GPU-b")]

    def test_a_lost_card_does_not_hide_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = 'echo "0, GPU-a, [GPU is lost]"; echo "Unable to determine the device handle"; exit 15'
        put_smi(
            tmp_path, monkeypatch, SMI.replace('echo "0, GPU-a, 900";', "").replace('4000" ;;', f'4000"; {lost} ;;')
        )
        assert [card.uuid for card in SmiReader().uses()] == ["GPU-b"]

    def test_processes_that_cannot_be_listed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI.replace('*) echo "GPU-b, 41, 3000";', "*) exit 3;"))
        assert [card.bytes_by_pid for card in SmiReader().uses()] == [{}, {}]


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

    @pytest.mark.parametrize("error", [OSError("driver gone"), None])
    def test_goes_on_after_a_failure(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
        monkeypatch.setattr("minivess.supervision.gpu_watch.RETRY_S", (0.1, 5.0))
        flickering = Flickering(error)
        with GpuWatch(0.01, flickering) as watch:
            wait_until(lambda: watch.trouble != "")
            assert (flickering.looks, watch.latest) == (4, None)
            assert watch.trouble == ("OSError: driver gone" if error else "LookupError: no reading of any GPU")
            wait_until(lambda: flickering.looks > 6)
            assert watch.latest is not None
            assert watch.trouble == ""

    def test_waits_longer_the_longer_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("minivess.supervision.gpu_watch.RETRY_S", (0.01, 0.01, 60.0))
        looks = []

        class Dead:
            def uses(self) -> list[GpuUse]:
                looks.append(time.monotonic())
                raise OSError("driver gone")

        with GpuWatch(0.01, Dead()):
            time.sleep(0.5)
        assert len(looks) == 3

    def test_only_the_named_card(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        with GpuWatch(0.01, SmiReader(), "GPU-a") as watch:
            watch.pids = (42,)  # which is on the other one
            wait_until(lambda: watch.latest is not None)
            assert watch.latest == GpuSample(tree_bytes=None, used_bytes=900 * MIB)

    def test_a_named_card_that_is_lost_is_trouble(self, nvml: FakeNvml) -> None:
        nvml.lost = True
        with GpuWatch(0.01, NvmlReader(), "GPU-a") as watch:
            wait_until(lambda: watch.trouble != "")
        assert watch.trouble == "LookupError: no reading of GPU GPU-a"

    def test_hung_driver_holds_nobody_up(self) -> None:
        began = time.monotonic()
        with GpuWatch(0.01, Frozen()) as watch:
            assert watch.latest is None
        assert time.monotonic() - began < 2
