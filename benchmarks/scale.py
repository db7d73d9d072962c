"""Memory of a run against the number of epochs, the number of volumes and the depth of a volume.

    python benchmarks/scale.py WORK --part slope      200 epochs of a small training: growth of memory per epoch
    python benchmarks/scale.py WORK --part scale70    70 volumes with MiniVess's shapes: two folds of `minivess run`
    python benchmarks/scale.py WORK --part scale700   the same with 700 volumes
    python benchmarks/scale.py WORK --part deep       `minivess predict` on 512x512x2000, uncompressed and compressed

Data is written to WORK and stays there for the next part: 2 GB for 70 volumes, 25 GB for 700. Prints Markdown. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml

MIB = 2**20
POLL_S = 0.05
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": ""}
"""PYTHONDONTWRITEBYTECODE is cleared; if it were set, every process would compile torch and MONAI again."""


@dataclass
class Cell:
    """Observations of one running cell.

    Attributes:
        began_s: Start of the cell, in seconds of the monotonic clock.
        steps: Wall seconds, step and anonymous bytes at each new step.
    """

    began_s: float
    steps: list[tuple[float, int, int]] = field(default_factory=list)

    @property
    def first_step_s(self) -> float:
        return self.steps[0][0] - self.began_s

    @property
    def seconds_a_step(self) -> float:
        (first_s, first, _), (last_s, last, _) = self.steps[0], self.steps[-1]
        return (last_s - first_s) / max(last - first, 1)


def run(config: dict[str, Any], work: Path) -> tuple[Path, dict[str, Cell], float, int]:
    """Run `minivess run` with this configuration.

    Returns:
        The run folder, the observed cells, the seconds before the first cell, and the peak bytes of the command until then.
    """
    path = work / f"{config['name']}.yaml"
    path.write_text(yaml.safe_dump(config))
    folder = work / "runs" / config["name"]
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "minivess.cli.main", "run", "--config", str(path), "--quiet"]
    cells: dict[str, Cell] = {}
    began_s, peak_bytes = time.monotonic(), 0
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=sys.stderr) as process:
        while process.poll() is None:
            for cell in folder.glob("cells/*/supervisor.json"):
                _see(cell.parent, cells)
            if not cells:  # the supervisor measures the cells
                peak_bytes = max(peak_bytes, _tree_bytes(process.pid))
            time.sleep(POLL_S)
    if not cells or not all((folder / "cells" / name / "result.json").is_file() for name in cells):
        raise SystemExit(f"the run ended with code {process.returncode}")
    return folder, cells, min(cell.began_s for cell in cells.values()) - began_s, peak_bytes


def _see(folder: Path, cells: dict[str, Cell]) -> None:
    cell = cells.setdefault(folder.name, Cell(time.monotonic()))
    try:
        beat = json.loads((folder / "heartbeat").read_text())
        *_, last = csv.DictReader((folder / "monitor.csv").read_text().splitlines())
    except (OSError, ValueError):
        return
    if beat["stage"] == "train" and (not cell.steps or cell.steps[-1][1] != beat["done"]):
        anonymous = int(last["tree_rss_bytes"]) - int(last["tree_file_bytes"])
        cell.steps.append((time.monotonic(), beat["done"], anonymous))


def _tree_bytes(pid: int) -> int:
    """Return the anonymous memory of a process and its children, in bytes."""
    total = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                memory = process.memory_info()
                total += memory.rss - memory.shared
    return total


def slope(work: Path) -> None:
    """Train 200 small epochs and fit a line to memory over epochs."""
    from minivess.data.phantoms.phantom import small_cases, write_phantom

    write_phantom(work / "small", small_cases(4))
    training = {"max_epochs": 200, "steps_per_epoch": 4, "validate_every": 10, "checkpoint_minutes": 0.05}
    config = _config("slope", work / "small", (4, 8, 16), training, monitor_interval_s=0.1)
    _, cells, _, _ = run(config, work)
    print(
        "| cell | epochs | s | anonymous after 20 epochs, MiB | at the end, MiB | slope, MiB per epoch |\n|---|---|---|---|---|---|"
    )
    for name, cell in cells.items():
        rows = np.array([(step / 4, size / MIB) for _, step, size in cell.steps if step >= 4 * 20])
        grown = np.polyfit(rows[:, 0], rows[:, 1], 1)[0]
        seconds = cell.steps[-1][0] - cell.steps[0][0]
        print(f"| {name} | 200 | {seconds:.0f} | {rows[0, 1]:.1f} | {rows[-1, 1]:.1f} | {grown:+.4f} |")


def scale70(work: Path) -> None:
    """Run two folds of 70 volumes; each fold holds out two volumes of median depth."""
    _report("70", run(_large(seventy(work), "scale70", steps=40), work))


def scale700(work: Path) -> None:
    """Run the same for 300 steps with 700 volumes: ten copies of each, shifted in plane, so that all are different."""
    _report("700", run(_large(seven_hundred(work), "scale700", steps=300), work))


def seventy(work: Path) -> Path:
    """Return the folder of 70 phantoms with MiniVess's shapes; they are drawn only once."""
    folder = work / "seventy"
    if not (folder / "splits_final.json").is_file():
        command = [sys.executable, "-m", "minivess.cli.main", "data", "phantom", str(folder), "--like", "minivess"]
        subprocess.run([*command, "--cases", "70", "--quiet"], check=True, env=ENVIRONMENT)
        _write_splits(folder)
    return folder


def seven_hundred(work: Path) -> Path:
    """Return the folder of 700 volumes: ten shifted copies of each of the 70; they are written only once."""
    from minivess.data.formats.nifti import read_header, read_volume, write_volume

    folder = work / "seven_hundred"
    if (folder / "splits_final.json").is_file():
        return folder
    for image in sorted((seventy(work) / "raw").glob("*.nii.gz")):
        name = image.name.removesuffix(".nii.gz")
        label = image.parents[1] / f"seg/{name}_y.nii.gz"
        spacing_um = read_header(image).spacing_um
        voxels, mask = read_volume(image), read_volume(label)
        for copy in range(10):
            for array, path in ((voxels, f"raw/{name}x{copy}.nii.gz"), (mask, f"seg/{name}x{copy}_y.nii.gz")):
                write_volume(folder / path, np.roll(array, 37 * copy, axis=0), spacing_um=spacing_um)
    _write_splits(folder)
    return folder


def _write_splits(folder: Path) -> None:
    from minivess.data.profiler import scan_dataset

    volumes = sorted(scan_dataset(folder).volumes, key=lambda volume: (volume.shape[2], volume.name))
    middle = len(volumes) // 2
    names = [volume.name for volume in volumes]
    folds = [names[middle - 2 : middle], names[middle : middle + 2]]
    entries = [{"train": sorted(set(names) - set(out)), "val": out} for out in folds]
    (folder / "splits_final.json").write_text(json.dumps(entries))


def _large(data: Path, name: str, steps: int) -> dict[str, Any]:
    training = {"max_epochs": 2, "steps_per_epoch": steps // 2, "validate_every": 0, "checkpoint_minutes": 0.2}
    return _config(name, data, (16, 32, 64, 128), training, monitor_interval_s=0.5)


def _config(
    name: str, data: Path, filters: tuple[int, ...], training: dict[str, Any], monitor_interval_s: float
) -> dict[str, Any]:
    return {
        "name": name,
        "data_dir": str(data),
        "output_dir": str(data.parent / "runs"),
        "losses": ["dice_ce"],
        "folds": 2,
        "model": {"name": "dynunet", "filters": list(filters)},
        "plan": {"compute": "cpu", "overlap": 0.25},
        "training": training,
        "evaluation": {"baselines": []},
        "limits": {"monitor_interval_s": monitor_interval_s},
        "tracking_uri": "none",
    }


def _report(volumes: str, seen: tuple[Path, dict[str, Cell], float, int]) -> None:
    folder, cells, before_s, before_bytes = seen
    plan = json.loads((folder / "plan.json").read_text())
    print(f"Patches {plan['network']['patches']}, batch {plan['batch']}, workers {plan['workers']}.\n")
    print(
        "| volumes | cell | before the first cell, s | peak until then, MiB | first step after, s | s per step | whole cell, s "
        "| peak anonymous, MiB | peak resident, MiB |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, cell in sorted(cells.items()):
        outcome = json.loads((folder / "cells" / name / "outcome.json").read_text())
        print(
            f"| {volumes} | {name} | {before_s:.0f} | {before_bytes / MIB:.0f} | {cell.first_step_s:.1f} | {cell.seconds_a_step:.2f} "
            f"| {outcome['duration_s']:.0f} | {outcome['peak_anonymous_bytes'] / MIB:.0f} | {outcome['peak_rss_bytes'] / MIB:.0f} |"
        )


def deep(work: Path, depth: int = 2000) -> None:
    """Run `minivess predict` on a deep volume of random numbers; measure anonymous memory, and resident memory with the mapped file."""
    from minivess.models.model_profile import NetworkSpec, build_network
    from minivess.models.weights import save_network

    spec = NetworkSpec(
        model="dynunet",
        builder="minivess.models.dynunet:build",
        patches=((128, 128, 4),),
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
        kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
        filters=(2, 4, 4),
    )
    save_network(work / "weights", build_network(spec), spec)
    print("| file | stored, MiB | s | peak anonymous, MiB | peak resident, MiB |\n|---|---|---|---|---|")
    for name in ("deep.nii", "deep.nii.gz"):
        path = work / name
        _write_deep(path, depth)
        command = [sys.executable, "-m", "minivess.cli.main", "predict", str(work / "weights"), str(path)]
        command += ["--output-dir", str(work / "masks" / name), "--overlap", "0.25", "--quiet"]
        began_s = time.monotonic()
        anonymous, resident = _watch(command)
        seconds = time.monotonic() - began_s
        size = path.stat().st_size / MIB
        print(
            f"| {name} 512x512x{depth} uint16 | {size:.0f} | {seconds:.0f} | {anonymous / MIB:.0f} | {resident / MIB:.0f} |"
        )


def _write_deep(path: Path, depth: int) -> None:
    import gzip

    import nibabel as nib

    header = nib.Nifti1Header()
    header.set_data_shape((512, 512, depth))
    header.set_data_dtype(np.uint16)
    header.set_zooms((0.5, 0.5, 1.0))
    header.set_xyzt_units("micron")
    header["magic"], header["vox_offset"] = b"n+1", 352
    rng = np.random.default_rng(0)
    with gzip.open(path, "wb", 1) if path.suffix == ".gz" else path.open("wb") as file:
        file.write(header.binaryblock + b"\0\0\0\0")
        for _ in range(depth):
            file.write(rng.integers(0, 4096, 512 * 512, np.uint16).tobytes())


def _watch(command: list[str]) -> tuple[int, int]:
    """Run a command; return its peak anonymous and peak resident bytes."""
    peaks = [0, 0]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=sys.stderr) as process:
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                memory = psutil.Process(process.pid).memory_info()
                peaks = [max(peaks[0], memory.rss - memory.shared), max(peaks[1], memory.rss)]
            time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit(f"{command} ended with code {process.returncode}")
    return peaks[0], peaks[1]


PARTS: dict[str, Callable[[Path], None]] = {"slope": slope, "scale70": scale70, "scale700": scale700, "deep": deep}


def main() -> None:
    """Run one part and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--part", choices=PARTS, required=True, help="the measurement to run")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    print(f"load before {os.getloadavg()[0]:.1f}\n")
    PARTS[options.part](options.work)
    print(f"\nload after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
