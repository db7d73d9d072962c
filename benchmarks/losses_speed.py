"""Time and memory of each loss in a training step, and of soft clDice compared with MONAI's. Prints Markdown tables.

Times are CPU times, forward and backward. All subjects take turns in one process, and each has its fastest turn, so that
other load on the machine changes no comparison. A DynUNet step (16, 32, 64, 128 filters, dice_ce, AdamW) takes turns with
them. Memory is the peak of resident memory above the level before, in a process of its own. Neither includes the inputs.

    python benchmarks/losses_speed.py [--threads 1] [--turns 9]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minivess.losses import LOSSES, build_loss
from minivess.losses.registry import SCNP
from minivess.losses.topology import soft_cldice
from minivess.models.model_profile import build_network, load_model_profile
from minivess.training.config import TrainingConfig
from minivess.training.state import TrainState
from minivess.training.step import Step

SHAPES = ((2, 96, 96, 24), (2, 96, 96, 8))
ITERATIONS = 10
DYNUNET = "DynUNet step"
SOFT_CLDICE = {"monai": "soft clDice alone, MONAI's", "ours": "soft clDice alone"}


def vessels(batch: int, *size: int) -> tuple[Tensor, Tensor]:
    """Return logits and label of smooth random tubes, which fill about a tenth of the volume."""
    noise = torch.randn(batch, 1, *size, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        noise = torch.nn.functional.avg_pool3d(noise, 5, 1, 2)
    field = noise / noise.std() - 1.3
    return torch.cat([-2 * field, 2 * field], dim=1), (field > 0).float()


def monai_cldice() -> Callable[[Tensor, Tensor], Tensor]:
    from monai.losses.cldice import SoftclDiceLoss

    loss = SoftclDiceLoss(iter_=ITERATIONS)
    return lambda logits, label: loss(torch.softmax(logits, 1)[:, 1:], label)


def our_cldice() -> Callable[[Tensor, Tensor], Tensor]:
    return lambda logits, label: soft_cldice(torch.softmax(logits, 1)[:, 1:], label, ITERATIONS)


def peak_rss_bytes(*, reset: bool = False) -> int:
    """Return the peak resident memory of this process since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def dynunet_step(shape: tuple[int, ...]) -> Callable[[Tensor, Tensor], None]:
    """Return a function that runs one optimizer step on a batch; it ignores the logits."""
    model = load_model_profile("dynunet", filters=(16, 32, 64, 128))
    patch = (shape[1], shape[2], shape[3])
    network = build_network(model.spec((patch,), model.plan_strides(patch, (0.99, 0.99, 5.0)))).train()
    config = TrainingConfig()
    state = TrainState.start(network, config, "fp32")
    step = Step(build_loss("dice_ce"), config, seed=0, micro_batch=shape[0])
    image = torch.randn(shape[0], 1, *patch)
    mask = torch.ones_like(image, dtype=torch.bool)

    def run(_logits: Tensor, label: Tensor) -> None:
        step(state, (image, label, mask))

    return run


def subject(name: str, shape: tuple[int, ...]) -> Callable[[Tensor, Tensor], None]:
    """Return a function that runs the forward and backward pass of a loss, or a DynUNet step."""
    if name == DYNUNET:
        return dynunet_step(shape)
    named = {"monai": monai_cldice, "ours": our_cldice}
    loss = named[name]() if name in named else build_loss(name)
    return lambda logits, label: loss(logits.clone().requires_grad_(), label).backward()


def measure_seconds(names: list[str], shape: list[int], turns: int) -> dict[str, float]:
    """Measure the CPU time of every subject, which take turns; runs in the worker process."""
    logits, label = vessels(*shape)
    runs = {name: subject(name, tuple(shape)) for name in names}
    fastest = dict.fromkeys(names, float("inf"))
    for turn in range(turns + 1):
        for name, run in runs.items():
            start = time.process_time()
            run(logits, label)
            if turn:  # the first one loads libraries
                fastest[name] = min(fastest[name], time.process_time() - start)
    return fastest


def measure_bytes(name: str, shape: list[int]) -> int:
    """Measure the peak of one forward and backward pass; runs in the worker process."""
    run = subject(name, tuple(shape))
    run(*vessels(1, 8, 8, 8))
    batch = vessels(*shape)
    before = peak_rss_bytes(reset=True)
    run(*batch)
    return peak_rss_bytes() - before


def in_fresh_process(threads: int, **request: Any) -> Any:
    command = [sys.executable, "-W", "ignore", __file__, "--threads", str(threads), "--worker", json.dumps(request)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def print_tables(names: list[str], threads: int, turns: int) -> None:
    subjects = [DYNUNET, "monai", "ours", *names]
    print(f"{threads} CPU threads, torch {torch.__version__}, {ITERATIONS} iterations, fastest of {turns} turns")
    for shape in SHAPES:
        seconds = in_fresh_process(threads, names=subjects, shape=shape, turns=turns)
        peaks = {name: in_fresh_process(threads, name=name, shape=shape) for name in subjects if name != DYNUNET}
        print(f"\n{label_of(shape)}: a DynUNet step with dice_ce takes {1e3 * seconds[DYNUNET]:.0f} ms\n")
        print("| loss | CPU time | above dice_ce, share of a step | memory |\n|---|---|---|---|")
        for name, peak in peaks.items():
            above = (seconds[name] - seconds["dice_ce"]) / seconds[DYNUNET]
            cells = f"{1e3 * seconds[name]:.1f} ms | {100 * above:+.1f} % | {peak / 2**20:.0f} MiB"
            print(f"| {SOFT_CLDICE.get(name, name)} | {cells} |", flush=True)
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}")


def label_of(shape: tuple[int, ...]) -> str:
    return f"batch {shape[0]} of {'x'.join(map(str, shape[1:]))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--turns", type=int, default=9, help="timed turns of each subject")
    parser.add_argument("--loss", action="append", help="a loss besides dice_ce; may be repeated; otherwise all")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.worker:
        request = json.loads(options.worker)
        print(json.dumps(measure_seconds(**request) if "names" in request else measure_bytes(**request)))
    else:
        names = [*LOSSES, *(SCNP + name for name in ("dice_ce", "clce"))]
        chosen = names if options.loss is None else ["dice_ce", *options.loss]
        print_tables(list(dict.fromkeys(chosen)), options.threads, options.turns)


if __name__ == "__main__":
    main()
