from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from minivess.data.array_store import Store, build_store
from minivess.data.profiler import DatasetProfile
from minivess.data.sampling.in_plane_transform import InPlane, control_points
from minivess.data.sampling.patch_sampler import _cut
from minivess.metrics.case import score_case
from minivess.models.model_profile import ModelProfile, build_network, load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.cell_slots import cell_slots
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.resources import (
    _PATCH_COPIES,
    _SCORING_BYTES_PER_VOXEL,
    PROCESS_BYTES,
    RESIDENT_FACTOR,
    bytes_to_write,
    costliest_to_predict,
    ram_bytes,
    scoring_processes,
)
from minivess.text import GIB, MIB

HERE = HardwareBudget.imagined(None, 16 * GIB)


@pytest.fixture(scope="module")
def model() -> ModelProfile:
    return load_model_profile("dynunet", filters=(4, 8, 8))


@pytest.fixture(scope="module")
def peaks(cache: Path) -> Iterator[PeakCache]:
    with PeakCache(cache) as opened:
        yield opened


def _plan(profile: DatasetProfile, model: ModelProfile, estimator: Estimator | None = None) -> TrainingPlan:
    return compute_adaptive_profile(HERE, profile, model, PlanRequest(patch_size=(32, 32, 4), workers=1), estimator)


class TestPredictResources:
    def test_every_loss_is_timed_on_the_machine_that_trains(
        self, profile: DatasetProfile, model: ModelProfile, peaks: PeakCache
    ) -> None:
        plan = _plan(profile, model, Estimator({"dice_ce": {}, "cbdice": {}}, peaks))
        assert list(plan.step_seconds) == ["dice_ce", "cbdice"]
        assert all(0 < seconds < 10 for seconds in plan.step_seconds.values())
        assert all(loss in plan.reasons["time"] for loss in ("dice_ce", "cbdice"))

    def test_steps_are_not_timed_for_another_machine(
        self, profile: DatasetProfile, model: ModelProfile, peaks: PeakCache
    ) -> None:
        plan = _plan(profile, model, Estimator({"dice_ce": {}}, peaks, timed=False))
        assert (plan.step_seconds, "time" in plan.reasons) == ({}, False)
        assert plan.prediction_bytes is not None
        assert plan.ram_bytes is not None
        assert plan.ram_bytes > PROCESS_BYTES + plan.prediction_bytes

    def test_state_bytes_is_the_size_of_a_checkpoint(
        self, profile: DatasetProfile, model: ModelProfile, peaks: PeakCache
    ) -> None:
        plan = _plan(profile, model, Estimator({"dice_ce": {}}, peaks, timed=False))
        weights = sum(weight.numel() for weight in build_network(plan.network).parameters())
        assert plan.state_bytes == 16 * weights  # weights, average and two moments, four bytes each

    def test_the_costliest_volume_depends_on_slab_depth_and_not_only_on_width(
        self, profile: DatasetProfile, model: ModelProfile, peaks: PeakCache
    ) -> None:
        """phantom04 is the widest (96x112) but has 8 slices; phantom03 is 88x104 and uses windows of 16 slices."""
        request = PlanRequest(compute="cpu", patch_policy="bucketed")
        estimator = Estimator({"dice_ce": {}}, peaks, timed=False)
        plan = compute_adaptive_profile(HERE, profile, model, request, estimator)
        assert [patch[2] for patch in plan.network.patches][-1] > 8
        assert "phantom03" in plan.reasons["prediction"]
        assert "16 slices" in plan.reasons["prediction"]

    def test_of_volumes_with_equal_slabs_the_deepest_is_the_costliest(self, profile: DatasetProfile) -> None:
        volumes = [profile.volumes[0].model_copy(update={"name": str(z), "shape": (64, 64, z)}) for z in (8, 60, 30)]
        assert costliest_to_predict(volumes, ((32, 32, 8),)).name == "60"

    def test_a_wide_slab_costs_more_than_many_slices(self, profile: DatasetProfile) -> None:
        """96 x 96 x 8 voxels of a slab, against 32 x 32 x 8 of a volume with more voxels."""
        shapes = {"wide": (96, 96, 8), "deep": (32, 32, 100)}
        volumes = [profile.volumes[0].model_copy(update={"name": n, "shape": s}) for n, s in shapes.items()]
        assert volumes[1].voxels > volumes[0].voxels
        assert costliest_to_predict(volumes, ((16, 16, 8),)).name == "wide"


class TestRamBytes:
    PREDICTION = PeakMemory(device="cpu", phase="forward", activations_bytes=100 * MIB, host_bytes=20 * MIB)

    def test_is_the_memory_of_the_costliest_part(self, profile: DatasetProfile, model: ModelProfile) -> None:
        plan = _plan(profile, model)
        assert ram_bytes(plan, self.PREDICTION, 1000) == PROCESS_BYTES + round(100 * RESIDENT_FACTOR + 20) * MIB
        assert (
            ram_bytes(plan, self.PREDICTION, 100 * MIB) == PROCESS_BYTES + 4000 * MIB
        )  # scoring takes 40 bytes per voxel

    def test_workers_prefetch_batches(self, profile: DatasetProfile, model: ModelProfile) -> None:
        plan = _plan(profile, model)
        more = plan.model_copy(update={"peak_bytes": GIB, "workers": 5})
        step, batch, cutting = round(RESIDENT_FACTOR * GIB), 2 * 32 * 32 * 4 * 6, 12 * 4 * 32 * 32 * 4
        assert ram_bytes(more, self.PREDICTION, 1) == PROCESS_BYTES + step + 11 * batch + 5 * cutting

    def test_a_gpu_run_copies_the_training_state_to_main_memory(
        self, profile: DatasetProfile, model: ModelProfile
    ) -> None:
        gpu_plan = _plan(profile, model).model_copy(update={"device": "cuda", "state_bytes": 0})
        vista = gpu_plan.model_copy(update={"state_bytes": 16 * 196_400_000})  # VISTA-3D
        more = ram_bytes(vista, self.PREDICTION, 1) - ram_bytes(gpu_plan, self.PREDICTION, 1)
        assert 2.85 * GIB < more < 2.93 * GIB


class TestScoring:
    def test_scoring_a_speckled_mask_takes_no_more_than_planned(self) -> None:
        """If 40 % of the voxels are wrong, 41 % of them are at a border."""
        rng = np.random.default_rng(0)
        label = np.zeros((80, 80, 80), bool)
        label[20:27] = True
        speckled = label ^ (rng.random(label.shape) < 0.4)
        score_case(label, label, (1, 1, 1))
        tracemalloc.start()
        score_case(speckled, label, (1, 1, 1))
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes / label.size < _SCORING_BYTES_PER_VOXEL


class TestCutting:
    """Check ``_PATCH_COPIES``. torch's resampled image is not traced; it does not exist yet at the peak."""

    def test_cutting_a_patch_takes_no_more_than_planned(self, profile: DatasetProfile, store: Store) -> None:
        case = store.case("phantom03")  # 88x104x16: a patch with 17 slices is padded
        patch = (96, 96, 17)
        deformation = np.full((2, *map(control_points, patch[:2])), 8.0)
        change = InPlane(np.pi / 4, 1.4, deformation)
        _cut(case, (44, 52, 8), patch, change)
        tracemalloc.start()
        _cut(case, (44, 52, 8), patch, change)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes / (4 * 96 * 96 * 17) < _PATCH_COPIES


class TestScoringProcesses:
    """Volumes of 512x512x106 voxels: 1316 MiB per process."""

    PREDICTION = PeakMemory(device="cpu", phase="forward", activations_bytes=100 * MIB, host_bytes=20 * MIB)
    VOXELS = 512 * 512 * 106

    def _count(self, plan: TrainingPlan, ram_gib: int, cells: int) -> int:
        (slot, *_) = cell_slots(HardwareBudget.imagined(None, ram_gib * GIB), cells=cells)
        return scoring_processes(plan, self.PREDICTION, self.VOXELS, slot.hardware)

    def test_cells_at_the_same_time_share_processors(self, profile: DatasetProfile, model: ModelProfile) -> None:
        plan = _plan(profile, model)
        assert [self._count(plan, 32, cells) for cells in (1, 2, 8)] == [4, 2, 1]  # half of eight, of four, and of one

    def test_depends_on_the_memory_of_a_cell(self, profile: DatasetProfile, model: ModelProfile) -> None:
        plan = _plan(profile, model)
        assert self._count(plan, 10, 1) == 2  # 7.5 GiB usable, 1.6 for the cell; two fit half of the rest
        assert self._count(plan, 10, 2) == 1

    def test_count_towards_the_memory_of_the_cell(self, profile: DatasetProfile, model: ModelProfile) -> None:
        plan = _plan(profile, model)
        two = plan.model_copy(update={"scoring_processes": 2})
        alone = ram_bytes(plan, self.PREDICTION, 1000)
        assert ram_bytes(two, self.PREDICTION, 100 * MIB) == alone + 2 * (256 + 4000) * MIB

    def test_small_cases_are_scored_in_the_cell(self, profile: DatasetProfile, model: ModelProfile) -> None:
        assert scoring_processes(_plan(profile, model), self.PREDICTION, 1000, HERE) == 1


@pytest.fixture
def plan(profile: DatasetProfile) -> TrainingPlan:
    model = load_model_profile("dynunet", filters=(4, 8, 8))
    return compute_adaptive_profile(HardwareBudget.imagined(None, 16 * GIB), profile, model)


class TestBytesToWrite:
    def test_the_predicted_size_of_the_store_is_its_real_size(
        self, profile: DatasetProfile, store: Store, plan: TrainingPlan, tmp_path: Path
    ) -> None:
        arrays = sum(path.stat().st_size for path in store.folder.glob("*.npy") if ".label-" not in path.name)
        headers = 128 * 3 * len(profile.volumes)
        assert bytes_to_write(profile, tmp_path, plan, losses=0, folds=3) == pytest.approx(arrays - headers, abs=100)

    def test_an_existing_store_is_not_written_again(
        self, profile: DatasetProfile, plan: TrainingPlan, tmp_path: Path
    ) -> None:
        build_store(profile, tmp_path)
        assert bytes_to_write(profile, tmp_path, plan, losses=0, folds=3) == 0

    def test_each_loss_adds_two_checkpoints_per_fold_and_its_masks(
        self, profile: DatasetProfile, plan: TrainingPlan, tmp_path: Path
    ) -> None:
        build_store(profile, tmp_path)
        plan = plan.model_copy(update={"state_bytes": 1000})
        masks = round(2 * 0.03 * sum(volume.voxels for volume in profile.volumes))
        assert bytes_to_write(profile, tmp_path, plan, losses=2, folds=3) == 2 * 3 * 2 * 1000 + masks
