"""From machine, data and model to a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from minivess.data.phantoms.phantom import minivess_cases
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import ConfigError, PlanError
from minivess.geometry import patch_for
from minivess.models.model_profile import load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile, load_compute_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.text import GIB

DYNUNET = load_model_profile("dynunet")
DESKTOP = HardwareBudget.imagined(8 * GIB, 32 * GIB)


@pytest.fixture(scope="module")
def minivess() -> DatasetProfile:
    """Shapes and spacings of MiniVess, as the phantom imitates them; in the store a byte a voxel each for image and label."""
    facts = {"image": "", "label": None, "dtype": "uint8", "stored_bytes": 1}
    volumes = (
        VolumeStats(
            name=case.name,
            shape=case.shape,
            spacing_um=case.spacing_um,
            cached_bytes=2 * math.prod(case.shape),
            **facts,
        )
        for case in minivess_cases()
    )
    return DatasetProfile(folder="", volumes=tuple(volumes))


@pytest.fixture(scope="module")
def peaks(cache: Path) -> Iterator[PeakCache]:
    with PeakCache(cache) as opened:
        yield opened


class TestAdaptiveComputation:
    def test_patch_constrained_by_dataset(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET)
        assert plan.patch[2] == 4
        assert "512x512x5" in plan.reasons["patch"]

    def test_patch_divisible_by_model_divisor(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(patch_policy="pad"))
        assert all(size % d == 0 for size, d in zip(plan.patch, plan.network.divisor, strict=True))
        assert plan.patch[2] > 5

    def test_buckets_follow_depth_and_waste_little(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(patch_policy="bucketed"))
        assert [patch[2] for patch in plan.network.patches] == [4, 8, 16, 24]
        assert all(
            size % d == 0 for patch in plan.network.patches for size, d in zip(patch, plan.network.divisor, strict=True)
        )
        assert all(
            patch_for(plan.network.patches, volume.shape[2])[2] <= volume.shape[2] for volume in minivess.volumes
        )
        assert max(math.prod(patch) for patch in plan.network.patches) == math.prod(plan.network.patches[-1])

    def test_batch_size_reduced_when_vram_tight(self, minivess: DatasetProfile, peaks: PeakCache) -> None:
        """Eight deep patches a forward pass on 8 GB, four on 6 GB, each batch of eight all the same."""
        request = PlanRequest(batch=8, compute="gpu_low", patch_policy="pad")
        forecast = Estimator({"dice_ce": {}}, peaks, timed=False)
        roomy, tight = (
            compute_adaptive_profile(
                HardwareBudget.imagined(size * GIB, 32 * GIB), minivess, DYNUNET, request, forecast
            )
            for size in (8, 6)
        )
        assert (roomy.patch, roomy.batch, roomy.micro_batch) == ((128, 128, 24), 8, 8)
        assert (tight.patch, tight.batch, tight.micro_batch) == ((128, 128, 24), 8, 4)
        assert roomy.reasons["batch"] == "8 patches a step: asked for"
        assert tight.reasons["batch"] == "8 patches a step: asked for, 4 a forward pass, so that they fit"
        facts = {"batch": 8, "precision": tight.precision, "device": "cuda"}
        assert (
            forecast.step_bytes(tight.network, 8, **facts) > 4.5 * GIB >= forecast.step_bytes(tight.network, 4, **facts)
        )
        assert tight.reasons["memory"].endswith("the budget is 4.5 GiB")

    def test_batch_follows_the_tier(self, minivess: DatasetProfile) -> None:
        small, large = (
            compute_adaptive_profile(HardwareBudget.imagined(size * GIB, 32 * GIB), minivess, DYNUNET)
            for size in (8, 40)
        )
        assert (small.batch, small.reasons["batch"]) == (2, "2 patches a step: the compute profile gpu_low")
        assert (large.batch, large.reasons["batch"]) == (4, "4 patches a step: the compute profile gpu_extreme")

    def test_auto_profile_name(self, minivess: DatasetProfile) -> None:
        assert compute_adaptive_profile(DESKTOP, minivess, DYNUNET).profile_name == "auto_gpu_low_dynunet"

    def test_every_decision_has_its_reason(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET)
        assert {"profile_name", "patch", "batch", "precision", "workers"} <= plan.reasons.keys()

    def test_round_trips_through_json(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET)
        assert TrainingPlan.model_validate_json(plan.model_dump_json()) == plan

    def test_without_a_card_it_plans_for_the_cpu_in_fp32(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(HardwareBudget.imagined(None, 32 * GIB), minivess, DYNUNET)
        assert (plan.device, plan.precision, plan.profile_name) == ("cpu", "fp32", "auto_cpu_dynunet")

    def test_less_memory_than_the_process_takes_is_refused(self, minivess: DatasetProfile, peaks: PeakCache) -> None:
        limited = replace(HardwareBudget.imagined(None, 8 * GIB), ram_limit_bytes=GIB // 2)
        with pytest.raises(
            PlanError, match=r"0\.5 GiB of usable .* got 0\.5 GiB: the limit that was set.*memory_limit_gib"
        ):
            compute_adaptive_profile(
                limited, minivess, DYNUNET, forecast=Estimator({"dice_ce": {}}, peaks, timed=False)
            )

    def test_cache_rate_adaptive_to_ram(self, minivess: DatasetProfile) -> None:
        """1.54 GiB of volumes: all within the 14.4 GiB of 32, within the 1.8 of 4, and 0.9 of them on 2 GiB of memory."""
        plans = [
            compute_adaptive_profile(HardwareBudget.imagined(8 * GIB, size * GIB), minivess, DYNUNET)
            for size in (32, 4, 2)
        ]
        assert [plan.cache_rate for plan in plans] == [1.0, 1.0, 0.58]  # 0.6 x 1.5 of 2 GiB usable / 1.54 GiB
        assert "14.4 GiB" in plans[0].reasons["cache_rate"]
        assert plans[2].reasons["cache_rate"].startswith("0.58 of 1.5 GiB decompressed")

    def test_cache_rate_reduced_for_large_dataset(self, minivess: DatasetProfile) -> None:
        large = minivess.model_copy(
            update={"volumes": (minivess.volumes[0].model_copy(update={"cached_bytes": 100 * GIB}),)}
        )
        plan = compute_adaptive_profile(DESKTOP, large, DYNUNET)
        assert plan.cache_rate == 0.14  # 0.6 x 24 of 32 GiB usable / 100 GiB
        assert "100.0 GiB" in plan.reasons["cache_rate"]


class TestManualOverride:
    def test_explicit_profile_bypasses_auto(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(compute="cpu"))
        assert (plan.profile_name, plan.device) == ("cpu_dynunet", "cpu")

    def test_explicit_patch_size_overrides(self, minivess: DatasetProfile) -> None:
        request = PlanRequest(patch_size=(64, 64, 8), patch_policy="pad")
        assert compute_adaptive_profile(DESKTOP, minivess, DYNUNET, request).patch == (64, 64, 8)

    def test_an_explicit_patch_that_does_not_fit_is_refused(self, minivess: DatasetProfile) -> None:
        with pytest.raises(PlanError, match="64x64x8"):
            compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(patch_size=(64, 64, 8)))

    def test_an_unknown_profile_answers_with_the_known_ones(self, minivess: DatasetProfile) -> None:
        with pytest.raises(ConfigError, match="gpu_low, gpu_high"):
            compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(compute="gpu_medium"))


class TestComputeProfiles:
    def test_a_misspelt_key_is_named_with_its_budget_and_file(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("gpu_low: {patch: [128, 128, 24], bach: 2}\n")
        with pytest.raises(ConfigError, match=r"'bach' \(gpu_low in .*mine\.yaml\).*did you mean 'batch'"):
            load_compute_profile("gpu_low", tmp_path / "mine.yaml")
