"""Compare predicted memory with the memory of real steps on a CPU. Prints Markdown tables.

Every measurement comes from a separate process. "Taken" is the peak of the memory from torch's CPU allocator during the five
steps after the first, computed from the allocations that the profiler records. It includes oneDNN's scratch memory, but not the
memory that oneDNN, OpenMP and the C library keep. "Resident" is the growth of the process over six steps without the profiler,
above its size after a step of a tiny network; it includes freed memory that the C library does not return.

    python benchmarks/memory_prediction.py [--threads 2] [--largest MIB]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch.profiler import ProfilerActivity, profile, record_function

from minivess.geometry import Shape
from minivess.inference.predict_volume import predict_volume
from minivess.losses.registry import build_loss
from minivess.models.model_profile import build_network, load_model_profile
from minivess.planning.memory.peak import predict_peak
from minivess.planning.memory.workload import InferenceWorkload, TrainingWorkload, Workload
from minivess.text import MIB
from minivess.training.config import Precision, TrainingConfig
from minivess.training.state import TrainState
from minivess.training.step import Step, autocast

SPACING_UM = (0.99, 0.99, 5.0)
MEASURED = "measured"
XS, S, M, L = (8, 16, 32), (16, 32, 64), (32, 64, 128), (32, 64, 128, 256)


def training(
    filters: tuple[int, ...],
    patch: Shape,
    batch: int,
    loss: str,
    precision: Precision,
    heads: int = 0,
    model: str = "dynunet",
    accumulated: bool = False,
) -> TrainingWorkload:
    network = load_model_profile(model, filters=filters, deep_supervision=heads)
    return TrainingWorkload(
        network=network.spec((patch,), network.plan_strides(patch, SPACING_UM)),
        loss=loss,
        patch=patch,
        batch=batch,
        accumulated=accumulated,
        precision=precision,
        device="cpu",
    )


def inference(
    filters: tuple[int, ...], patch: Shape, volume_shape: Shape, windows: int, precision: Precision
) -> InferenceWorkload:
    network = load_model_profile("dynunet", filters=filters)
    return InferenceWorkload(
        network=network.spec((patch,), network.plan_strides(patch, SPACING_UM)),
        patch=patch,
        volume_shape=volume_shape,
        windows=windows,
        precision=precision,
        device="cpu",
    )


TRAININGS = (
    training(XS, (32, 32, 4), 1, "dice_ce", "fp32"),
    training(XS, (32, 32, 4), 2, "cbdice_cldice", "fp32"),
    training(XS, (32, 32, 4), 4, "cbdice", "bf16"),
    training(XS, (64, 64, 8), 1, "dice_ce", "fp32"),
    training(XS, (64, 64, 8), 2, "dice_ce", "bf16"),
    training(S, (32, 32, 4), 1, "dice_ce_cldice", "fp32"),
    training(S, (48, 48, 8), 2, "dice_ce_cldice", "fp32"),
    training(S, (64, 64, 8), 1, "cbdice", "bf16"),
    training(S, (64, 64, 16), 2, "cbdice", "fp32"),
    training(S, (96, 96, 8), 4, "dice_ce", "bf16"),
    training(M, (32, 32, 8), 1, "dice_ce", "fp32"),
    training(M, (32, 32, 8), 4, "dice_ce", "bf16"),
    training(M, (64, 64, 16), 1, "cbdice_cldice", "fp32", 2),
    training(M, (64, 64, 16), 2, "dice_ce", "fp32"),
    training(M, (96, 96, 8), 1, "dice_ce", "bf16"),
    training(L, (32, 32, 4), 1, "dice_ce", "fp32"),
    training(L, (32, 32, 8), 2, "dice_ce", "fp32", 2),
    training(L, (64, 64, 8), 1, "dice_ce", "fp32"),
    training(L, (64, 64, 8), 2, "dice_ce_cldice", "bf16", 2),
    training(L, (64, 64, 16), 4, "dice_ce", "bf16"),
    training(L, (96, 96, 8), 1, "cbdice", "fp32"),
    training(L, (96, 96, 24), 1, "dice_ce_cldice", "fp32"),
    training(L, (96, 96, 24), 2, "dice_ce", "bf16"),
    training(L, (96, 96, 24), 2, "dice_ce", "fp32", 2),
    training(L, (96, 96, 24), 2, "cbdice_cldice", "bf16", 2),
    training(L, (96, 96, 24), 4, "dice_ce", "fp32"),
    training(L, (32, 32, 8), 2, "dice_ce", "fp32", accumulated=True),
    training(L, (64, 64, 16), 2, "dice_ce", "fp32", 2, model="segresnet"),
    training(L, (64, 64, 16), 2, "cbdice", "bf16", model="segresnet"),
    training(XS, (64, 64, 8), 2, "warp", "fp32"),
    training(M, (64, 64, 16), 1, "warp", "bf16", 2),
    training(XS, (64, 64, 8), 2, "skeleton_recall", "fp32"),
    training(M, (64, 64, 16), 1, "skeleton_recall", "bf16", 2),
    training(XS, (64, 64, 8), 2, "clce", "fp32"),
    training(M, (64, 64, 16), 1, "clce", "bf16", 2),
    training(XS, (64, 64, 8), 2, "focal_tversky", "fp32"),
    training(M, (64, 64, 16), 1, "tversky", "bf16", 2),
    training(XS, (64, 64, 8), 2, "scnp_dice_ce", "fp32"),
    training(M, (64, 64, 16), 1, "scnp_clce", "bf16", 2),
    training(L, (96, 96, 24), 2, "scnp_dice_ce", "fp32"),
)
INFERENCES = (
    inference(S, (32, 32, 8), (96, 80, 20), 1, "fp32"),
    inference(L, (64, 64, 16), (128, 128, 40), 2, "bf16"),
    inference(L, (96, 96, 24), (256, 256, 48), 1, "fp32"),
    inference(L, (96, 96, 24), (256, 256, 48), 4, "fp32"),
)


def few_steps(work: TrainingWorkload) -> None:
    """Run one step, which allocates the optimizer's state, then five measured steps, because the time of release varies between steps."""
    torch.manual_seed(0)
    network = build_network(work.network).train()
    config = TrainingConfig()
    state = TrainState.start(network, config, work.precision)
    step = Step(build_loss(work.loss, **work.loss_options), config, 0, work.batch, work.precision)
    image = torch.randn(work.batch * (2 if work.accumulated else 1), 1, *work.patch)
    batch = image, (image > 1).to(torch.uint8), torch.ones_like(image, dtype=torch.bool)
    step(state, batch)
    with record_function(MEASURED):
        for _ in range(5):
            step(state, batch)


def prediction(work: InferenceWorkload) -> None:
    network = build_network(work.network).eval()
    volume = np.zeros(work.volume_shape, dtype=np.float32)
    with record_function(MEASURED):
        precision = autocast(torch.device("cpu"), work.precision)
        predict_volume(network, volume, work.patch, work.overlap, windows=work.windows, precision=precision)


def run(work: Workload) -> None:
    if isinstance(work, TrainingWorkload):
        few_steps(work)
    else:
        prediction(work)


def taken_bytes(work: Workload) -> int:
    """Return the peak of torch's CPU allocator in the measured part, plus the slab of a prediction, which NumPy allocates."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run(work)
    events = list(profiler.profiler.kineto_results.experimental_event_tree())
    changes, measured = [], (0, 0)
    while events:
        event = events.pop()
        events.extend(event.children)
        if event.name == "[memory]":
            changes.append((event.start_time_ns, event.extra_fields.alloc_size))
        elif event.name == MEASURED:
            measured = event.start_time_ns, event.end_time_ns
    held = peak = 0
    for when, size_bytes in sorted(changes, key=lambda change: change[0]):
        held += size_bytes
        if measured[0] <= when <= measured[1]:
            peak = max(peak, held)
    slab = 0 if isinstance(work, TrainingWorkload) else 4 * int(np.prod((*work.volume_shape[:2], work.patch[2])))
    return peak + slab


def resident_bytes(work: Workload) -> int:
    few_steps(training((4, 4, 4), (16, 16, 4), 2, "cbdice_cldice", work.precision))
    before = peak_rss_bytes(reset=True)
    run(work)
    return peak_rss_bytes() - before


def peak_rss_bytes(*, reset: bool = False) -> int:
    """Return the peak resident memory of this process since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def in_fresh_process(work: Workload, threads: int) -> dict[str, int]:
    command = [sys.executable, "-W", "ignore", __file__, "--threads", str(threads), "--worker"]
    answer = subprocess.run(
        command,
        input=json.dumps([work.model_dump(mode="json")]),
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
    )
    (measured,) = json.loads(answer.stdout.splitlines()[-1])
    return measured


def compare(works: Sequence[Workload], cells: Callable[[Any], str], threads: int, largest: float) -> list[float]:
    """Print one row per workload with a prediction of at most ``largest`` MiB; return the errors as shares of the taken memory."""
    errors = []
    for work in works:
        began = time.perf_counter()
        peak = predict_peak(work)
        seconds = time.perf_counter() - began
        if int(peak) > largest * MIB:
            continue
        real = in_fresh_process(work, threads)
        errors.append(int(peak) / real["taken"] - 1)
        sizes = " | ".join(f"{size / MIB:.1f}" for size in (int(peak), real["taken"]))
        resident = f"{real['resident'] / MIB:.0f}"
        print(
            f"| {cells(work)} | {sizes} | {100 * errors[-1]:+.2f} % | {peak.phase} | {resident} | {seconds:.1f} |",
            flush=True,
        )
    sizes_of = [100 * error for error in errors]
    mean = sum(abs(size) for size in sizes_of) / len(sizes_of)
    print(
        f"\n{len(errors)} rows: error from {min(sizes_of):+.2f} % to {max(sizes_of):+.2f} %, {mean:.2f} % on average.\n"
    )
    return errors


def training_cells(work: TrainingWorkload) -> str:
    model = work.network.model + (", accumulated" if work.accumulated else "")
    shape = f"{work.batch} of {by(work.patch)}"
    filters = ", ".join(map(str, work.network.filters))
    return f"{model} {filters} | {shape} | {work.loss} | {work.precision} | {work.network.deep_supervision}"


def inference_cells(work: InferenceWorkload) -> str:
    filters = ", ".join(map(str, work.network.filters))
    return f"{work.network.model} {filters} | {by(work.volume_shape)} | {work.windows} of {by(work.patch)} | {work.precision}"


def by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def print_tables(threads: int, largest: float, losses: Sequence[str]) -> None:
    predict_peak(training((4, 4, 4), (16, 16, 4), 2, "dice_ce", "fp32"))  # so that no row includes the time of imports
    print(f"CPU, {threads} threads, torch {torch.__version__}; sizes in MiB, time of the prediction in seconds\n")
    rest = "predicted | taken | error | peak in | resident | s"
    print(f"| network | batch | loss | precision | heads | {rest} |\n|{'---|' * 11}")
    compare([work for work in TRAININGS if not losses or work.loss in losses], training_cells, threads, largest)
    if losses:
        return
    print(f"| network | volume | windows | precision | {rest} |\n|{'---|' * 10}")
    compare(INFERENCES, inference_cells, threads, largest)


def worker() -> None:
    """Measure the workloads in the JSON list on standard input; the resident size is meaningful only for the first one."""
    works = TypeAdapter(list[Workload]).validate_json(sys.stdin.read())
    print(json.dumps([{"resident": resident_bytes(work), "taken": taken_bytes(work)} for work in works]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument(
        "--largest", type=float, default=float("inf"), help="skip workloads with a prediction above this many MiB"
    )
    parser.add_argument("--loss", action="append", default=[], help="only training steps of this loss; may be repeated")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.worker:
        worker()
    else:
        print_tables(options.threads, options.largest, options.loss)


if __name__ == "__main__":
    main()
