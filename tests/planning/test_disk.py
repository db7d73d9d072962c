"""What a run will add to the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.data.profiler import DatasetProfile
from minivess.data.store import Store, build_store
from minivess.models.registry import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.disk import bytes_to_write
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import TrainingPlan
from minivess.sizes import GIB


@pytest.fixture
def plan(profile: DatasetProfile) -> TrainingPlan:
    model = load_model_profile("dynunet", filters=(4, 8, 8))
    return compute_adaptive_profile(HardwareBudget.imagined(None, 16 * GIB), profile, model)


class TestBytesToWrite:
    def test_the_store_is_what_it_will_be(
        self, profile: DatasetProfile, store: Store, plan: TrainingPlan, tmp_path: Path
    ) -> None:
        arrays = sum(path.stat().st_size for path in store.folder.glob("*.npy"))
        headers = 128 * 3 * len(profile.volumes)
        assert bytes_to_write(profile, tmp_path, plan, losses=0, folds=3) == pytest.approx(arrays - headers, abs=100)

    def test_a_store_that_stands_is_not_written_again(
        self, profile: DatasetProfile, plan: TrainingPlan, tmp_path: Path
    ) -> None:
        build_store(profile, tmp_path)
        assert bytes_to_write(profile, tmp_path, plan, losses=0, folds=3) == 0

    def test_each_loss_adds_two_checkpoints_a_fold_and_its_masks(
        self, profile: DatasetProfile, plan: TrainingPlan, tmp_path: Path
    ) -> None:
        build_store(profile, tmp_path)
        plan = plan.model_copy(update={"state_bytes": 1000})
        masks = round(2 * 0.03 * sum(volume.voxels for volume in profile.volumes))
        assert bytes_to_write(profile, tmp_path, plan, losses=2, folds=3) == 2 * 3 * 2 * 1000 + masks
