from __future__ import annotations

from pathlib import Path

import pytest

from minivess.machine.host import read_host
from minivess.text import GIB

MEMINFO = """\
MemTotal:       33554432 kB
MemFree:         1048576 kB
MemAvailable:   26214400 kB
SwapTotal:       8388608 kB
SwapFree:        6291456 kB
HugePages_Total:       0
"""  # 32 GiB, 25 GiB of it available; 8 GiB of swap, 2 GiB of it used


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    write(tmp_path / "proc", {"meminfo": MEMINFO, "loadavg": "0.50 0.40 0.30 1/100 4242\n", "self/cgroup": ""})
    return tmp_path / "proc"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


class TestWithoutCgroups:
    def test_meminfo_is_in_kib(self, proc: Path, tmp_path: Path) -> None:
        host = read_host(proc, tmp_path / "none")
        assert (host.ram_total_bytes, host.ram_available_bytes) == (32 * GIB, 25 * GIB)
        assert (host.swap_total_bytes, host.swap_used_bytes) == (8 * GIB, 2 * GIB)
        assert host.load_1min == 0.5
        assert host.notes == ()

    def test_a_system_without_proc_is_read_with_psutil(self, tmp_path: Path) -> None:
        host = read_host(tmp_path, tmp_path)
        assert 0 < host.ram_available_bytes <= host.ram_total_bytes
        assert host.load_1min is None
        assert "psutil" in host.notes[0]


class TestCgroupV2:
    def test_the_tightest_ancestor_counts_as_the_machine(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "0::/user.slice/job.scope\n"})
        write(tmp_path / "cg/user.slice/job.scope", {"memory.max": "max\n", "memory.current": str(3 * GIB)})
        write(tmp_path / "cg/user.slice", {"memory.max": str(16 * GIB), "memory.current": str(6 * GIB)})
        host = read_host(proc, tmp_path / "cg")
        assert (host.ram_total_bytes, host.ram_available_bytes) == (16 * GIB, 10 * GIB)
        assert "16.0 GiB" in host.notes[0]
        assert "user.slice" in host.notes[0]

    def test_file_cache_counts_as_available(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "0::/\n"})
        stat = f"anon {GIB}\nactive_file {2 * GIB}\ninactive_file {3 * GIB}\n"
        write(tmp_path, {"memory.max": str(8 * GIB), "memory.current": str(6 * GIB), "memory.stat": stat})
        assert read_host(proc, tmp_path).ram_available_bytes == 7 * GIB

    def test_the_lower_of_both_limits_counts(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "0::/\n"})
        write(tmp_path, {"memory.max": str(16 * GIB), "memory.high": str(12 * GIB), "memory.current": "0"})
        assert read_host(proc, tmp_path).ram_total_bytes == 12 * GIB

    def test_the_throttling_limit_is_used(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "0::/\n"})
        write(tmp_path, {"memory.max": "max", "memory.high": str(12 * GIB), "memory.current": "0"})
        assert read_host(proc, tmp_path).ram_total_bytes == 12 * GIB

    def test_a_path_of_the_host_is_found_at_the_root_of_a_container(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "0::/../docker/abc\n"})
        write(tmp_path, {"memory.max": str(4 * GIB), "memory.current": str(5 * GIB), "cpu.max": "100000 100000\n"})
        host = read_host(proc, tmp_path)
        assert (host.ram_total_bytes, host.ram_available_bytes, host.cpu_count) == (4 * GIB, 0, 1)

    def test_a_quota_of_half_a_processor_is_rounded_up_to_one(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "0::/\n"})
        write(tmp_path, {"cpu.max": "50000 100000\n"})
        assert read_host(proc, tmp_path).cpu_count == 1


class TestCgroupV1:
    def test_each_controller_has_its_own_tree(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "5:cpu,cpuacct:/box\n4:memory:/box\n0::/\n"})
        memory = {"memory.limit_in_bytes": str(8 * GIB), "memory.usage_in_bytes": str(5 * GIB)}
        stat = {"memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB}\n"}
        write(tmp_path / "memory/box", memory | stat)
        write(tmp_path / "cpu/box", {"cpu.cfs_quota_us": "100000", "cpu.cfs_period_us": "100000"})
        host = read_host(proc, tmp_path)
        assert (host.ram_total_bytes, host.ram_available_bytes, host.cpu_count) == (8 * GIB, 4 * GIB, 1)

    def test_unlimited_values_change_nothing(self, proc: Path, tmp_path: Path) -> None:
        write(proc, {"self/cgroup": "4:memory:/\n3:cpu:/\n"})
        write(tmp_path / "memory", {"memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "7"})
        write(tmp_path / "cpu", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
        assert read_host(proc, tmp_path) == read_host(proc, tmp_path / "none")
