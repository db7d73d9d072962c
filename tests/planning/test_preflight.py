from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minivess.errors import DataError, PlanError
from minivess.findings import Finding
from minivess.json_files import from_plain
from minivess.machine.gpus import Gpu
from minivess.machine.host import Host
from minivess.planning.hardware import HardwareBudget
from minivess.planning.library_checks import LibraryVersions
from minivess.planning.preflight import (
    PreflightResult,
    check_disk,
    check_gpu,
    check_outputs,
    check_ram,
    check_ram_limit,
    check_swap,
    run_preflight,
)
from minivess.text import GIB

DESKTOP = HardwareBudget.imagined(8 * GIB, 32 * GIB)


def preflight(folder: Path, hardware: HardwareBudget = DESKTOP, **options: Any) -> PreflightResult:
    """Run preflight on a data folder with one file, in an otherwise empty file system."""
    (folder / "data").mkdir()
    (folder / "data/mv01.nii.gz").touch()
    versions = LibraryVersions("2.10.0", "9.15.1.9")
    arguments = {"environ": {}, "versions": versions, "root": folder, "data_dir": folder / "data"} | options
    return run_preflight(hardware, output_dir=folder / "runs/one", **arguments)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


class TestPreflight:
    def test_all_check_categories_present(self, tmp_path: Path) -> None:
        result = preflight(tmp_path)
        names = ["gpu", "ram", "disk", "swap", "environment", "data", "libraries", "outputs", "plan"]
        assert list(result.findings) == names
        assert all(found for name, found in result.findings.items() if name != "plan")
        assert result.ok

    def test_gpu_detection(self) -> None:
        (idle,) = check_gpu(DESKTOP)
        (none,) = check_gpu(HardwareBudget(DESKTOP.host, (), ("nvidia-smi: no answer within 10 s",)))
        assert (idle.level, none.level) == ("info", "warning")
        assert idle.got.startswith("6.0 GiB: 75 %")
        assert "no answer within 10 s" in none.got

    @pytest.mark.parametrize(("free_gib", "expected"), [(5.75, "idle"), (2, "6 GB")])
    def test_a_busy_gpu_warns(self, free_gib: float, expected: str) -> None:
        gpu = Gpu(0, "GPU-0", "a GPU", 8 * GIB, int(free_gib * GIB), None, "550")
        (finding,) = check_gpu(HardwareBudget(DESKTOP.host, (gpu,)))
        assert (finding.level, finding.check) == ("warning", "gpu")
        assert expected in finding.expected

    @pytest.mark.parametrize(("gib", "level"), [(12, "warning"), (15, "warning"), (15.5, "info"), (32, "info")])
    def test_ram_check_warns_below_16gb(self, gib: float, level: str) -> None:
        assert levels(check_ram(HardwareBudget.imagined(None, int(gib * GIB)))) == [level]

    def test_ram_check_warns_if_other_programs_use_most_of_it(self) -> None:
        assert levels(check_ram(HardwareBudget(Host(8, 0.0, 32 * GIB, 16 * GIB, 0, 0)))) == ["warning"]

    @pytest.mark.parametrize(
        ("limit_gib", "expected", "abort_gib"),
        [(None, "", 24), (20, "", 20), (24, "", 24), (30, "24.0 GiB", 30), (64, "32.0 GiB", 24)],
    )
    def test_a_memory_limit_above_three_quarters_of_the_machine_warns(
        self, limit_gib: int | None, expected: str, abort_gib: int
    ) -> None:
        hardware = replace(HardwareBudget.imagined(None, 32 * GIB), ram_limit_bytes=limit_gib and limit_gib * GIB)
        assert hardware.ram_abort_bytes == abort_gib * GIB
        found = check_ram_limit(hardware)
        assert [finding.level for finding in found] == ["warning"] * bool(expected)
        assert all(expected in finding.expected for finding in found)

    def test_disk_space_warns_below_20gb(self) -> None:
        assert levels(check_disk(20 * GIB - 1)) == ["warning"]
        assert levels(check_disk(20 * GIB)) == ["info"]

    def test_a_disk_that_cannot_hold_the_run_is_critical(self, tmp_path: Path) -> None:
        assert levels(check_disk(30 * GIB, 29 * GIB)) == ["info"]
        assert levels(check_disk(30 * GIB, 30 * GIB - GIB // 4)) == ["critical"]  # half a GiB must stay free
        (finding,) = check_disk(30 * GIB, 31 * GIB)
        assert (finding.level, finding.got) == ("critical", "30.0 GiB")
        assert "31.5 GiB" in finding.expected
        with pytest.raises(PlanError) as caught:
            preflight(tmp_path, needed_bytes=2**60).raise_if_critical()
        assert "disk" in caught.value.cure

    def test_swap_health_warns_above_5gb(self) -> None:
        used = [HardwareBudget(Host(8, 0.0, 32 * GIB, 32 * GIB, 8 * GIB, b)) for b in (5 * GIB, 5 * GIB + 1)]
        assert [levels(check_swap(hardware)) for hardware in used] == [["info"], ["warning"]]

    def test_environment_detection(self, tmp_path: Path) -> None:
        """In an empty file system nothing but the environment variables and the files of the root decide."""
        plain = preflight(tmp_path)
        arguments = {"data_dir": tmp_path / "data", "output_dir": tmp_path, "root": tmp_path}
        (tmp_path / ".dockerenv").touch()
        docker, ci = (run_preflight(DESKTOP, **arguments, environ=environ) for environ in ({}, {"CI": "true"}))
        assert [result.environment for result in (plain, docker, ci)] == ["local", "docker", "ci"]
        assert ci.findings["environment"][0].got.startswith("ci; 8 processors")

    @pytest.mark.parametrize("folder", ["missing", "data/mv01.nii.gz", "empty"])
    def test_critical_failure_raises(self, tmp_path: Path, folder: str) -> None:
        (tmp_path / "empty").mkdir()
        result = preflight(tmp_path, data_dir=tmp_path / folder)
        assert not result.ok
        with pytest.raises(DataError, match=folder):
            result.raise_if_critical()

    def test_findings_of_data_and_plan_block_too(self, tmp_path: Path) -> None:
        no_pairs = Finding("critical", "data", "pairs", "one or more", "0", "add labels")
        too_deep = Finding("critical", "patch", "depth", "5 or less", "16", "use 4")
        result = preflight(tmp_path, data_findings=[no_pairs], plan_findings=[too_deep])
        with pytest.raises(DataError, match=r"(?s)got 0\..*got 16\."):
            result.raise_if_critical()

    def test_a_critical_finding_of_the_plan_alone_is_a_plan_error(self, tmp_path: Path) -> None:
        too_deep = Finding("critical", "patch", "depth", "5 or less", "16", "use 4")
        with pytest.raises(PlanError, match="5 or less"):
            preflight(tmp_path, plan_findings=[too_deep]).raise_if_critical()

    def test_non_critical_warns(self, tmp_path: Path) -> None:
        result = preflight(tmp_path, HardwareBudget.imagined(None, 8 * GIB))
        assert result.ok
        assert [f.check for f in result.all_findings if f.level == "warning"][:2] == ["gpu", "ram"]
        result.raise_if_critical()

    def test_round_trips_through_json(self, tmp_path: Path) -> None:
        result = preflight(tmp_path)
        assert from_plain(PreflightResult, json.loads(json.dumps(result.summary()))) == result


class TestOutputs:
    def test_a_missing_folder_is_checked_at_its_parent_and_no_file_is_left(self, tmp_path: Path) -> None:
        assert levels(check_outputs(tmp_path / "runs/today")) == ["info"]
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("name", ["a_file", "a_file/runs"])
    def test_a_file_at_the_path_of_the_folder_is_critical(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "a_file").touch()
        (finding,) = check_outputs(tmp_path / name)
        assert finding.level == "critical"
        assert "Not a directory" in finding.got
