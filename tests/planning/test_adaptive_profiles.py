"""The training plan for a machine, a data set and a model."""

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
from minivess.planning.adaptive_profiles import _cpu_budget_bytes, compute_adaptive_profile, load_compute_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.text import GIB, MIB

DYNUNET = load_model_profile("dynunet")
DESKTOP = HardwareBudget.imagined(8 * GIB, 32 * GIB)


@pytest.fixture(scope="module")
def minivess() -> DatasetProfile:
    """Shapes and spacings of MiniVess, as in the phantom; the store has one byte per voxel for image and label each."""
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
        """DynUNet halves X and Y three times and Z once or twice; VISTA-3D halves each axis four times."""
        uneven = minivess.volumes[0].model_copy(update={"shape": (101, 90, 19), "spacing_um": (1.0, 1.0, 5.0)})
        profile = minivess.model_copy(update={"volumes": (uneven,)})
        for model, patch, divisor in (
            (DYNUNET, (96, 88, 18), (8, 8, 2)),
            (load_model_profile("vista3d"), (96, 80, 16), (16, 16, 16)),
        ):
            plan = compute_adaptive_profile(DESKTOP, profile, model)
            assert (plan.patch, plan.network.divisor) == (patch, divisor)

    def test_buckets_double_in_depth_and_none_is_larger_than_the_deepest(self, minivess: DatasetProfile) -> None:
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
        """Eight deep patches per forward pass fit 8 GB, four fit 6 GB; the batch is eight on both."""
        request = PlanRequest(batch=8, compute="gpu_low", patch_policy="pad")
        estimator = Estimator({"dice_ce": {}}, peaks, timed=False)
        large, small = (
            compute_adaptive_profile(
                HardwareBudget.imagined(size * GIB, 32 * GIB), minivess, DYNUNET, request, estimator
            )
            for size in (8, 6)
        )
        assert (large.patch, large.batch, large.micro_batch) == ((128, 128, 24), 8, 8)
        assert (small.patch, small.batch, small.micro_batch) == ((128, 128, 24), 8, 4)
        assert "4 per forward pass" not in large.reasons["batch"]
        assert "4 per forward pass" in small.reasons["batch"]
        facts = {"batch": 8, "precision": small.precision, "device": "cuda"}
        eight, four = (estimator.step_bytes(small.network, micro_batch, **facts) for micro_batch in (8, 4))
        assert eight > 4.5 * GIB >= four
        assert "4.5 GiB" in small.reasons["memory"]

    def test_batch_follows_the_tier(self, minivess: DatasetProfile) -> None:
        small, large = (
            compute_adaptive_profile(HardwareBudget.imagined(size * GIB, 32 * GIB), minivess, DYNUNET)
            for size in (8, 40)
        )
        assert (small.batch, large.batch) == (2, 4)
        assert "gpu_low" in small.reasons["batch"]
        assert "gpu_extreme" in large.reasons["batch"]

    def test_auto_profile_name(self, minivess: DatasetProfile) -> None:
        assert compute_adaptive_profile(DESKTOP, minivess, DYNUNET).profile_name == "auto_gpu_low_dynunet"

    def test_every_decision_has_a_reason(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET)
        assert {"profile_name", "patch", "batch", "precision", "workers"} <= plan.reasons.keys()

    def test_round_trips_through_json(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET)
        assert TrainingPlan.model_validate_json(plan.model_dump_json()) == plan

    def test_without_a_gpu_the_plan_uses_the_cpu_in_fp32(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(HardwareBudget.imagined(None, 32 * GIB), minivess, DYNUNET)
        assert (plan.device, plan.precision, plan.profile_name) == ("cpu", "fp32", "auto_cpu_dynunet")

    def test_less_memory_than_the_process_needs_is_refused(self, minivess: DatasetProfile, peaks: PeakCache) -> None:
        limited = replace(HardwareBudget.imagined(None, 8 * GIB), ram_limit_bytes=GIB // 2)
        estimator = Estimator({"dice_ce": {}}, peaks, timed=False)
        with pytest.raises(PlanError) as caught:
            compute_adaptive_profile(limited, minivess, DYNUNET, estimator=estimator)
        assert caught.value.got.startswith("0.5 GiB")
        assert "0.5 GiB" in caught.value.expected  # 560 MiB for the process
        assert "limits.memory_limit_gib" in caught.value.cure

    def test_cache_rate_adaptive_to_ram(self, minivess: DatasetProfile) -> None:
        """1.54 GiB of volumes: all fit the 14.4 GiB of a 32 GiB machine and the 1.8 GiB of 4 GiB; 0.58 fit 2 GiB."""
        plans = [
            compute_adaptive_profile(HardwareBudget.imagined(8 * GIB, size * GIB), minivess, DYNUNET)
            for size in (32, 4, 2)
        ]
        assert [plan.cache_rate for plan in plans] == [1.0, 1.0, 0.58]  # 0.6 x 1.5 of 2 GiB usable / 1.54 GiB
        assert "14.4 GiB" in plans[0].reasons["cache_rate"]
        assert plans[2].reasons["cache_rate"].startswith("0.58 of 1.5 GiB")

    def test_cache_rate_reduced_for_large_dataset(self, minivess: DatasetProfile) -> None:
        large = minivess.model_copy(
            update={"volumes": (minivess.volumes[0].model_copy(update={"cached_bytes": 100 * GIB}),)}
        )
        plan = compute_adaptive_profile(DESKTOP, large, DYNUNET)
        assert plan.cache_rate == 0.14  # 0.6 x 24 of 32 GiB usable / 100 GiB
        assert "100.0 GiB" in plan.reasons["cache_rate"]


class TestManualOverride:
    def test_explicit_profile_bypasses_auto(self, minivess: DatasetProfile) -> None:
        """The bounds are those of the requested profile, whichever profile fits the machine."""
        deep = minivess.model_copy(update={"volumes": minivess.volumes[1:2]})  # 512x512x61
        facts = {}
        for compute in ("auto", "cpu", "gpu_extreme"):
            plan = compute_adaptive_profile(DESKTOP, deep, DYNUNET, PlanRequest(compute=compute))
            facts[plan.profile_name] = plan.patch, plan.batch, plan.device
        assert facts == {
            "auto_gpu_low_dynunet": ((128, 128, 24), 2, "cuda"),
            "cpu_dynunet": ((96, 96, 16), 2, "cpu"),
            "gpu_extreme_dynunet": ((256, 256, 48), 4, "cuda"),
        }

    def test_explicit_patch_size_overrides(self, minivess: DatasetProfile) -> None:
        request = PlanRequest(patch_size=(64, 64, 8), patch_policy="pad")
        assert compute_adaptive_profile(DESKTOP, minivess, DYNUNET, request).patch == (64, 64, 8)

    def test_an_explicit_patch_that_does_not_fit_is_refused(self, minivess: DatasetProfile) -> None:
        with pytest.raises(PlanError, match="64x64x8"):
            compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(patch_size=(64, 64, 8)))

    def test_the_error_for_an_unknown_profile_lists_the_known_ones(self, minivess: DatasetProfile) -> None:
        with pytest.raises(ConfigError, match="gpu_low, gpu_high"):
            compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(compute="gpu_medium"))

    def test_every_requested_value_is_used(self, minivess: DatasetProfile) -> None:
        values = {
            "batch": 3, "micro_batch": 2, "precision": "fp32", "workers": 0, "cache_rate": 0.3, "overlap": 0.25,
            "patch_policy": "pad",
        }  # fmt: skip
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(**values))
        assert {key: getattr(plan, key) for key in values} == values

    def test_a_forward_pass_has_at_most_the_batch(self, minivess: DatasetProfile) -> None:
        plan = compute_adaptive_profile(DESKTOP, minivess, DYNUNET, PlanRequest(batch=2, micro_batch=5))
        assert (plan.batch, plan.micro_batch) == (2, 2)

    def test_requested_patches_per_pass_are_kept_although_more_fit(
        self, minivess: DatasetProfile, peaks: PeakCache
    ) -> None:
        request = PlanRequest(batch=4, micro_batch=1, patch_size=(32, 32, 4))
        small = load_model_profile("dynunet", filters=(2, 4, 4))
        estimator = Estimator({"dice_ce": {}}, peaks, timed=False)
        plan = compute_adaptive_profile(DESKTOP, minivess, small, request, estimator)
        assert (plan.batch, plan.micro_batch) == (4, 1)


class TestMachine:
    @pytest.mark.parametrize(
        ("capability", "precision"), [((8, 0), "bf16"), ((9, 0), "bf16"), ((7, 5), "fp16"), (None, "fp16")]
    )
    def test_bf16_needs_a_gpu_that_has_it(
        self, minivess: DatasetProfile, capability: tuple[int, int] | None, precision: str
    ) -> None:
        gpu = replace(DESKTOP.gpus[0], compute_capability=capability)
        assert compute_adaptive_profile(replace(DESKTOP, gpus=(gpu,)), minivess, DYNUNET).precision == precision

    @pytest.mark.parametrize(("processors", "workers"), [(1, 1), (2, 1), (3, 2), (16, 4)])
    def test_one_processor_is_left_to_the_training_thread(
        self, minivess: DatasetProfile, processors: int, workers: int
    ) -> None:
        machine = HardwareBudget.imagined(None, 8 * GIB, processors)
        assert compute_adaptive_profile(machine, minivess, DYNUNET).workers == workers

    def test_a_step_on_the_cpu_has_what_the_process_leaves(self) -> None:
        """6 of 8 GiB are usable; 6144 - 560 MiB, divided by 1.6 for memory that is not given back."""
        assert _cpu_budget_bytes(HardwareBudget.imagined(None, 8 * GIB)) == 3490 * MIB


class TestComputeProfiles:
    def test_the_error_for_a_misspelt_key_names_profile_and_file(self, tmp_path: Path) -> None:
        (tmp_path / "mine.yaml").write_text("gpu_low: {patch: [128, 128, 24], bach: 2}\n")
        with pytest.raises(ConfigError) as caught:
            load_compute_profile("gpu_low", tmp_path / "mine.yaml")
        message = str(caught.value)
        assert all(part in message for part in ("'bach'", "gpu_low", "mine.yaml", "'batch'"))

    @pytest.mark.parametrize("text", ["gpu_low: [", "- 1", "1: {}", "gpu_low: 3", ""])
    def test_a_damaged_file_is_named(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError):
            load_compute_profile("gpu_low", path)
