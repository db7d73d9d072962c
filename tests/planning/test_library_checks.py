from __future__ import annotations

from importlib.metadata import version

import pytest

from minivess.machine.gpus import Gpu
from minivess.planning.library_checks import LibraryVersions, check_libraries, read_library_versions
from minivess.text import GIB

GPU = Gpu(0, "GPU-0", "a GPU", 8 * GIB, 8 * GIB, (7, 5), "550.54.14")


def warnings(versions: LibraryVersions) -> list[str]:
    return [finding.what for finding in check_libraries(versions, [GPU]) if finding.level == "warning"]


class TestKnownProblems:
    @pytest.mark.parametrize(
        ("torch", "cudnn", "slow", "wrong"),
        [
            ("2.9.0+cu128", "9.10.2.21", True, True),
            ("2.9.1", "9.14.0.64", True, False),
            ("2.9.1", "9.15.0.57", False, False),
            ("2.9.0", "9.15.0.57", True, False),  # torch 2.9.0 never uses cuDNN for conv3d
            ("2.8.0+cu128", "9.10.2.21", False, True),
            ("2.7.0", "9.7.1.26", False, False),
            ("2.10.0", "9.8.0.87", False, True),
            ("2.10.0", "9.11.0.98", False, False),
        ],
    )
    def test_conv3d(self, torch: str, cudnn: str, slow: bool, wrong: bool) -> None:
        found = warnings(LibraryVersions(torch, cudnn, 12))
        assert any("4x slower" in what for what in found) is slow
        assert any("wrong results" in what for what in found) is wrong

    def test_a_cpu_build_on_a_machine_with_a_gpu(self) -> None:
        (finding,) = check_libraries(LibraryVersions("2.13.0+cpu"), [GPU])
        assert (finding.level, finding.check) == ("warning", "libraries")
        assert "2.13.0+cpu" in finding.got
        assert "CUDA build" in finding.cure

    def test_an_old_driver(self) -> None:
        assert warnings(LibraryVersions("2.10.0", "9.15.1.9", 12)) == []
        assert "550.54.14" in warnings(LibraryVersions("2.10.0", "9.15.1.9", 13))[0]

    def test_without_a_gpu_versions_are_information(self) -> None:
        (only,) = check_libraries(LibraryVersions("2.9.0", "9.10.2.21"), [])
        assert only.level == "info"
        assert "torch 2.9.0" in only.got


class TestReadLibraryVersions:
    def test_agrees_with_the_installed_packages(self) -> None:
        found = read_library_versions()
        assert found.torch == version("torch")
        assert (found.cudnn == "") or found.cuda_major
