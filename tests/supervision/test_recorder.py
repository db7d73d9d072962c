from __future__ import annotations

import csv
from pathlib import Path

import pytest

from minivess.machine.gpus import GpuUse
from minivess.supervision import recorder as module
from minivess.supervision.gpu_watch import GpuWatch
from minivess.supervision.process_tree import SystemSample, TreeSample
from minivess.supervision.recorder import Growth, MonitorRow, Peaks, Recorder, Snapshot, append_row

ROW = MonitorRow("2026-01-31T12:00:00+02:00", 10.0, 300, 100, None, None, 900, 0, 0, 5000, 1, 99.5)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "monitor.csv").open() as file:
        return list(csv.DictReader(file))


class TestAppendRow:
    def test_header_is_written_once_and_an_unknown_value_is_empty(self, tmp_path: Path) -> None:
        for _ in range(2):
            append_row(tmp_path / "monitor.csv", ROW)
        header, first, second = (tmp_path / "monitor.csv").read_text().splitlines()
        assert header.startswith("time_iso,elapsed_s,tree_rss_bytes,tree_file_bytes,gpu_tree_bytes,")
        assert first == second == "2026-01-31T12:00:00+02:00,10.0,300,100,,,900,0,0,5000,1,99.5"


class TestGrowth:
    def test_growth_over_the_time_between_distant_snapshots(self) -> None:
        growth = Growth()
        assert growth.after(0.0, 100) == 0
        assert growth.after(0.5, 150) == 100
        assert growth.after(1.0, 120) == 0

    def test_jump_between_close_snapshots_is_spread_over_the_window(self) -> None:
        growth = Growth()
        growth.after(0.0, 100)
        assert growth.after(0.01, 110) == 100

    def test_old_values_leave_the_window(self) -> None:
        growth = Growth()
        rates = [growth.after(tenth / 10, size) for tenth, size in enumerate([0, 100, 100, 100])]
        assert rates == [0, 1000, 0, 0]


class TestRecorder:
    def test_peaks_survive_the_next_snapshot(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0)
        snapshot = recorder.take_snapshot()
        recorder.peaks = peaks = Peaks(snapshot.tree.rss_bytes + 10**12, 10**12, 5, 10**12)
        recorder.take_snapshot()
        assert recorder.peaks == peaks

    def test_heartbeat_ends_silence(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0)
        before = recorder.take_snapshot()
        assert before.silence_s == before.elapsed_s > 0
        (tmp_path / "heartbeat").touch()
        assert recorder.take_snapshot().silence_s == 0

    def test_heartbeat_of_an_earlier_attempt_does_not_count(self, tmp_path: Path) -> None:
        (tmp_path / "heartbeat").touch()
        assert Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0).take_snapshot().silence_s > 0

    def test_a_row_is_written_when_an_interval_has_passed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows are due at 0, 10, 20, 30 and 40 s; a check at 35 s writes that of 20 and 30 s as one."""
        recorder = Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0)
        for at_s in (0.0, 3.0, 9.9, 10.0, 12.0, 35.0, 36.0, 40.0):
            monkeypatch.setattr(recorder, "elapsed_s", lambda at_s=at_s: at_s)
            recorder.take_snapshot()
        assert [float(row["elapsed_s"]) for row in _rows(tmp_path)] == [0, 10, 35, 40]

    def test_values_of_a_row_by_hand(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """3 s of processor time in 2 s are 150 %; swap falls from 50 to 40, then grows to 70."""
        swap, cpu = iter((50, 40, 70)), iter((10.0, 13.0))
        monkeypatch.setattr(module, "sample_system", lambda folder: SystemSample(900, next(swap), 5000))
        monkeypatch.setattr(module, "sample_tree", lambda pid: TreeSample((7, 8), 300, 100, next(cpu)))
        recorder = Recorder(tmp_path, GpuWatch(1.0), interval_s=2.0)
        for at_s in (0.0, 2.0):
            monkeypatch.setattr(recorder, "elapsed_s", lambda at_s=at_s: at_s)
            recorder.take_snapshot()
        first, second = _rows(tmp_path)
        assert (first["swap_growth_bytes"], second["swap_growth_bytes"], second["swap_used_bytes"]) == ("0", "20", "70")
        assert (second["cpu_percent"], second["processes"], second["disk_free_bytes"]) == ("150.0", "2", "5000")
        assert (second["tree_rss_bytes"], second["tree_file_bytes"]) == ("300", "100")
        assert recorder.peaks == Peaks(300, 200, None, 20)

    def test_gpu_growth_counts_as_tree_memory_if_the_tree_is_not_listed(self, tmp_path: Path) -> None:
        snapshots = self._take_snapshots(tmp_path)
        first = next(snapshot.gpu_used_bytes for snapshot in snapshots if snapshot.gpu_used_bytes)
        assert snapshots[-1].gpu_tree_bytes == (snapshots[-1].gpu_used_bytes or 0) - first

    def test_growth_of_a_shared_gpu_does_not_count_as_tree_memory(self, tmp_path: Path) -> None:
        snapshots = self._take_snapshots(tmp_path, gpu_shared=True)
        assert {snapshot.gpu_tree_bytes for snapshot in snapshots} == {None}

    def _take_snapshots(self, folder: Path, gpu_shared: bool = False) -> list[Snapshot]:
        class Fuller:
            used_bytes = 1000

            def uses(self) -> list[GpuUse]:
                self.used_bytes += 50
                return [GpuUse(self.used_bytes, {2**30: 1000})]  # a pid of another process namespace

        with GpuWatch(0.01, Fuller()) as gpu:
            recorder = Recorder(folder, gpu, interval_s=10.0, gpu_shared=gpu_shared)
            snapshots = [recorder.take_snapshot()]
            while snapshots[-1].gpu_used_bytes is None or snapshots[-1].gpu_used_bytes < 1200:
                snapshots.append(recorder.take_snapshot())
        return snapshots
