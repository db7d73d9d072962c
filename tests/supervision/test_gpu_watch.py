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
    """Fail at the fourth reading only, with an error or without any GPU."""

    def __init__(self, error: Exception | None) -> None:
        self.readings, self._error = 0, error

    def uses(self) -> list[GpuUse]:
        self.readings += 1
        if self.readings != 4:
            return [GpuUse(self.readings)]
        if self._error:
            raise self._error
        return []


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the condition is still false after 5 s"
        time.sleep(0.005)


class FakeNvml(SimpleNamespace):
    """A driver with two GPUs: the first is lost if ``lost`` is set, the second cannot list its processes."""

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
    def test_no_gpu_gives_no_sample(self) -> None:
        assert busiest_gpu([], [1]) is None

    def test_the_gpu_that_the_tree_uses_is_chosen_not_the_fullest(self) -> None:
        gpus = [GpuUse(8000, {1: 7000}), GpuUse(3000, {2: 1000, 3: 500, 4: 100})]
        assert busiest_gpu(gpus, [2, 3]) == GpuSample(tree_bytes=1500, used_bytes=3000)

    def test_tree_without_entry_next_to_listed_processes_of_this_machine_holds_nothing(self) -> None:
        assert busiest_gpu([GpuUse(10, {os.getpid(): 5})], [2**30]) == GpuSample(tree_bytes=0, used_bytes=10)

    def test_driver_that_lists_no_process_of_this_machine_gives_no_tree_memory(self) -> None:
        assert busiest_gpu([GpuUse(10, {}), GpuUse(20, {2**30: 5})], [9]) == GpuSample(tree_bytes=None, used_bytes=20)


class TestSelectUses:
    @pytest.mark.parametrize(("name", "left"), [("GPU-b", [20]), ("1", [20]), (None, [10, 20]), ("GPU-c", [])])
    def test_by_uuid_or_index(self, name: str | None, left: list[int]) -> None:
        uses = [GpuUse(10, index=0, uuid="GPU-a"), GpuUse(20, index=1, uuid="GPU-b")]
        assert [use.used_bytes for use in select_uses(uses, name)] == left


class TestNvmlReader:
    def test_gpu_that_cannot_list_its_processes_is_returned(self, nvml: FakeNvml) -> None:
        assert NvmlReader().uses() == [GpuUse(900, {41: 700}, 0, "GPU-a"), GpuUse(4000, {}, 1, "GPU-b")]

    def test_lost_gpu_does_not_hide_the_others(self, nvml: FakeNvml) -> None:
        reader = NvmlReader()
        nvml.lost = True
        assert [use.uuid for use in reader.uses()] == ["GPU-b"]

    def test_second_reader_closes_and_opens_the_driver_again(self, nvml: FakeNvml) -> None:
        for _ in range(2):
            NvmlReader()
        assert nvml.opened == 1


class TestSmiReader:
    def test_output_becomes_uses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        held = {41: 3000 * MIB, 42: 500 * MIB}
        assert SmiReader().uses() == [GpuUse(900 * MIB, {}, 0, "GPU-a"), GpuUse(4000 * MIB, held, 1, "GPU-b")]

    def test_lost_gpu_does_not_hide_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = 'echo "0, GPU-a, [GPU is lost]"; echo "Unable to determine the device handle"; exit 15'
        put_smi(
            tmp_path, monkeypatch, SMI.replace('echo "0, GPU-a, 900";', "").replace('4000" ;;', f'4000"; {lost} ;;')
        )
        assert [use.uuid for use in SmiReader().uses()] == ["GPU-b"]

    def test_failed_process_query_gives_no_processes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI.replace('*) echo "GPU-b, 41, 3000";', "*) exit 3;"))
        assert [use.bytes_by_pid for use in SmiReader().uses()] == [{}, {}]


class TestGpuWatch:
    def test_smi_replaces_nvml_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        with GpuWatch(0.01) as watch:
            watch.pids = (42,)
            deadline = time.monotonic() + 5
            while not (watch.latest and watch.latest.tree_bytes) and time.monotonic() < deadline:
                time.sleep(0.01)
        assert watch.latest == GpuSample(tree_bytes=500 * MIB, used_bytes=4000 * MIB)

    def test_failing_command_is_reported(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, "#!/bin/sh\nexit 9\n")
        with GpuWatch(0.01) as watch:
            time.sleep(0.2)
        assert watch.latest is None
        assert "exit status 9" in watch.trouble

    @pytest.mark.parametrize("error", [OSError("driver gone"), None])
    def test_continues_after_a_failure(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
        monkeypatch.setattr("minivess.supervision.gpu_watch.RETRY_S", (0.1, 5.0))
        flickering = Flickering(error)
        with GpuWatch(0.01, flickering) as watch:
            wait_until(lambda: watch.trouble != "")
            assert (flickering.readings, watch.latest) == (4, None)
            assert watch.trouble.startswith("OSError: driver gone" if error else "LookupError")
            wait_until(lambda: flickering.readings > 6)
            assert watch.latest is not None
            assert watch.trouble == ""

    def test_waits_longer_after_each_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("minivess.supervision.gpu_watch.RETRY_S", (0.01, 0.01, 60.0))
        readings = []

        class Dead:
            def uses(self) -> list[GpuUse]:
                readings.append(time.monotonic())
                raise OSError("driver gone")

        with GpuWatch(0.01, Dead()):
            time.sleep(0.5)
        assert len(readings) == 3

    def test_reads_only_the_named_gpu(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_smi(tmp_path, monkeypatch, SMI)
        with GpuWatch(0.01, SmiReader(), "GPU-a") as watch:
            watch.pids = (42,)  # this process is on the other GPU
            wait_until(lambda: watch.latest is not None)
            assert watch.latest == GpuSample(tree_bytes=None, used_bytes=900 * MIB)

    def test_lost_named_gpu_is_reported(self, nvml: FakeNvml) -> None:
        nvml.lost = True
        with GpuWatch(0.01, NvmlReader(), "GPU-a") as watch:
            wait_until(lambda: watch.trouble != "")
        assert "GPU-a" in watch.trouble

    def test_hung_driver_does_not_block_the_caller(self) -> None:
        start = time.monotonic()
        with GpuWatch(0.01, Frozen()) as watch:
            assert watch.latest is None
        assert time.monotonic() - start < 2
