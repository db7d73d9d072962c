"""Guards on the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from minivess.data.array_store import Store
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.peak import predict_training_peak
from minivess.planning.validation import check_plan, validate_cache, validate_gpu_memory, validate_patch, validate_ram
from minivess.text import GIB


def _profile(*depths: int) -> DatasetProfile:
    facts = {"image": "", "label": None, "dtype": "uint8", "stored_bytes": 1, "cached_bytes": 1}
    return DatasetProfile(
        folder="",
        volumes=tuple(
            VolumeStats(name=f"mv{depth:02d}", shape=(512, 512, depth), spacing_um=(0.99, 0.99, 5.0), **facts)
            for depth in depths
        ),
    )


class TestPatchDatasetCompatibility:
    def test_patch_fits_all_volumes(self) -> None:
        assert validate_patch((96, 96, 4), (8, 8, 2), _profile(5, 43, 110), "min_volume") == []

    def test_rejects_oversized_patch_z(self) -> None:
        (finding,) = validate_patch((96, 96, 16), (8, 8, 2), _profile(5, 12, 110), "min_volume")
        assert (finding.level, finding.check, finding.got) == ("critical", "patch_fits", "96x96x16")
        assert "mv05, mv12" in finding.expected
        assert finding.cure.startswith("use 96x96x4")

    def test_padding_allows_a_deep_patch(self) -> None:
        assert validate_patch((96, 96, 16), (8, 8, 2), _profile(5, 110), "pad") == []

    def test_patch_divisible_by_model(self) -> None:
        assert validate_patch((96, 96, 24), (8, 8, 4), _profile(43), "min_volume") == []

    def test_rejects_non_divisible_patch(self) -> None:
        (finding,) = validate_patch((96, 96, 23), (8, 8, 4), _profile(43), "min_volume")
        assert (finding.check, finding.cure) == ("patch_divisible", "use 96x96x20")


class TestMemoryBudget:
    def test_cache_fits_ram(self) -> None:
        assert validate_cache(6 * GIB, 1.0, 24 * GIB) == []
        assert validate_cache(24 * GIB, 0.69, 24 * GIB) == []

    def test_rejects_oversized_cache(self) -> None:
        (finding,) = validate_cache(100 * GIB, 1.0, 32 * GIB)
        assert (finding.level, finding.check) == ("critical", "cache_fits")
        assert finding.cure == "set plan.cache_rate to 0.22 or less"  # 0.7 x 32 / 100

    def test_vram_estimate_within_budget(self) -> None:
        assert validate_gpu_memory(6 * GIB, 8 * GIB) == []
        (finding,) = validate_gpu_memory(7 * GIB, 8 * GIB)
        assert (finding.level, finding.got) == ("critical", "7.0 GiB predicted")

    def test_rejects_large_batch_on_small_gpu(self) -> None:
        """By their trace, two patches of 192x192x32 fit a GPU of 8 GB, and eight do not."""
        patch, model = (192, 192, 32), load_model_profile("dynunet")
        network = model.spec((patch,), model.plan_strides(patch, (0.99, 0.99, 5.0)))
        two, eight = (int(predict_training_peak(network, "dice_ce", patch, batch, "fp16")) for batch in (2, 8))
        assert validate_gpu_memory(two, 8 * GIB) == []
        (finding,) = validate_gpu_memory(eight, 8 * GIB)
        assert (finding.level, finding.check) == ("critical", "gpu_memory_fits")
        assert "plan.micro_batch" in finding.cure

    def test_rejects_a_process_larger_than_the_usable_memory(self) -> None:
        assert validate_ram(23 * GIB, 24 * GIB) == []
        (finding,) = validate_ram(25 * GIB, 24 * GIB)
        assert (finding.level, finding.check) == ("critical", "ram_fits")
        assert "at most 24.0 GiB" in finding.expected
        assert "25.0 GiB" in finding.got


class TestCheckPlan:
    DESKTOP = HardwareBudget.imagined(8 * GIB, 32 * GIB)

    def test_a_plan_for_a_gpu_is_refused_without_a_gpu(self, profile: DatasetProfile) -> None:
        plan = compute_adaptive_profile(self.DESKTOP, profile, load_model_profile("dynunet"))
        assert (plan.device, check_plan(plan, profile, self.DESKTOP)) == ("cuda", [])
        broken = replace(self.DESKTOP, gpus=(), gpu_notes=("NVML: Driver/library version mismatch",))
        (finding,) = check_plan(plan, profile, broken)
        assert (finding.level, finding.check) == ("critical", "card")
        assert broken.gpu_notes[0] in finding.got
        assert "--compute cpu" in finding.cure

    @pytest.mark.parametrize(
        ("change", "check"),
        [
            ({"peak_bytes": 7 * GIB}, "gpu_memory_fits"),
            ({"prediction_bytes": 7 * GIB}, "gpu_memory_fits"),
            ({"ram_bytes": 25 * GIB}, "ram_fits"),
            ({"patches": ((96, 96, 4), (96, 100, 4))}, "patch_divisible"),
            ({}, None),
        ],
    )
    def test_every_part_of_a_plan_is_checked(
        self, profile: DatasetProfile, change: dict[str, Any], check: str | None
    ) -> None:
        """The first volume has 96x96x5 voxels; 80 % of the GPU are 6.4 GiB, 75 % of the memory 24 GiB."""
        wide = profile.model_copy(update={"volumes": profile.volumes[1:2]})
        plan = compute_adaptive_profile(self.DESKTOP, wide, load_model_profile("dynunet"))
        patches = change.pop("patches", plan.network.patches)
        network = plan.network.model_copy(update={"patches": patches})
        changed = plan.model_copy(update=change | {"network": network, "patch_policy": "pad"})
        assert [finding.check for finding in check_plan(changed, wide, self.DESKTOP)] == [check] * bool(check)

    def test_a_started_run_can_continue_next_to_other_programs(self, profile: DatasetProfile) -> None:
        """Its plan is fixed, so no cure may change the plan; the system frees page cache by itself."""
        plan = compute_adaptive_profile(self.DESKTOP, profile, load_model_profile("dynunet"))
        host = replace(self.DESKTOP.host, ram_available_bytes=profile.cached_bytes)
        busy = replace(self.DESKTOP, host=host)
        (finding,) = check_plan(plan, profile, busy)
        assert (finding.level, finding.check) == ("critical", "cache_fits")
        (finding,) = check_plan(plan, profile, busy, started=True)
        assert (finding.level, finding.check) == ("warning", "cache_fits")
        hungry = plan.model_copy(update={"ram_bytes": 25 * GIB})
        (finding,) = check_plan(hungry, profile, self.DESKTOP, started=True)
        assert (finding.level, finding.check) == ("critical", "ram_fits")
        assert "limits.memory_limit_gib" in finding.cure
        assert "patch" not in finding.cure


class TestDefaults:
    def test_no_default_resampling(self, profile: DatasetProfile, store: Store) -> None:
        """Every volume is stored on the grid of its file; training and scoring use the store."""
        assert [store.case(volume.name).image.shape for volume in profile.volumes] == [
            volume.shape for volume in profile.volumes
        ]
        assert len({volume.spacing_um for volume in profile.volumes}) > 1
