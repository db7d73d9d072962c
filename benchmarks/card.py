"""Measurements that need a GPU: predicted against measured memory, and the accuracy of half precision.

    python benchmarks/card.py WORK --cap 8GB                 all parts, some minutes; prints Markdown
    python benchmarks/card.py WORK --cap 8GB --part memory   predicted and measured memory of models, patches, losses, precisions
    python benchmarks/card.py WORK --part context            memory of CUDA and its libraries in addition to torch's tensors
    python benchmarks/card.py WORK --part precision          one short study on phantoms in fp32, bf16 and fp16

``--cap`` is the GPU memory that torch may use, to imitate a smaller GPU. Phantoms and run folders are written to WORK. Only the
last part also runs without a GPU (without fp16). Whether a killed run ends with the same bits on a GPU is tested by

    python benchmarks/chaos.py --kills 4 --set training.deterministic=true
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
import torch
import yaml

from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.errors import PlanError
from minivess.experiments.run_folder import RunFolder
from minivess.geometry import Shape
from minivess.losses.registry import LOSSES
from minivess.models.model_profile import load_model_profile
from minivess.planning.memory.cache import PeakCache
from minivess.planning.memory.estimator import cache_folder
from minivess.planning.memory.peak import CONTEXT_BYTES
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import TrainingWorkload
from minivess.text import GIB, MIB, parse_size
from minivess.training.config import Precision

SPACING_UM = (0.99, 0.99, 5.0)
ROWS: tuple[tuple[str, Shape, int, str, Precision], ...] = (
    *(("dynunet", (96, 96, 8), 2, "dice_ce", precision) for precision in ("fp32", "bf16", "fp16")),
    *(("dynunet", (96, 96, 16), 2, loss, "fp16") for loss in (*LOSSES, "scnp_dice_ce")),
    ("dynunet", (128, 128, 32), 2, "dice_ce", "fp16"),
    ("dynunet", (128, 128, 32), 4, "cbdice_cldice", "bf16"),
    ("dynunet", (192, 192, 32), 2, "dice_ce", "fp16"),
    ("segresnet", (96, 96, 16), 2, "dice_ce", "fp16"),
    ("segresnet", (128, 128, 32), 2, "cbdice_cldice", "bf16"),
    ("segresnet", (192, 192, 32), 2, "dice_ce", "fp16"),
    ("vista3d", (128, 128, 16), 1, "dice_ce", "fp16"),
    ("vista3d", (128, 128, 32), 2, "dice_ce", "bf16"),
)
STUDY = {
    "losses": ["dice_ce", "cbdice_cldice"],
    "folds": 2,
    "model": {"name": "dynunet", "filters": [16, 32, 64]},
    "plan": {"patch_size": [64, 64, 4], "batch": 4},
    "training": {"max_epochs": 10, "steps_per_epoch": 20, "learning_rate": 0.003, "validate_every": 0},
    "evaluation": {"baselines": []},
    "tracking_uri": "none",
}
CONTEXT = """
import psutil, torch
process = psutil.Process()
before = process.memory_info().rss
free, total = torch.cuda.mem_get_info()
layer = torch.nn.Conv3d(1, 8, 3).cuda()
image = torch.randn(1, 1, 64, 64, 16, device="cuda")
with torch.autocast("cuda", dtype=torch.float16):
    layer(image).square().sum().backward()
(torch.randn(512, 512, device="cuda") @ torch.randn(512, 512, device="cuda")).sum().item()
print(total - torch.cuda.mem_get_info()[0] - torch.cuda.memory_reserved(), process.memory_info().rss - before)
"""


def memory(work: Path, cap_bytes: int | None) -> None:
    """Compare predicted memory, without the CUDA context, which torch does not count, with what real steps reserve and allocate."""
    print(
        "| model | patches | loss | precision | predicted, GiB | reserved, GiB | error | in tensors, GiB | s per step |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with PeakCache(cache_folder(os.environ)) as known:
        process = PeakProcess()
        for name, patch, batch, loss, precision in ROWS:
            model = load_model_profile(name)
            network = model.spec((patch,), model.plan_strides(patch, SPACING_UM))
            step = TrainingWorkload(
                network=network, loss=loss, patch=patch, batch=batch, precision=precision, device="cuda"
            )
            predicted = known.peak(step)
            own = predicted.total_bytes - predicted.context_bytes
            start = f"| {name} | {batch} of {'x'.join(map(str, patch))} | {loss} | {precision} | {own / GIB:.2f} "
            try:
                use = process.card_use(step, cap_bytes)
            except PlanError as error:
                print(f"{start}| {error.got} | | | |", flush=True)
                continue
            taken, tensors = use.reserved_bytes, use.allocated_bytes
            off = f"{100 * (own / taken - 1):+.1f} %"
            print(f"{start}| {taken / GIB:.2f} | {off} | {tensors / GIB:.2f} | {use.step_seconds:.3f} |", flush=True)
        process.close()
    print()


def context(work: Path, cap_bytes: int | None) -> None:
    """Measure the GPU memory of a process outside torch's pool, and the main memory that CUDA needs; the GPU must be idle."""
    used_before = torch.cuda.mem_get_info()
    answer = subprocess.run([sys.executable, "-c", CONTEXT], check=True, stdout=subprocess.PIPE, text=True).stdout
    gpu, host = map(int, answer.split())
    others = used_before[1] - used_before[0]
    print(
        f"CUDA context and libraries: {(gpu - others) / MIB:.0f} MiB of GPU memory in addition to what was in use before",
        end="",
    )
    print(f" ({others / MIB:.0f} MiB, including this process); plans allow {CONTEXT_BYTES / MIB:.0f} MiB.", end=" ")
    print(f"Main memory: {host / MIB:.0f} MiB.\n", flush=True)


def precision(work: Path, cap_bytes: int | None) -> None:
    """Run the study on phantoms in each precision, all at the same time; the seconds are measured under this load."""
    if not (work / "phantoms").is_dir():
        write_phantom(work / "phantoms", small_cases(8))
    print("| loss | precision | clDice | DSC | worst DSC | s per step | s per cell | peak GPU memory, GiB |")
    print("|---|---|---|---|---|---|---|---|")
    kinds = ("fp32", "bf16", "fp16") if torch.cuda.is_available() else ("fp32", "bf16")
    with ThreadPoolExecutor(len(kinds)) as pool:
        for lines in pool.map(lambda kind: _study(work, kind, cap_bytes), kinds):
            print("\n".join(lines), flush=True)
    print()


def _study(work: Path, kind: str, cap_bytes: int | None) -> list[str]:
    limits = {} if cap_bytes is None else {"limits": {"gpu_limit_gib": cap_bytes / GIB}}
    config: dict[str, Any] = {**STUDY, **limits, "name": kind}
    config["plan"] = {**STUDY["plan"], "precision": kind}  # type: ignore[dict-item]
    path = work / f"{kind}.yaml"
    path.write_text(yaml.safe_dump(config))
    folders = ["--data-dir", str(work / "phantoms"), "--output-dir", str(work / "runs")]
    command = [sys.executable, "-m", "minivess.cli.main", "run", "--config", str(path), *folders, "--fresh", "--quiet"]
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "PREFECT_DISABLED": "1"})
    run = RunFolder(work / "runs" / kind)
    plan, cells = run.read_plan(), run.cells()
    lines = []
    for loss in config["losses"]:
        own = [cell for cell in cells if cell.read_result().method == loss]
        scores = [row.metrics for cell in own for row in cell.read_result().rows]
        peaks = [json.loads((cell.path / "outcome.json").read_text())["peak_gpu_bytes"] for cell in own]
        dscs = [score.dsc for score in scores]
        values = (mean(score.cldice for score in scores if score.cldice is not None), mean(dscs), min(dscs))
        facts = " | ".join(f"{value:.3f}" for value in values)
        seconds = mean(cell.read_result().seconds for cell in own)
        peak = "" if None in peaks else f"{max(peaks) / GIB:.2f}"
        lines.append(f"| {loss} | {kind} | {facts} | {plan.step_seconds[loss]:.3f} | {seconds:.0f} | {peak} |")
    return lines


PARTS: dict[str, Callable[[Path, int | None], None]] = {"memory": memory, "context": context, "precision": precision}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--cap", help='GPU memory that torch may use, e.g. "8GB"; by default all')
    parser.add_argument("--part", choices=PARTS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    gpu = "no GPU"
    if torch.cuda.is_available():
        gpu = f"{torch.cuda.get_device_name(0)}, cuDNN {torch.backends.cudnn.version()}"
    cap = f", limited to {options.cap}" if options.cap else ""
    memory_gib = psutil.virtual_memory().total / GIB
    print(f"{gpu}{cap}; {psutil.cpu_count()} processors, {memory_gib:.0f} GiB; torch {torch.__version__}\n", flush=True)
    for name in [options.part] if options.part else PARTS:
        PARTS[name](options.work, parse_size(options.cap) if options.cap else None)


if __name__ == "__main__":
    main()
