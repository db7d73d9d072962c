"""Time and memory of all metrics on a mask of MiniVess's largest size, on one core, beside MetricsReloaded.

    python benchmarks/metrics_speed.py                              a synthetic 512x512x106 vessel network
    python benchmarks/metrics_speed.py --label FILE [FILE...]       label files, one on top of the other, 106 slices
    python benchmarks/metrics_speed.py --metricsreloaded FOLDER     with the three of MetricsReloaded, from its sources
    python benchmarks/metrics_speed.py --repeats 3                  the least time of three, where other processes run

Two predictions are scored: a good one, and a bad one with a tenth of all voxels inverted. Each row is measured in a separate
process, one after the other. "extra" is its first peak of resident memory above the level with both masks loaded. In rows with a prepared
label, the time excludes the preparation and the peak includes it. Compiling is excluded. Linux only.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import psutil
from numpy.typing import NDArray

from minivess.metrics.betti import betti_numbers
from minivess.metrics.case import score_case
from minivess.metrics.reference import Reference
from minivess.metrics.surface import border, measured_masd, surface_distances
from minivess.topology.lee_thinning import thin_as_scikit_image
from minivess.topology.thinning import thin

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


def speckled_copy(mask: Mask, rng: np.random.Generator) -> Mask:
    """Return the mask with a tenth of all voxels inverted."""
    return mask ^ (rng.random(mask.shape) < 0.1)


def stacked(files: list[Path]) -> tuple[Mask, Spacing]:
    """Stack labels with the same size within a slice, again from the first one, to as many slices as MiniVess has."""
    images = [nib.load(file) for file in files]
    slices = np.concatenate([np.asarray(image.dataobj) > 0 for image in images], axis=2)
    rounds = -(-SHAPE[2] // slices.shape[2])
    return np.tile(slices, (1, 1, rounds))[..., : SHAPE[2]], tuple(map(float, images[0].header.get_zooms()[:3]))


def _masd(prediction: Mask, label: Mask, spacing: Spacing) -> float:
    return measured_masd(surface_distances(border(prediction), border(label), spacing))


OURS: dict[str, Callable[..., object]] = {
    "cldice: one complete centreline": lambda prediction, label, spacing: thin(prediction, spacing),
    "centreline_dsc: one skeleton": lambda prediction, label, spacing: thin_as_scikit_image(prediction),
    "measured_masd": _masd,
    "Betti numbers of one mask": lambda prediction, label, spacing: betti_numbers(prediction),
    "preparing the label": lambda prediction, label, spacing: Reference.of(label, spacing),
    "all metrics": score_case,
    "all metrics, label prepared": score_case,
}
THEIRS = ("dsc", "centreline_dsc", "measured_masd")


def measure_one(name: str, masks: Path, metricsreloaded: str, repeats: int) -> None:
    """Run one measure in this process; print its least seconds, least processor seconds and extra bytes."""
    with np.load(masks) as stored:
        prediction, label, spacing = stored["prediction"], stored["label"], tuple(stored["spacing"].tolist())
    if name in OURS:
        small = prediction[:40, :40, :20].copy()
        score_case(small | True, small, spacing)  # compiles, or loads what is compiled
        held_bytes = psutil.Process().memory_info().rss
        reference = Reference.of(label, spacing) if name.endswith("label prepared") else label
        measure = lambda: OURS[name](prediction, reference, spacing)  # noqa: E731
    else:
        sys.path.insert(0, metricsreloaded)
        warnings.filterwarnings("ignore")
        from MetricsReloaded.metrics.pairwise_measures import BinaryPairwiseMeasures  # type: ignore[import-not-found]

        masks_of_theirs = prediction.astype(np.uint8), label.astype(np.uint8)
        held_bytes = psutil.Process().memory_info().rss

        def measure() -> object:  # a new object each time, because it keeps what it has computed
            theirs = BinaryPairwiseMeasures(*masks_of_theirs, pixdim=list(spacing))
            return [getattr(theirs, metric)() for metric in THEIRS]

    times, peaks = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        measure()
        times.append((time.perf_counter() - start, time.process_time() - start_cpu))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    seconds, cpu_seconds = map(min, zip(*times, strict=True))
    print(seconds, cpu_seconds, peaks[0] - held_bytes)


def main() -> None:
    """Write the masks, run each measure in a process on one core, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--label", type=Path, nargs="+", help="NIfTI labels to use instead of the synthetic network")
    parser.add_argument(
        "--metricsreloaded", default="", metavar="FOLDER", help="folder with the package MetricsReloaded"
    )
    parser.add_argument("--repeats", type=int, default=1, help="measure each row so many times; the least time counts")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "MASKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure_one(options.one[0], Path(options.one[1]), options.metricsreloaded, options.repeats)
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    rng = np.random.default_rng(0)
    label, spacing = stacked(options.label) if options.label else (synthetic_network(rng), SPACING_UM)
    print(f"{label.shape}, {label.mean():.1%} foreground, spacing {spacing} um, one core")
    names = [*OURS, *(["MetricsReloaded: three metrics"] if options.metricsreloaded else [])]
    with tempfile.TemporaryDirectory() as folder:
        masks = Path(folder) / "masks.npz"
        for kind, draw in (("good", flawed_copy), ("bad", speckled_copy)):
            np.savez(masks, prediction=draw(label, rng), label=label, spacing=spacing)
            print(f"{kind + ' prediction':<40}{'seconds':>10}{'CPU s':>8}{'extra MiB':>11}", flush=True)
            for name in names:
                command = [sys.executable, __file__, "--one", name, str(masks)]
                command += ["--metricsreloaded", options.metricsreloaded, "--repeats", str(options.repeats)]
                printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
                seconds, cpu_seconds, extra_bytes = map(float, printed)
                print(f"{name:<40}{seconds:>10.2f}{cpu_seconds:>8.2f}{extra_bytes / 2**20:>11.0f}", flush=True)


if __name__ == "__main__":
    main()
