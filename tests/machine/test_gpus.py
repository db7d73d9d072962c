from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minivess.machine.gpus import Gpu, read_gpus, visible_gpus
from minivess.text import GIB, MIB

LINE = "0, GPU-aaa, NVIDIA GeForce RTX 2070 SUPER, 8192, 7192, 7.5, 550.54.14"


@pytest.fixture
def smi(tmp_path: Path) -> Callable[[str], tuple[str, ...]]:
    """Makes a real command that replaces nvidia-smi, from the body of a shell script."""

    def make(body: str) -> tuple[str, ...]:
        script = tmp_path / "smi.sh"
        script.write_text(body)
        return ("/bin/sh", str(script))

    return make


def make_gpu(index: int, total_gib: int = 8) -> Gpu:
    return Gpu(index, f"GPU-{index}f", "a GPU", total_gib * GIB, total_gib * GIB, (7, 5), "550.54")


class TestNvidiaSmi:
    def test_a_line_describes_a_gpu(self, smi: Callable[[str], tuple[str, ...]]) -> None:
        gpus, notes = read_gpus(smi(f"echo '{LINE}'"), nvml=False)
        name = "NVIDIA GeForce RTX 2070 SUPER"
        assert gpus == (Gpu(0, "GPU-aaa", name, 8 * GIB, 7192 * MIB, (7, 5), "550.54.14"),)
        assert notes == ()

    def test_queries_the_fields_that_are_read(self, smi: Callable[[str], tuple[str, ...]]) -> None:
        _, notes = read_gpus(smi('echo "$@"'), nvml=False)
        assert "memory.total, memory.free, compute_cap" in notes[0]
        assert notes[0].endswith("--format=csv, noheader, nounits")

    def test_a_failed_gpu_does_not_hide_the_others(self, smi: Callable[[str], tuple[str, ...]]) -> None:
        gpus, notes = read_gpus(smi(f"echo '{LINE}'; echo '1, GPU-b, X, [N/A], ERR!, 7.5, 550'"), nvml=False)
        assert [gpu.index for gpu in gpus] == [0]
        assert "ERR!" in notes[0]

    def test_an_unknown_compute_capability_is_none(self, smi: Callable[[str], tuple[str, ...]]) -> None:
        gpus, _ = read_gpus(smi(f"echo '{LINE}'".replace("7.5", "[N/A]")), nvml=False)
        assert gpus[0].compute_capability is None

    @pytest.mark.parametrize(
        "body",
        [
            "echo 'Segmentation fault'",
            "printf '\\377\\376\\000'",
            "true",
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            f"echo '{LINE}'; exit 9",
            f"echo '{LINE.replace('7192', '9000')}'",  # more free memory than total memory
            f"echo '{LINE.replace('8192, 7192', '0, 0')}'",
        ],
    )
    def test_invalid_output_gives_no_gpu_and_a_note(self, smi: Callable[[str], tuple[str, ...]], body: str) -> None:
        gpus, notes = read_gpus(smi(body), nvml=False)
        assert gpus == ()
        assert len(notes) == 1

    def test_a_hanging_query_is_killed_with_its_children(self, smi: Callable[[str], tuple[str, ...]]) -> None:
        start = time.monotonic()
        gpus, notes = read_gpus(smi(f"echo '{LINE}'; sleep 60; true"), nvml=False, timeout_s=0.2)
        assert time.monotonic() - start < 1.1
        assert gpus == ()
        assert "0.2 s" in notes[0]

    def test_a_missing_command_gives_a_note(self, tmp_path: Path) -> None:
        _, notes = read_gpus((str(tmp_path / "nvidia-smi"),), nvml=False)
        assert "No such file" in notes[0]


class TestNvml:
    @pytest.mark.skipif(not shutil.which("nvidia-smi"), reason="needs an NVIDIA GPU")
    def test_agrees_with_nvidia_smi(self) -> None:
        nvml, _ = read_gpus(smi=("false",))
        asked, _ = read_gpus(nvml=False)
        assert [(g.uuid, g.name, g.compute_capability) for g in nvml] == [
            (g.uuid, g.name, g.compute_capability) for g in asked
        ]


class TestVisibleGpus:
    @pytest.mark.parametrize(
        ("visible", "expected"),
        [(None, [0, 1, 2]), ("", []), ("-1", []), ("2,0", [2, 0]), ("1,9,0", [1]), ("GPU-2", [2])],
    )
    def test_selects_the_gpus_that_cuda_selects(self, visible: str | None, expected: list[int]) -> None:
        assert [gpu.index for gpu in visible_gpus([make_gpu(0), make_gpu(1), make_gpu(2)], visible)] == expected
