"""The network that ships, trained on phantoms alone, beside a threshold that is chosen with labels.

    python benchmarks/pretraining.py score DATA_DIR [--weights FOLDER]
    python benchmarks/pretraining.py speed
    python benchmarks/pretraining.py picture OUT.png [--real DATA_DIR]

``score`` prints Markdown: DSC, clDice and Betti-0 error of each volume. The threshold of a volume is chosen on the labels
of all other volumes. ``picture`` draws 24 samples of the stream, and crops of real volumes below if there are any.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path
from statistics import mean

import numpy as np
from PIL import Image

from minivess.data.array_store import Store, build_store
from minivess.data.phantoms.recipes import RECIPES
from minivess.data.phantoms.stream import PhantomStream
from minivess.data.profiler import scan_dataset
from minivess.evaluation.baselines import BASELINES
from minivess.geometry import patch_for
from minivess.inference.predict_volume import predict_volume
from minivess.metrics.case import score_case
from minivess.models.shipped import SHIPPED
from minivess.models.weights import load_network, read_saved

METRICS = ("dsc", "cldice", "betti0_error")
PATCH = (128, 128, 8)


def score(data: Path, weights: Path, names: list[str]) -> None:
    """Print the table of scores."""
    network, saved = load_network(weights), read_saved(weights).network
    threshold = BASELINES["threshold"]
    print("| volume | " + " | ".join(f"{key}, {who}" for key in METRICS for who in ("phantoms", "threshold")) + " |")
    print("|---" * (1 + 2 * len(METRICS)) + "|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        profile = scan_dataset(data, voxels=True)
        store = build_store(profile, Path(folder))
        every = [volume.name for volume in profile.volumes]
        for name in names or every:
            case = store.case(name)
            mask = predict_volume(
                network, case.image, patch_for(saved.patches, case.stats.shape[2]), normalise=case.stats.normalise
            )
            level = threshold.choose_level([store.case(other) for other in every if other != name], lambda a, b: None)
            masks = mask, threshold.mask(case, level, lambda a, b: None)
            found = [score_case(one, case.label, case.stats.spacing_um) for one in masks]
            rows.append([float(getattr(one, key)) for key in METRICS for one in found])
            print(f"| {name} | " + " | ".join(_text(value) for value in rows[-1]) + " |", flush=True)
    print("| mean | " + " | ".join(_text(mean(column)) for column in zip(*rows, strict=True)) + " |")
    for k, key in enumerate(METRICS[:2]):
        better = sum(row[2 * k] > row[2 * k + 1] for row in rows)
        print(f"\n{key}: above the threshold on {better} of {len(rows)} volumes")


def _text(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.0f}"


def speed(count: int = 60) -> None:
    """Print milliseconds of processor time and memory per sample."""
    stream = PhantomStream(RECIPES["broad"], PATCH, batch=1)
    stream.sample(0)  # compiles
    seconds = []
    for number in range(count):
        began = time.process_time()
        stream.sample(number)
        seconds.append(time.process_time() - began)
    tracemalloc.start()
    for number in range(count):
        stream.sample(number)
    peak = tracemalloc.get_traced_memory()[1]
    print(f"{1000 * mean(seconds):.0f} ms per sample of {PATCH}, at most {1000 * max(seconds):.0f} ms; ", end="")
    print(f"peak {peak / 2**20:.0f} MiB, planned {stream.bytes_per_sample / 2**20:.0f} MiB")


def picture(out: Path, real: Path | None) -> None:
    """Save a picture of 24 samples, the middle slice of each, and of 12 real crops."""
    stream = PhantomStream(RECIPES["broad"], PATCH, batch=1, seed=2)
    tiles = [stream.sample(number)[0][:, :, PATCH[2] // 2] for number in range(24)]
    if real is not None:
        with tempfile.TemporaryDirectory() as folder:
            profile = scan_dataset(real, voxels=True)
            tiles += _crops(build_store(profile, Path(folder)), [volume.name for volume in profile.volumes], 12)
    rows = [np.hstack([_grey(tile) for tile in tiles[first : first + 6]]) for first in range(0, len(tiles), 6)]
    Image.fromarray(np.vstack(rows)).save(out, optimize=True)


def _crops(store: Store, names: list[str], count: int) -> list[np.ndarray]:
    rng, crops = np.random.default_rng(1), []
    for number in range(count):
        case = store.case(names[number % len(names)])
        x, y, z = (
            int(rng.integers(max(whole - size, 0) + 1))
            for whole, size in zip(case.image.shape, (128, 128, 1), strict=True)
        )
        crops.append(case.stats.normalise(case.image[x : x + 128, y : y + 128, z]))
    return crops


def _grey(tile: np.ndarray) -> np.ndarray:
    grey = np.full((132, 132), 255, np.uint8)
    grey[2:130, 2:130] = np.clip((tile.T + 1) * 51, 0, 255)
    return grey


def main() -> None:
    """Parse the command line and run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    scoring = parts.add_parser("score")
    scoring.add_argument("data", type=Path)
    scoring.add_argument("--weights", type=Path, default=SHIPPED)
    scoring.add_argument("--only", nargs="*", default=[])
    parts.add_parser("speed")
    drawing = parts.add_parser("picture")
    drawing.add_argument("out", type=Path)
    drawing.add_argument("--real", type=Path)
    options = parser.parse_args()
    if options.part == "score":
        score(options.data, options.weights, options.only)
    elif options.part == "speed":
        speed()
    else:
        picture(options.out, options.real)


if __name__ == "__main__":
    main()
