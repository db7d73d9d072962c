"""Time and memory of each loss in a training step, and of soft clDice compared with MONAI's. Prints Markdown tables.

Every number comes from a separate process: the fastest of several forward and backward passes, and the peak of resident memory
above the level before. Neither includes the inputs. Run it on a machine without other load:

    python benchmarks/losses_speed.py [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from minivess.losses import LOSSES, build_loss
from minivess.losses.topology import soft_cldice

SHAPES = ((2, 96, 96, 24), (2, 96, 96, 8))
ITERATIONS = 10


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


def measure(subject: str, shape: list[int], repeats: int) -> dict[str, float]:
    """Measure seconds and peak bytes of one forward and backward pass; runs in the worker process."""
    named = {"monai": monai_cldice, "ours": our_cldice}
    loss = named[subject]() if subject in named else build_loss(subject)

    def step(logits: Tensor, label: Tensor) -> float:
        leaf = logits.clone().requires_grad_()
        start = time.perf_counter()
        loss(leaf, label).backward()
        return time.perf_counter() - start

    step(*vessels(1, 8, 8, 8))
    logits, label = vessels(*shape)
    before = peak_rss_bytes(reset=True)
    first = step(logits, label)
    peak = peak_rss_bytes() - before
    return {"seconds": min([first, *(step(logits, label) for _ in range(repeats))]), "bytes": peak}


def in_fresh_process(subject: str, shape: tuple[int, ...], threads: int, repeats: int) -> dict[str, float]:
    request = json.dumps({"subject": subject, "shape": shape, "repeats": repeats})
    command = [sys.executable, "-W", "ignore", __file__, "--threads", str(threads), "--worker", request]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def print_tables(threads: int) -> None:
    print(f"Forward and backward, {threads} CPU threads, torch {torch.__version__}, {ITERATIONS} iterations\n")
    print("| soft clDice, foreground | MONAI | ours | times faster | MONAI peak | ours peak | share of memory |")
    print("|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        theirs, ours = (in_fresh_process(name, shape, threads, 7) for name in ("monai", "ours"))
        faster, share = theirs["seconds"] / ours["seconds"], ours["bytes"] / theirs["bytes"]
        times = f"{1e3 * theirs['seconds']:.0f} ms | {1e3 * ours['seconds']:.0f} ms | {faster:.1f}"
        peaks = f"{theirs['bytes'] / 2**20:.0f} MiB | {ours['bytes'] / 2**20:.0f} MiB | {share:.2f}"
        print(f"| {label_of(shape)} | {times} | {peaks} |")
    print("\n| loss | " + " | ".join(label_of(shape) for shape in SHAPES) + " |")
    print("|---|" + "---|" * len(SHAPES))
    for name in LOSSES:
        costs = [in_fresh_process(name, shape, threads, 7) for shape in SHAPES]
        cells = (f"{1e3 * cost['seconds']:.0f} ms, {cost['bytes'] / 2**20:.0f} MiB" for cost in costs)
        print(f"| {name} | {' | '.join(cells)} |")


def label_of(shape: tuple[int, ...]) -> str:
    return f"batch {shape[0]} of {'x'.join(map(str, shape[1:]))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.worker:
        print(json.dumps(measure(**json.loads(options.worker))))
    else:
        print_tables(options.threads)


if __name__ == "__main__":
    main()
