"""Time and memory of each metric on a mask of MiniVess's largest size, on one core.

    python benchmarks/metrics_speed.py                 a synthetic 512x512x106 vessel network and a flawed copy of it
    python benchmarks/metrics_speed.py --label FILE    a label file and a flawed copy of it

Each row is measured in a separate process. "extra" is its peak resident memory above the level with both masks loaded. In rows
with a prepared label, the time excludes the preparation and the peak includes it. Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
from numpy.typing import NDArray

from minivess.metrics import betti, centreline, overlap, surface
from minivess.metrics.case import score_case
from minivess.metrics.reference import Reference

Mask = NDArray[np.bool_]
Spacing = tuple[float, ...]
SHAPE, SPACING_UM = (512, 512, 106), (0.994, 0.994, 2.0)


def synthetic_network(rng: np.random.Generator, vessels: int = 180, steps: int = 260) -> Mask:
    """Draw a vessel network of about 5 % foreground: tubes with a radius of 2 to 6 voxels along smooth random walks."""
    mask = np.zeros(SHAPE, bool)
    for _ in range(vessels):
        radius = rng.uniform(2, 6)
        place, heading = rng.uniform(0, SHAPE), rng.normal(size=3) * (1, 1, 0.5)
        for _ in range(steps):
            heading += rng.normal(size=3) * (0.2, 0.2, 0.1)
            place = place + 1.5 * heading / np.linalg.norm(heading)
            _paint_ball(mask, place, radius)
    return mask


def flawed_copy(mask: Mask, rng: np.random.Generator) -> Mask:
    """Return the mask as a mediocre network would predict it: shifted by a voxel, with holes and false blobs."""
    flawed = np.roll(mask, 1, axis=0)
    for place in rng.uniform(0, mask.shape, size=(400, 3)):
        _paint_ball(flawed, place, 4, value=bool(rng.random() < 0.3))
    return flawed


def _paint_ball(mask: Mask, centre: NDArray[np.float64], radius: float, value: bool = True) -> None:
    low = [max(0, int(c - radius)) for c in centre]
    box = tuple(slice(a, max(a, min(n, int(c + radius) + 2))) for a, c, n in zip(low, centre, mask.shape, strict=True))
    squares = [(np.arange(s.start, s.stop) - c) ** 2 for s, c in zip(box, centre, strict=True)]
    mask[box][np.add.outer(np.add.outer(squares[0], squares[1]), squares[2]) <= radius**2] = value


def _dsc(prediction: Mask, label: Mask, _: Spacing) -> float:
    return overlap.dsc(prediction, label)


def _cldice(prediction: Mask, label: Mask, spacing: Spacing) -> float:
    lines = (centreline.centreline(mask, spacing) for mask in (prediction, label))
    return centreline.cldice(prediction, label, *lines)


def _centreline_dsc(prediction: Mask, label: Mask, _: Spacing) -> float:
    return centreline.cldice(prediction, label, centreline.lee_skeleton(prediction), centreline.lee_skeleton(label))


def _masd(prediction: Mask, label: Mask, spacing: Spacing) -> float:
    borders = surface.border(prediction), surface.border(label)
    return surface.measured_masd(surface.surface_distances(*borders, spacing))


def _three(prediction: Mask, label: Mask, spacing: Spacing) -> float:
    return sum(measure(prediction, label, spacing) for measure in (_dsc, _centreline_dsc, _masd))


def _three_label_ready(prediction: Mask, label: Reference, spacing: Spacing) -> float:
    overlap.dsc(prediction, label.mask)
    centreline.cldice(prediction, label.mask, centreline.lee_skeleton(prediction), label.skeleton)
    return surface.measured_masd(surface.surface_distances(surface.border(prediction), label.border, spacing))


def _betti(prediction: Mask, label: Mask, _: Spacing) -> float:
    return abs(betti.betti_numbers(prediction).b1 - betti.betti_numbers(label).b1)


def _prepare(_: Mask, label: Mask, spacing: Spacing) -> float:
    return Reference.of(label, spacing).betti.b1


def _score_case(prediction: Mask, label: Mask | Reference, spacing: Spacing) -> float:
    return score_case(prediction, label, spacing).measured_masd


MEASURES: dict[str, Callable[..., float]] = {
    "cldice": _cldice,
    "dsc": _dsc,
    "centreline_dsc": _centreline_dsc,
    "measured_masd": _masd,
    "dsc + centreline_dsc + measured_masd": _three,
    "the three, label prepared": _three_label_ready,
    "betti1_error": _betti,
    "Reference.of": _prepare,
    "score_case": _score_case,
    "score_case, label prepared": _score_case,
}


def measure_one(name: str, masks: Path) -> None:
    """Run one measure in this process; print its seconds, processor seconds and extra bytes."""
    with np.load(masks) as stored:
        prediction, reference, spacing = stored["prediction"], stored["reference"], tuple(stored["spacing"])
    label = Reference.of(reference, spacing) if name.endswith("label prepared") else reference
    held_bytes = psutil.Process().memory_info().rss
    start, start_cpu = time.perf_counter(), time.process_time()
    MEASURES[name](prediction, label, spacing)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    print(seconds, cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held_bytes)


def main() -> None:
    """Write the masks, run each measure in a process on one core, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", type=Path, help="NIfTI label to use instead of the synthetic network")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "MASKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure_one(options.one[0], Path(options.one[1]))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    spacing: Spacing = SPACING_UM
    if options.label:
        image = nib.load(options.label)
        reference, spacing = np.asarray(image.dataobj) > 0, tuple(map(float, image.header.get_zooms()[:3]))
    else:
        reference = synthetic_network(rng)
    print(f"{reference.shape}, {reference.mean():.1%} foreground, spacing {spacing} um, one core")
    print(f"{'measure':<40}{'seconds':>10}{'CPU s':>8}{'extra MiB':>11}")
    with tempfile.TemporaryDirectory() as folder:
        masks = Path(folder) / "masks.npz"
        np.savez(masks, prediction=flawed_copy(reference, rng), reference=reference, spacing=spacing)
        for name in MEASURES:
            command = [sys.executable, __file__, "--one", name, str(masks)]
            seconds, cpu_seconds, extra_bytes = subprocess.run(
                command, check=True, capture_output=True, text=True
            ).stdout.split()
            print(f"{name:<40}{float(seconds):>10.2f}{float(cpu_seconds):>8.2f}{int(extra_bytes) / 2**20:>11.0f}")


if __name__ == "__main__":
    main()
