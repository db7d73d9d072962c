"""What a centreline keeps of a mask: the complete one of minivess, scikit-image's Lee skeleton and, if installed, gaara.

    python benchmarks/centrelines.py tubes               straight tubes of every width and angle: length, branches, topology
    python benchmarks/centrelines.py labels FILE...      NIfTI labels: pieces, tunnels, voxels and seconds; `--picture FILE`
    python benchmarks/centrelines.py runs RUN...         cldice and centreline_dsc of the cases of finished runs

gaara is not needed by minivess: `pip install gaara` adds its rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from minivess.metrics.betti import betti_numbers
from minivess.topology.lee_thinning import thin_as_scikit_image
from minivess.topology.thinning import thin

Mask = NDArray[np.bool_]
Spacing = tuple[float, ...]
Method = Callable[[Mask, Spacing], NDArray[np.integer]]
WIDTHS = ((1.2, 2), (2, 4), (4, 8), (8, 16))


def _gaara(mask: Mask, spacing: Spacing) -> NDArray[np.integer]:
    import gaara

    return np.argwhere(gaara.thin(mask.astype(np.uint8), binary_image=True, preserve_endpoints=True))


METHODS: dict[str, Method] = {
    "minivess": thin,
    "scikit-image (Lee)": lambda mask, spacing: thin_as_scikit_image(mask),
    **({"gaara, ends kept": _gaara} if importlib.util.find_spec("gaara") else {}),
}


def tube(
    start: NDArray[np.float64], stop: NDArray[np.float64], width: float, spacing: Spacing, shape: tuple[int, ...]
) -> Mask:
    """Draw a straight tube with flat ends, in the unit of the spacing."""
    places = np.indices(shape).T * np.array(spacing) - start
    length = np.linalg.norm(stop - start)
    along = places @ ((stop - start) / length)
    across = np.sqrt(np.maximum((places**2).sum(axis=-1) - along**2, 0))
    drawn: Mask = ((along >= 0) & (along <= length) & (across <= width / 2)).T
    return drawn


def tubes(widths: tuple[float, float], spacing: Spacing, count: int) -> Iterator[tuple[Mask, NDArray, NDArray, float]]:
    """Draw connected tubes of random width and angle, a third of them along an axis, half of them between voxels."""
    rng = np.random.default_rng(0)
    shape = tuple(int(61 / size) + 1 for size in spacing)
    while count:
        width = rng.uniform(*widths)
        heading = np.eye(3)[rng.integers(3)] if rng.random() < 1 / 3 else rng.normal(size=3)
        half = heading / np.linalg.norm(heading) * rng.uniform(2.5 * width + 4, 56) / 2
        middle = 30 + rng.choice([0, 0.5], 3) * spacing
        mask = tube(middle - half, middle + half, width, spacing, shape)
        if betti_numbers(mask) == (1, 0, 0):
            count -= 1
            yield mask, middle - half, middle + half, width


def print_tubes(count: int) -> None:
    """Print, by method, spacing and width, how much of the length between the ends is kept."""
    print("| method | spacing | width, voxels | other topology | no voxel | kept length, least | median | branches |")
    print("|---|---|---|---|---|---|---|---|")
    for name, method in METHODS.items():
        for spacing in ((1.0, 1.0, 1.0), (1.0, 1.0, 2.5)):
            for widths in WIDTHS:
                wrong, gone, kept, branches = 0, 0, [], 0
                for mask, start, stop, width in tubes(widths, spacing, count):
                    line = method(mask, spacing)
                    drawn = np.zeros_like(mask)
                    drawn[tuple(line.T)] = True
                    wrong += betti_numbers(drawn) != betti_numbers(mask)
                    gone += not len(line)
                    heading = (stop - start) / np.linalg.norm(stop - start)
                    extent = float(np.ptp(line * np.array(spacing) @ heading)) if len(line) else 0.0
                    kept.append(extent / (np.linalg.norm(stop - start) - width))
                    branches += _ends(drawn) > 2
                row = (name, spacing, widths, wrong, gone, f"{min(kept):.0%}", f"{np.median(kept):.0%}", branches)
                print("| " + " | ".join(map(str, row)) + " |", flush=True)


def _ends(line: Mask) -> int:
    padded = np.pad(line, 1).astype(np.uint8)
    total = sum(np.roll(padded, shift, (0, 1, 2)) for shift in np.ndindex(3, 3, 3))
    return int((np.roll(total, (-1, -1, -1), (0, 1, 2))[padded > 0] == 2).sum())


def print_labels(files: list[Path], picture: Path | None) -> None:
    """Print what each method keeps of labels, and draw the piece with the most voxels of which Lee's skeleton has none."""
    print("| label | method | pieces | tunnels | pieces without a voxel | their voxels | voxels | CPU s |")
    print("|---|---|---|---|---|---|---|---|")
    worst: tuple[int, Mask, Mask, str] | None = None
    thin(np.ones((3, 3, 3), bool))
    thin_as_scikit_image(np.ones((3, 3, 3), bool))
    for file in files:
        image = nib.load(file)
        mask, spacing = np.asarray(image.dataobj) > 0, tuple(map(float, image.header.get_zooms()[:3]))
        pieces, sizes = _pieces(mask)
        for name, method in METHODS.items():
            start = time.process_time()
            line = method(mask, spacing)
            seconds = time.process_time() - start
            drawn = np.zeros_like(mask)
            drawn[tuple(line.T)] = True
            lost = np.setdiff1d(np.arange(1, len(sizes)), pieces[drawn])
            betti = betti_numbers(drawn)
            row = (file.name, name, betti.b0, betti.b1, len(lost), sizes[lost].sum(), len(line), f"{seconds:.2f}")
            print("| " + " | ".join(map(str, row)) + " |", flush=True)
            if len(lost) and (worst is None or sizes[lost].max() > worst[0]):
                worst = int(sizes[lost].max()), mask, pieces == lost[sizes[lost].argmax()], file.name
    if picture and worst:
        _draw(picture, *worst[1:])


def _pieces(mask: Mask) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    import cc3d

    pieces = cc3d.connected_components(mask, connectivity=26)
    return pieces, np.bincount(pieces.ravel())


def _draw(picture: Path, mask: Mask, piece: Mask, name: str) -> None:
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    x, y, z = (slice(max(0, axis.min() - 15), axis.max() + 16) for axis in np.nonzero(piece))
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    lines = (("scikit-image (Lee)", thin_as_scikit_image(mask)), ("complete centreline", thin(mask)))
    for axis, (title, line) in zip(axes, lines, strict=True):
        drawn = np.zeros_like(mask)
        drawn[tuple(line.T)] = True
        shown = 0.25 * mask[x, y, z].max(axis=2) + 0.25 * piece[x, y, z].max(axis=2)
        axis.imshow(np.where(drawn[x, y, z].max(axis=2), 1, shown).T, cmap="magma", vmin=0, vmax=1, origin="lower")
        axis.set_title(f"{title}: {(drawn & piece).sum()} of {piece.sum()} voxels of this piece", fontsize=9)
        axis.set_xlabel("x, voxels")
    figure.suptitle(f"{name}, projected along z: vessels, one piece (brighter) and centrelines (white)", fontsize=10)
    figure.savefig(picture, dpi=110)


def print_runs(folders: list[Path]) -> None:
    """Print how far both values are apart, by method, and which method leads under which of them."""
    rows = pd.concat([pd.read_csv(folder / "results" / "cases.csv") for folder in folders])
    rows["apart"] = (rows["cldice"] - rows["centreline_dsc"]).abs()
    table = rows.groupby("method").agg(
        cases=("apart", "size"),
        cldice=("cldice", "mean"),
        centreline_dsc=("centreline_dsc", "mean"),
        apart_median=("apart", "median"),
        apart_largest=("apart", "max"),
        above_hundredth=("apart", lambda apart: (apart > 0.01).sum()),
    )
    print(table.round(3).to_string())
    for key in ("cldice", "centreline_dsc"):
        print(f"order by {key}:", ", ".join(table.sort_values(key, ascending=False).index))


def main() -> None:
    """Print one of the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=["tubes", "labels", "runs"])
    parser.add_argument("paths", nargs="*", type=Path)
    parser.add_argument("--picture", type=Path, help="draw the largest piece that Lee's skeleton loses")
    parser.add_argument("--count", type=int, default=60, help="tubes of each kind (default 60)")
    options = parser.parse_args()
    if options.table == "tubes":
        print_tubes(options.count)
    elif options.table == "labels":
        print_labels(options.paths, options.picture)
    else:
        print_runs(options.paths)


if __name__ == "__main__":
    main()
