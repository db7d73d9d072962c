from __future__ import annotations

from pathlib import Path

from minivess.machine.gpus import GpuUse
from minivess.supervision.gpu_watch import GpuWatch
from minivess.supervision.recorder import Growth, MonitorRow, Peaks, Recorder, Snapshot, append_row

ROW = MonitorRow("2026-01-31T12:00:00+02:00", 10.0, 300, 100, None, None, 900, 0, 0, 5000, 1, 99.5)


class TestAppendRow:
    def test_header_once_and_empty_cell_for_unknown(self, tmp_path: Path) -> None:
        for _ in range(2):
            append_row(tmp_path / "monitor.csv", ROW)
        header, first, second = (tmp_path / "monitor.csv").read_text().splitlines()
        assert header.startswith("time_iso,elapsed_s,tree_rss_bytes,tree_file_bytes,gpu_tree_bytes,")
        assert first == second == "2026-01-31T12:00:00+02:00,10.0,300,100,,,900,0,0,5000,1,99.5"


class TestGrowth:
    def test_over_the_time_between_distant_looks(self) -> None:
        growth = Growth()
        assert growth.after(0.0, 100) == 0
        assert growth.after(0.5, 150) == 100
        assert growth.after(1.0, 120) == 0

    def test_one_jump_between_close_looks_is_spread_over_the_window(self) -> None:
        growth = Growth()
        growth.after(0.0, 100)
        assert growth.after(0.01, 110) == 100

    def test_window_moves_on(self) -> None:
        growth = Growth()
        rates = [growth.after(tenth / 10, size) for tenth, size in enumerate([0, 100, 100, 100])]
        assert rates == [0, 1000, 0, 0]


class TestRecorder:
    def test_peaks_outlast_the_look(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0)
        look = recorder.look()
        recorder.peaks = Peaks(rss_bytes=look.tree.rss_bytes + 10**12, gpu_bytes=5)
        recorder.look()
        assert recorder.peaks.rss_bytes == look.tree.rss_bytes + 10**12
        assert recorder.peaks.gpu_bytes == 5

    def test_heartbeat_ends_silence(self, tmp_path: Path) -> None:
        recorder = Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0)
        before = recorder.look()
        assert before.silence_s == before.elapsed_s > 0
        (tmp_path / "heartbeat").touch()
        assert recorder.look().silence_s == 0

    def test_heartbeat_of_an_earlier_attempt_is_no_life(self, tmp_path: Path) -> None:
        (tmp_path / "heartbeat").touch()
        assert Recorder(tmp_path, GpuWatch(1.0), interval_s=10.0).look().silence_s > 0

    def test_gpu_growth_where_the_tree_is_not_listed(self, tmp_path: Path) -> None:
        looks = self._looks(tmp_path)
        first = next(look.gpu_used_bytes for look in looks if look.gpu_used_bytes)
        assert looks[-1].gpu_tree_bytes == (looks[-1].gpu_used_bytes or 0) - first

    def test_growth_of_a_shared_card_is_no_tree_of_ours(self, tmp_path: Path) -> None:
        looks = self._looks(tmp_path, gpu_shared=True)
        assert {look.gpu_tree_bytes for look in looks} == {None}

    def _looks(self, folder: Path, gpu_shared: bool = False) -> list[Snapshot]:
        class Fuller:
            used_bytes = 1000

            def uses(self) -> list[GpuUse]:
                self.used_bytes += 50
                return [GpuUse(self.used_bytes, {2**30: 1000})]  # of another name space of processes

        with GpuWatch(0.01, Fuller()) as gpu:
            recorder = Recorder(folder, gpu, interval_s=10.0, gpu_shared=gpu_shared)
            looks = [recorder.look()]
            while looks[-1].gpu_used_bytes is None or looks[-1].gpu_used_bytes < 1200:
                looks.append(recorder.look())
        return looks
