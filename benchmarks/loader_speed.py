"""Speed and memory of loading patches, compared with MONAI's loader, with no loader, and between store formats.

    python benchmarks/loader_speed.py FOLDER --cases 12                     all three parts
    python benchmarks/loader_speed.py FOLDER --part monai --repeats 3       one of: monai, overhead, formats

FOLDER is a data set in MiniVess's layout. Each loader runs in a separate process. blosc2 is skipped if it is not installed.
Prints Markdown. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any, Literal

import numpy as np

THIS = Path(__file__)
PATCH = (96, 96, 8)
BATCH = 2
MIB = 2**20
Box = tuple[slice, slice, slice]


def _pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    images = sorted((folder / "raw").glob("*.nii.gz"))
    names = [path.name.removesuffix(".nii.gz") for path in images]
    return [(name, image, folder / f"seg/{name}_y.nii.gz") for name, image in zip(names, images, strict=True)]


def minivess(folder: Path, work: Path, augment: bool) -> Iterator[Any]:
    from minivess.data.sampling.loaders import batches

    return batches(_sampler(folder, work, augment), 0, 10**9, workers=1)


def _sampler(folder: Path, work: Path, augment: bool) -> Any:
    from minivess.data.array_store import build_store
    from minivess.data.profiler import scan_dataset
    from minivess.data.sampling.patch_sampler import PatchSampler

    store = build_store(scan_dataset(folder, voxels=True, processes=1), work)
    names = [volume.name for volume in store.profile.volumes]
    return PatchSampler(store, names, [PATCH], batch=BATCH, foreground_fraction=0.5, augment=augment)


def monai(folder: Path, work: Path, augment: bool, *, tuned: bool, samples: int) -> Iterator[Any]:
    """MONAI's loader as in its tutorials; ``tuned``: volumes cached in advance, not copied at each access, vessel voxels listed."""
    from monai import transforms as mt
    from monai.data import CacheDataset, ThreadDataLoader

    keys = ["image", "label"]
    offline = [
        mt.LoadImaged(keys),
        mt.EnsureChannelFirstd(keys),
        mt.ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0.0, 1.0, clip=True),
        mt.NormalizeIntensityd("image"),
        mt.SpatialPadd(keys, PATCH),
        *([mt.FgBgToIndicesd("label")] if tuned else []),
    ]
    known = {"fg_indices_key": "label_fg_indices", "bg_indices_key": "label_bg_indices"} if tuned else {}
    crop = mt.RandCropByPosNegLabeld(keys, "label", PATCH, pos=1, neg=1, num_samples=samples, **known)
    in_plane = {"rotate_range": (0, 0, np.pi), "scale_range": ((-0.3, 0.4), (-0.3, 0.4), 0)}
    changes = [
        mt.RandAffined(keys, prob=0.36, mode=["bilinear", "nearest"], padding_mode="border", **in_plane),
        *(mt.RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
        mt.RandGaussianNoised("image", prob=0.1, std=0.3),
        mt.RandGaussianSmoothd("image", (0.5, 1.0), (0.5, 1.0), (0.0, 0.0), prob=0.2),
        mt.RandScaleIntensityd("image", 0.25, prob=0.15),
        mt.RandScaleIntensityFixedMeand("image", factors=0.25, preserve_range=True, prob=0.15),
        mt.RandSimulateLowResolutiond("image", prob=0.125, zoom_range=(0.5, 1.0)),
        mt.RandAdjustContrastd("image", prob=0.3, gamma=(0.7, 1.5), retain_stats=True),
    ]
    files = [{"image": str(image), "label": str(label)} for _, image, label in _pairs(folder)]
    whole = mt.Compose([*offline, crop, *(changes if augment else [])])
    data = CacheDataset(files, whole, runtime_cache=not tuned, copy_cache=not tuned, num_workers=1, progress=False)
    loader = ThreadDataLoader(data, batch_size=max(BATCH // samples, 1), shuffle=True, num_workers=0, drop_last=True)
    for _ in loader:  # fills the cache
        pass
    while True:
        for batch in loader:
            yield batch["image"], batch["label"]


LOADERS: dict[str, Callable[[Path, Path, bool], Iterator[Any]]] = {
    "minivess": minivess,
    "MONAI, runtime cache": lambda *a: monai(*a, tuned=False, samples=1),
    "MONAI, tuned": lambda *a: monai(*a, tuned=True, samples=1),
    "MONAI, tuned, 4 patches per volume": lambda *a: monai(*a, tuned=True, samples=4),
}


def measure_one(name: str, folder: Path, augment: bool, seconds: float) -> None:
    """Load patches for ``seconds`` in this process and print rate, start-up time and memory as JSON on the last line."""
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory(dir=folder.parent) as work:
        began = time.perf_counter()
        loader = LOADERS[name](folder, Path(work), augment)
        next(islice(loader, 9, None))
        ready = time.perf_counter()
        count = 0
        while time.perf_counter() - ready < seconds:
            image = next(loader)[0]
            assert image.shape[1:] == (1, *PATCH)
            count += len(image)
        passed = time.perf_counter() - ready
        status = Path("/proc/self/status").read_text()
    held = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("Rss")}
    facts = {
        "rate": count / passed,
        "ready": ready - began,
        "anonymous": held["RssAnon"],
        "resident": sum(held.values()),
    }
    print(json.dumps(facts))


def against_monai(folder: Path, repeats: int, seconds: float) -> None:
    """Measure all loaders in turn, ``repeats`` times; print medians."""
    for augment in (False, True):
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in LOADERS}
        for _, name in product(range(repeats), LOADERS):
            command = [sys.executable, str(THIS), str(folder), "--one", name, "--seconds", str(seconds)]
            command += ["--augment"] if augment else []
            done = subprocess.run(
                command, capture_output=True, text=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
            )
            if done.returncode:
                raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
            seen[name].append(json.loads(done.stdout.splitlines()[-1]))
        print(f"**{'Crop and augmentation' if augment else 'Crop alone'}**\n")
        print(
            "| loader | patches per second | times slower | lowest to highest | ready after, s | anonymous, MiB | resident, MiB |"
        )
        print("|---|---|---|---|---|---|---|")
        own = statistics.median(row["rate"] for row in seen["minivess"])
        for name, rows in seen.items():
            slower = [ours["rate"] / row["rate"] for ours, row in zip(seen["minivess"], rows, strict=True)]
            ready, anonymous, resident = (
                statistics.median(row[key] for row in rows) for key in ("ready", "anonymous", "resident")
            )
            rate = statistics.median(row["rate"] for row in rows)
            print(
                f"| {name} | {rate:.0f} | {own / rate:.1f} | {min(slower):.1f} to {max(slower):.1f} "
                f"| {ready:.1f} | {anonymous:.0f} | {resident:.0f} |"
            )
        print(flush=True)


def overhead(folder: Path, repeats: int, seconds: float) -> None:
    """Measure training steps with patches from the loader and with one prepared batch, in turn."""
    import torch

    from minivess.data.sampling.loaders import batches
    from minivess.losses.registry import build_loss
    from minivess.models.model_profile import build_network, load_model_profile
    from minivess.training.config import TrainingConfig
    from minivess.training.state import TrainState
    from minivess.training.step import Step

    model = load_model_profile("dynunet", filters=(16, 32, 64, 128))
    network = build_network(model.spec((PATCH,), model.plan_strides(PATCH, (0.99, 0.99, 5.0)))).train()
    config = TrainingConfig()
    state = TrainState.start(network, config, "fp32")
    step = Step(build_loss("dice_ce"), config, seed=0, micro_batch=BATCH)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        sampler = _sampler(folder, Path(work), augment=True)
        ready = next(batches(sampler, 0, 1))
        rounds: dict[str, list[float]] = {"one ready batch": [], "loader, 0 workers": [], "loader, 1 worker": []}
        count = 4
        _seconds_a_step(step, state, iter([ready] * count))
        for _ in range(3 * repeats):
            for name, row in rounds.items():
                if name == "one ready batch":
                    row.append(_seconds_a_step(step, state, iter([ready] * count)))
                else:
                    loader = batches(sampler, state.step, state.step + count, workers=int(name.split()[1]))
                    row.append(_seconds_a_step(step, state, loader))
        alone = statistics.median(_timed(sampler.batch, index) for index in range(60))
    print(
        f"Preparing a batch takes {1000 * alone:.1f} ms; {3 * repeats} rounds of {count} steps on {torch.get_num_threads()} threads.\n"
    )
    print("| batches | s per step | overhead, % | first to third quartile |\n|---|---|---|---|")
    for name, row in rounds.items():
        more = [100 * (own / bare - 1) for own, bare in zip(row, rounds["one ready batch"], strict=True)]
        low, middle, high = statistics.quantiles(more, n=4)
        print(f"| {name} | {statistics.median(row):.3f} | {middle:+.1f} | {low:+.1f} to {high:+.1f} |")
    print(flush=True)


def _seconds_a_step(step: Any, state: Any, batches: Iterator[Any]) -> float:
    began, count = time.perf_counter(), 0
    for batch in batches:
        step(state, batch)
        count += 1
    return (time.perf_counter() - began) / count


def formats(folder: Path, repeats: int, seconds: float) -> None:
    """Read the same random patches of image and label from each format, from the page cache and from the disk."""
    from minivess.data.formats.nifti import read_volume

    with tempfile.TemporaryDirectory(dir=folder.parent) as place:
        cases = {
            name: (read_volume(image), (read_volume(label) != 0).astype(np.uint8))
            for name, image, label in _pairs(folder)
        }
        shapes = {name: image.shape for name, (image, _) in cases.items()}
        voxels = sum(int(np.prod(shape)) for shape in shapes.values())
        rows = {}
        for number, (title, make) in enumerate(FORMATS.items()):
            where = Path(place) / str(number)
            where.mkdir()
            began = time.perf_counter()
            reader = make(where, cases)
            if reader is None:
                rows[title] = "not installed | | | | |"
                continue
            written = time.perf_counter() - began
            size = sum(file.stat().st_size for file in where.rglob("*") if file.is_file())
            _drop_from_cache(where)
            cold = [_timed(reader, *_draw(shapes, index)) for index in range(60)]
            warm = [[_timed(reader, *_draw(shapes, index)) for index in range(60)] for _ in range(repeats)][-1]
            rows[title] = (
                f"{size / MIB:.0f} | {size / voxels:.2f} | {written:.1f} "
                f"| {1000 * statistics.median(warm):.2f} | {1000 * statistics.median(cold):.2f} |"
            )
            for file in where.rglob("*"):
                file.unlink() if file.is_file() else None
    print(
        "| store | MiB | bytes per voxel | written in, s | per cached patch, ms | per uncached patch, ms |\n|---|---|---|---|---|---|"
    )
    for title, row in rows.items():
        print(f"| {title} | {row}")
    print(flush=True)


Cases = dict[str, tuple[np.ndarray, np.ndarray]]
Reader = Callable[[str, Box], tuple[np.ndarray, np.ndarray]]


def _mapped(order: Literal["C", "F"]) -> Callable[[Path, Cases], Reader]:
    def make(where: Path, cases: Cases) -> Reader:
        shapes = {}
        for name, arrays in cases.items():
            shapes[name] = arrays[0].shape
            for part, array in enumerate(arrays):
                (where / f"{name}.{part}").write_bytes(array.tobytes(order))
        types = [array.dtype for array in next(iter(cases.values()))]

        def read(name: str, box: Box) -> tuple[np.ndarray, np.ndarray]:
            image, label = (
                np.array(
                    np.memmap(where / f"{name}.{part}", types[part], mode="r", shape=shapes[name], order=order)[box]
                )
                for part in (0, 1)
            )
            return image, label

        return read

    return make


def _blosc(codec: str, level: int) -> Callable[[Path, Cases], Reader | None]:
    def make(where: Path, cases: Cases) -> Reader | None:
        if importlib.util.find_spec("blosc2") is None:
            return None
        import blosc2

        cparams = {"codec": getattr(blosc2.Codec, codec), "clevel": level, "nthreads": 2}
        for name, arrays in cases.items():
            for part, array in enumerate(arrays):
                chunks = tuple(min(size, most) for size, most in zip(array.shape, (128, 128, 16), strict=True))
                plain = np.ascontiguousarray(array)
                blosc2.asarray(plain, chunks=chunks, urlpath=str(where / f"{name}.{part}.b2nd"), cparams=cparams)

        def read(name: str, box: Box) -> tuple[np.ndarray, np.ndarray]:
            image, label = (
                blosc2.open(str(where / f"{name}.{part}.b2nd"), mode="r", dparams={"nthreads": 1})[box]
                for part in (0, 1)
            )
            return image, label

        return read

    return make


def _chunked(where: Path, cases: Cases, edge: tuple[int, int, int] = (64, 64, 16)) -> Reader:
    """One compressed (deflate) file per chunk, as in zarr."""
    types = [array.dtype for array in next(iter(cases.values()))]
    for name, arrays in cases.items():
        for part, array in enumerate(arrays):
            (where / f"{name}.{part}").mkdir()
            padded = np.pad(array, [(0, -size % most) for size, most in zip(array.shape, edge, strict=True)])
            for place in product(*(range(0, size, most) for size, most in zip(padded.shape, edge, strict=True))):
                chunk = padded[tuple(slice(at, at + most) for at, most in zip(place, edge, strict=True))]
                file = ".".join(str(at // most) for at, most in zip(place, edge, strict=True))
                (where / f"{name}.{part}" / file).write_bytes(zlib.compress(chunk.tobytes(), 1))

    def read(name: str, box: Box) -> tuple[np.ndarray, np.ndarray]:
        image, label = (_from_chunks(where / f"{name}.{part}", box, types[part], edge) for part in (0, 1))
        return image, label

    return read


def _from_chunks(folder: Path, box: Box, dtype: np.dtype, edge: tuple[int, int, int]) -> np.ndarray:
    block = np.empty([part.stop - part.start for part in box], dtype)
    for place in product(
        *(range(part.start // most, -(-part.stop // most)) for part, most in zip(box, edge, strict=True))
    ):
        chunk = np.frombuffer(zlib.decompress((folder / ".".join(map(str, place))).read_bytes()), dtype).reshape(edge)
        source, target = [], []
        for at, part, most in zip(place, box, edge, strict=True):
            low, high = max(part.start, at * most), min(part.stop, (at + 1) * most)
            source.append(slice(low - at * most, high - at * most))
            target.append(slice(low - part.start, high - part.start))
        block[tuple(target)] = chunk[tuple(source)]
    return block


FORMATS: dict[str, Callable[[Path, Cases], Reader | None]] = {
    "memory map, X fastest (minivess)": _mapped("F"),
    "memory map, Z fastest": _mapped("C"),
    "blosc2, LZ4 5": _blosc("LZ4", 5),
    "blosc2, Zstd 5": _blosc("ZSTD", 5),
    "one deflate file per chunk, as zarr": _chunked,
}


def _draw(shapes: dict[str, tuple[int, ...]], index: int) -> tuple[str, Box]:
    rng = np.random.default_rng(index)
    name = list(shapes)[rng.integers(len(shapes))]
    size = [min(most, whole) for most, whole in zip(PATCH, shapes[name], strict=True)]
    start = [int(rng.integers(whole - own + 1)) for whole, own in zip(shapes[name], size, strict=True)]
    x, y, z = (slice(at, at + own) for at, own in zip(start, size, strict=True))
    return name, (x, y, z)


def _timed(work: Callable[..., object], *arguments: object) -> float:
    began = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - began


def _drop_from_cache(where: Path) -> None:
    for path in where.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


PARTS = {"monai": against_monai, "overhead": overhead, "formats": formats}


def _subset(folder: Path, cases: int | None, place: Path) -> Path:
    for _, image, label in _pairs(folder)[:cases]:
        for path in (image, label):
            (place / path.parent.name).mkdir(parents=True, exist_ok=True)
            (place / path.parent.name / path.name).symlink_to(path.absolute())
    return place


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, help="use only the first volumes; by default all")
    parser.add_argument("--part", choices=PARTS, help="run only this part; by default all")
    parser.add_argument("--repeats", type=int, default=5, help="measurements per loader or format")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds per measurement")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--augment", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure_one(options.one, options.folder, options.augment, options.seconds)
        return
    print(f"Patches {'x'.join(map(str, PATCH))}, batches of {BATCH}; load before {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory() as place:
        folder = _subset(options.folder, options.cases, Path(place) / "data")
        for name in [options.part] if options.part else PARTS:
            PARTS[name](folder, options.repeats, options.seconds)
    print(f"load after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
