"""Check that every plan is within its budget or refused with a cure, for random data sets, machines, models and losses.

A plan passes if a new trace of its training step and of its prediction is within the budgets of the machine, its patches fit
the network and no guard refuses it. A refusal passes if it has a cure. Anything else gives exit code 1. Prints a Markdown table.

    python benchmarks/random_plans.py [--count 100] [--seed 0]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import minivess.losses.registry as registry
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import MinivessError, PlanError
from minivess.findings import raise_critical
from minivess.geometry import patch_for
from minivess.models.model_profile import ModelProfile, load_model_profile
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import Estimator
from minivess.planning.memory.peak import predict_peak, predict_training_peak
from minivess.planning.memory.workload import InferenceWorkload
from minivess.planning.plan import PlanRequest, TrainingPlan
from minivess.planning.validation import check_plan
from minivess.text import GIB, format_bytes

LOSSES = sorted(registry.LOSSES)


@dataclass(frozen=True)
class Draw:
    """One random request to the planner."""

    hardware: HardwareBudget
    profile: DatasetProfile
    model: ModelProfile
    request: PlanRequest
    loss: str

    @property
    def budget_bytes(self) -> int:
        return self.hardware.gpu_budget_bytes if self.on_gpu else self.hardware.usable_ram_bytes

    @property
    def on_gpu(self) -> bool:
        compute = self.hardware.tier if self.request.compute == "auto" else self.request.compute
        return self.hardware.gpu is not None and compute != "cpu"

    def cells(self) -> str:
        gpu = format_bytes(self.hardware.gpu.total_bytes) if self.hardware.gpu else "none"
        shapes = f"{len(self.profile.volumes)} of {by(self.profile.min_shape)} to {by(self.profile.max_shape)}"
        filters = ", ".join(map(str, self.model.filters))
        machine = f"{gpu}, {format_bytes(self.hardware.host.ram_total_bytes)}"
        asked = f"{self.request.patch_policy}, batch {self.request.batch}"
        if self.request.patch_size:
            asked += f", patch {by(self.request.patch_size)}"
        return f"{machine} | {shapes} | {self.model.name} {filters} | {self.loss} | {asked}"


def draw(rng: random.Random) -> Draw:
    gpu_bytes = None if rng.random() < 0.15 else int(rng.uniform(4, 24) * GIB)
    ram = rng.choice([8, 16, 32, 64]) * GIB
    model = load_model_profile(rng.choice(["dynunet", "dynunet", "dynunet", "segresnet", "segresnet", "vista3d"]))
    if model.name != "vista3d":
        width, levels = rng.choice([8, 16, 32, 48]), rng.randint(3, 5)
        changes: dict[str, Any] = {"filters": tuple(min(width * 2**level, 320) for level in range(levels))}
        if model.name == "dynunet":
            changes["deep_supervision"] = rng.choice([0, 0, 2])
            model = load_model_profile(model.name, **changes)
    explicit = (8 * rng.randint(2, 32), 8 * rng.randint(2, 32), 2 * rng.randint(1, 24))
    request = PlanRequest(
        batch=rng.choice([2, 2, 4, 8]),
        patch_policy=rng.choice(["min_volume", "pad", "bucketed"]),
        patch_size=explicit if rng.random() < 0.25 else None,
        compute=rng.choice(["auto", "auto", "auto", "gpu_low", "gpu_extreme"]) if gpu_bytes else "auto",
    )
    return Draw(HardwareBudget.imagined(gpu_bytes, ram), _data_set(rng), model, request, rng.choice(LOSSES))


def _data_set(rng: random.Random) -> DatasetProfile:
    plane, spacing = rng.choice([128, 256, 512, 1024]), rng.uniform(0.3, 2.0)
    step = spacing * rng.choice([1.0, 2.0, 3.0, 5.0])
    deepest = rng.choice([12, 40, 110, 400])
    shapes = [(plane, rng.choice([plane, plane // 2]), rng.randint(3, deepest)) for _ in range(rng.randint(3, 70))]
    volumes = [
        VolumeStats(
            name=f"v{number:02d}",
            image="",
            label="",
            shape=shape,
            spacing_um=(spacing, spacing, step),
            dtype="uint16",
            stored_bytes=1,
            cached_bytes=3 * shape[0] * shape[1] * shape[2],
        )
        for number, shape in enumerate(shapes)
    ]
    return DatasetProfile(folder="", volumes=tuple(volumes))


def answer(question: Draw, cache: PeakCache) -> tuple[TrainingPlan | None, str]:
    """Return the plan and "", or None and the reason of the refusal."""
    try:
        forecast = Estimator({question.loss: {}}, cache, timed=False)
        plan = compute_adaptive_profile(question.hardware, question.profile, question.model, question.request, forecast)
        raise_critical(check_plan(plan, question.profile, question.hardware), PlanError)
    except MinivessError as error:
        if not error.cure:
            raise
        return None, f"refused: {' '.join(error.got.split())[:110]}"
    return plan, ""


def prove(question: Draw, plan: TrainingPlan) -> int:
    """Trace the plan again, check it, and return the larger of its peaks in bytes.

    Raises:
        AssertionError: The plan exceeds a budget or breaks a rule.
    """
    network = plan.network
    step = predict_training_peak(
        network,
        question.loss,
        plan.patch,
        plan.micro_batch,
        plan.precision,
        accumulated=plan.micro_batch < plan.batch,
        device=plan.device,
    )
    widest = max(question.profile.volumes, key=lambda volume: volume.shape[0] * volume.shape[1])
    prediction = predict_peak(
        InferenceWorkload(
            network=network,
            patch=patch_for(network.patches, widest.shape[2]),
            volume_shape=widest.shape,
            precision=plan.precision,
            overlap=plan.overlap,
            device=plan.device,
        )
    )
    assert plan.device == ("cuda" if question.on_gpu else "cpu"), "the plan is for the wrong device"
    assert int(step) <= question.budget_bytes, f"a step takes {format_bytes(int(step))}"
    if plan.device == "cuda" and (gpu := question.hardware.gpu):
        assert int(prediction) <= 0.8 * gpu.total_bytes, "a prediction takes more than 80 % of the GPU memory"
    for patch in network.patches:
        assert all(size % d == 0 for size, d in zip(patch, network.divisor, strict=True)), (
            "a patch that the strides do not divide"
        )
    if question.request.patch_size is not None:
        assert plan.patch == question.request.patch_size, "the patch is not the requested one"
    return max(int(step), int(prediction))


def by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="number of random requests")
    parser.add_argument("--seed", type=int, default=0, help="seed of the requests")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rng, seen, began = random.Random(options.seed), Counter[str](), time.monotonic()
    print(
        "| GPU, memory | volumes | model | loss | request | patches | traced | budget |\n|---|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder, PeakCache(Path(folder)) as cache:
        for _ in range(options.count):
            question = draw(rng)
            plan, refusal = answer(question, cache)
            if plan is None:
                seen["refused"] += 1
                print(f"| {question.cells()} | {refusal} | | |", flush=True)
                continue
            try:
                peak = prove(question, plan)
            except AssertionError as error:
                seen["wrong"] += 1
                print(f"| {question.cells()} | WRONG: {error} | | |", flush=True)
                continue
            seen["planned"] += 1
            patches = (
                f"{plan.micro_batch} of {', '.join(by(patch) for patch in plan.network.patches)} in {plan.precision}"
            )
            sizes = f"{format_bytes(peak)} | {format_bytes(question.budget_bytes)}"
            print(f"| {question.cells()} | {patches} | {sizes} |", flush=True)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(seen.items()))
    print(f"\n{options.count} requests with seed {options.seed}: {counts}; {time.monotonic() - began:.0f} s.")
    sys.exit(1 if seen["wrong"] else 0)


if __name__ == "__main__":
    main()
