"""The sweep of GPU memory; without a GPU it only predicts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from minivess.models.model_profile import PROFILES, load_model_profile
from minivess.planning.memory.vram_sweep import SWEEP, SweepRow, sweep_vram, write_measured
from minivess.planning.memory.workload import GpuStep
from minivess.text import GIB

USE = GpuStep(
    date="2026-11-24",
    card="RTX",
    torch="2.13.0",
    cudnn="91500",
    allocated_bytes=2 * GIB,
    reserved_bytes=3 * GIB,
    step_seconds=0.25,
)


class TestSweep:
    @pytest.mark.slow
    def test_predicts_more_for_larger_patches(self) -> None:
        model = load_model_profile("dynunet", filters=(4, 8, 8))
        rows = list(sweep_vram(model, "dice_ce", 2, "fp16", None, measure=False))
        assert [row.patch for row in rows] == list(SWEEP)
        sizes = [row.predicted_bytes or 0 for row in rows]
        assert 0 < sizes[0] < sizes[-1]
        assert sizes == sorted(sizes)

    def test_a_patch_that_the_model_cannot_use_gets_a_note(self) -> None:
        model = load_model_profile("dynunet", filters=(4, 8, 8), strides="isotropic")
        first = next(
            iter(sweep_vram(model.model_copy(update={"filters": (4,) * 5}), "dice_ce", 1, "fp16", None, measure=False))
        )
        assert (first.predicted_bytes, "16x16x16" in first.note) == (None, True)

    @pytest.mark.slow
    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_measuring_without_a_gpu_gives_a_note(self) -> None:
        model = load_model_profile("dynunet", filters=(4, 8, 8))
        row = next(iter(sweep_vram(model, "dice_ce", 1, "fp16", 8 * GIB, measure=True)))
        assert (row.use, row.note) == (None, "none")

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
    def test_the_measured_memory_is_close_to_the_prediction(self) -> None:
        rows = list(sweep_vram(load_model_profile("dynunet"), "dice_ce", 2, "fp16", 8 * GIB, measure=True))
        for row in rows:
            assert row.use is not None
            assert row.predicted_bytes is not None
            assert -0.05 <= row.predicted_bytes / row.use.reserved_bytes - 1 <= 0.10

    @pytest.mark.slow
    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
    def test_without_a_gpu_the_note_gives_the_measurement_of_another_machine(self) -> None:
        model = load_model_profile("dynunet")
        row = next(iter(sweep_vram(model, "dice_ce", 2, "fp16", None, measure=False)))
        assert row.note.endswith(f"0.15 GiB on {model.measured[0].card}, {model.measured[0].date}")
        other = next(iter(sweep_vram(model, "dice_ce", 1, "fp16", None, measure=False)))
        assert other.note
        assert "GiB" not in other.note


class TestWriteMeasured:
    def test_round_trips_and_replaces_the_rows_of_an_earlier_sweep(self, tmp_path: Path) -> None:
        path = Path(shutil.copy(PROFILES / "segresnet.yaml", tmp_path))
        for batch in (1, 2):
            rows = [SweepRow((64, 64, 4), GIB, USE), SweepRow((96, 96, 8), GIB, None, "out of memory")]
            assert write_measured(path, rows, "dice_ce", batch, "fp16", 8 * GIB) == 1
        profile = load_model_profile(str(path))
        (measured,) = profile.measured
        assert (measured.batch, measured.patch, measured.reserved_gib, measured.cap_gib) == (2, (64, 64, 4), 3.0, 8.0)
        assert (measured.date, measured.card, measured.cudnn) == ("2026-11-24", "RTX", "91500")
        without = {"measured": ()}
        assert profile.model_copy(update=without) == load_model_profile("segresnet").model_copy(update=without)

    def test_without_measured_rows_the_file_does_not_change(self, tmp_path: Path) -> None:
        path = Path(shutil.copy(PROFILES / "segresnet.yaml", tmp_path))
        before = path.read_bytes()
        assert write_measured(path, [SweepRow((64, 64, 4), GIB, None)], "dice_ce", 1, "fp16", None) == 0
        assert path.read_bytes() == before
