"""The cache of predicted peaks on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from minivess.json_files import read_state
from minivess.models.model_profile import NetworkSpec
from minivess.planning.memory.cache import PeakCache, _digest
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.memory.workload import TrainingWorkload

_READ_PEAK = """
import sys
from pathlib import Path
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.workload import TrainingWorkload

with PeakCache(Path(sys.argv[1])) as cache:
    print(int(cache.peak(TrainingWorkload.model_validate_json(sys.argv[2]))), "torch" in sys.modules)
"""


@pytest.fixture
def work(one_layer: NetworkSpec) -> TrainingWorkload:
    return TrainingWorkload(
        network=one_layer, loss="dice_ce", patch=(8, 8, 4), batch=1, precision="fp32", device="cuda"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peaks")


@pytest.fixture(scope="module")
def cache(folder: Path) -> Iterator[PeakCache]:
    with PeakCache(folder) as opened:
        yield opened


class TestPeakCache:
    def test_a_stored_peak_needs_no_torch(self, work: TrainingWorkload, cache: PeakCache, folder: Path) -> None:
        peak = cache.peak(work)
        command = [sys.executable, "-c", _READ_PEAK, str(folder), work.model_dump_json()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(int(peak)), "False"]

    def test_times_are_stored_per_environment(self, work: TrainingWorkload, tmp_path: Path) -> None:
        on_cpu = work.model_copy(update={"device": "cpu"})
        for threads in ("1", "2", "1"):
            with PeakCache(tmp_path, {"OMP_NUM_THREADS": threads}) as cache:
                assert cache.seconds(on_cpu) > 0
        assert len(list(tmp_path.glob("seconds-*.json"))) == 2

    def test_a_damaged_file_is_computed_again(self, work: TrainingWorkload, cache: PeakCache, folder: Path) -> None:
        peak = cache.peak(work)
        (file,) = folder.iterdir()
        file.write_text("{", encoding="utf-8")
        assert cache.peak(work) == peak
        assert read_state(file, PeakMemory, "") == peak

    def test_a_folder_that_is_not_writable_is_no_error(self, work: TrainingWorkload, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with PeakCache(tmp_path / "file" / "peaks") as cache:
            assert int(cache.peak(work)) > 0
            assert cache.seconds(work.model_copy(update={"device": "cpu"})) > 0


class TestFolder:
    def test_a_user_without_a_home_gets_a_temporary_folder(self) -> None:
        """A container may run under a user id that has no user entry and no HOME."""
        code = "import os; from minivess.planning.memory.estimator import cache_folder; os.setuid(54321); print(cache_folder({}))"
        if os.geteuid() != 0:
            pytest.skip("needs root, to switch to another user")
        environment = {key: value for key, value in os.environ.items() if key != "HOME"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.stdout.strip().endswith("cache-54321/minivess/peaks"), done.stderr


class TestKey:
    def test_changes_with_workload_package_and_builder(
        self, work: TrainingWorkload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = [_digest(work), _digest(work.model_copy(update={"batch": 2}))]
        with (tmp_path / "own" / "one_layer.py").open("a", encoding="utf-8") as module:
            module.write("# another\n")
        keys.append(_digest(work))
        monkeypatch.setattr("minivess.planning.memory.cache._traced", lambda: {"losses": "another"})
        keys.append(_digest(work))
        assert len(set(keys)) == 4

    def test_is_the_same_for_equal_workloads(self, work: TrainingWorkload) -> None:
        assert _digest(work) == _digest(work.model_copy(deep=True))
