"""Time of homotopy warping and of skeleton recall's tube per patch, and of Numba's compilation per process. Prints Markdown tables.

The label is smooth random tubes. The prediction comes from the same field with added noise, so it has wrong surfaces, gaps,
bridges and small specks. Every time is the median of several repeats. Run it on a machine without other load:

    python benchmarks/warping_speed.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label

from minivess.losses.skeleton_recall import tube
from minivess.losses.warping import critical_points, warp

SHAPES = ((96, 96, 24), (96, 96, 8), (128, 128, 32))
NOISE = (0.0, 0.2, 0.4, 0.8, 5.0)
FIRST_CALL = """
import time, numpy as np
began = time.perf_counter()
from minivess.losses.warping import critical_points
imported = time.perf_counter()
critical_points(np.eye(4, dtype=bool)[None], np.ones((1, 4, 4), dtype=bool))
print(imported - began, time.perf_counter() - imported)
"""

Mask = NDArray[np.bool_]


def tubes(shape: tuple[int, ...], noise: float) -> tuple[Mask, Mask]:
    """Return prediction and label; the label fills about a tenth of the volume."""
    rng = np.random.default_rng(0)
    field, error = (gaussian_filter(rng.standard_normal(shape), (sigma, sigma, sigma / 2)) for sigma in (3, 1.5))
    field, error = field / field.std(), error / error.std()
    return field + noise * error > 1.3, field > 1.3


def milliseconds(work: Callable[[], object], repeats: int = 9) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def row(shape: tuple[int, ...], noise: float) -> str:
    prediction, vessel = tubes(shape, noise)
    critical = critical_points(prediction, vessel)
    dsc = 2 * (prediction & vessel).sum() / (prediction.sum() + vessel.sum())
    counted = f"{(prediction != vessel).sum()} | {critical.sum()} | {label(critical)[1]}"
    times = (
        milliseconds(lambda: warp(vessel, prediction)),
        milliseconds(lambda: critical_points(prediction, vessel)),
        milliseconds(lambda: tube(vessel)),
    )
    return (
        f"| {'x'.join(map(str, shape))} | {dsc:.2f} | {counted} | " + " | ".join(f"{time:.1f}" for time in times) + " |"
    )


def first_call(cache: str) -> str:
    """Measure the seconds of the imports and of the first call in a new process."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    answer = subprocess.run(
        [sys.executable, "-c", FIRST_CALL], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return " | ".join(f"{float(seconds):.2f}" for seconds in answer.stdout.split())


def main() -> None:
    print(
        "| patch | DSC | wrong voxels | critical voxels | pieces of them | warp, ms | critical_points, ms | tube, ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        for noise in NOISE:
            print(row(shape, noise))
    print("\n| process | imports, s | first call, s |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        print(f"| first process on a machine | {first_call(cache)} |")
        print(f"| later processes | {first_call(cache)} |")


if __name__ == "__main__":
    main()
