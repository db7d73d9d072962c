"""Time and memory of a full profile of a data set: minivess, MONAI's DataAnalyzer, nnU-Net's fingerprint extraction.

    python benchmarks/profile_speed.py FOLDER                          a data set in MiniVess's layout, images and labels
    python benchmarks/profile_speed.py FOLDER --cases 12               only its first twelve volumes
    python benchmarks/profile_speed.py FOLDER --nnunet VENV/bin/python nnU-Net from a separate environment

Each row is a separate process with the same number of processes or workers. "seconds" is the time of the public function of each
tool, without imports. "CPU s" and "peak memory" are those of the whole process tree, with imports. A tool that is not installed
is skipped. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

THIS = Path(__file__)


def _pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    images = sorted((folder / "raw").glob("*.nii.gz"))
    names = [path.name.removesuffix(".nii.gz") for path in images]
    return [(name, image, folder / f"seg/{name}_y.nii.gz") for name, image in zip(names, images, strict=True)]


def minivess(folder: Path, work: Path, processes: int) -> Callable[[], object]:
    from minivess.data.profiler import scan_dataset

    return lambda: scan_dataset(folder, voxels=True, processes=processes)


def minivess_headers(folder: Path, work: Path, processes: int) -> Callable[[], object]:
    from minivess.data.profiler import scan_dataset

    return lambda: scan_dataset(folder)


def monai(folder: Path, work: Path, processes: int) -> Callable[[], object]:
    from monai.apps.auto3dseg import DataAnalyzer

    training = [{"image": str(image), "label": str(label), "fold": 0} for _, image, label in _pairs(folder)]
    stats = str(work / "stats.yaml")
    return DataAnalyzer({"training": training}, output_path=stats, device="cpu", worker=processes).get_all_case_stats


def nnunet(folder: Path, work: Path, processes: int) -> Callable[[], object]:
    raw, cases = work / "raw/Dataset001_Vessels", _pairs(folder)
    for sub in ("imagesTr", "labelsTr"):
        (raw / sub).mkdir(parents=True)
    for name, image, label in cases:
        (raw / f"imagesTr/{name}_0000.nii.gz").symlink_to(image.absolute())
        (raw / f"labelsTr/{name}.nii.gz").symlink_to(label.absolute())
    labels, channels = {"background": 0, "vessel": 1}, {"0": "two-photon"}
    facts = {"channel_names": channels, "labels": labels, "numTraining": len(cases), "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(facts))
    for variable, sub in (("nnUNet_raw", "raw"), ("nnUNet_preprocessed", "pre"), ("nnUNet_results", "results")):
        os.environ[variable] = str(work / sub)
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor

    return DatasetFingerprintExtractor(1, processes).run


CONTESTANTS = {
    "minivess, full": minivess,
    "minivess, headers only": minivess_headers,
    "MONAI DataAnalyzer": monai,
    "nnU-Net fingerprint": nnunet,
}


def measure_one(name: str, folder: Path, work: Path, processes: int) -> None:
    """Run one contestant and print its seconds as the only content of the last line."""
    with contextlib.redirect_stdout(sys.stderr):
        run = CONTESTANTS[name](folder, work, processes)
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
    print(seconds)


def run_one(python: str, name: str, folder: Path, processes: int) -> tuple[float, float, float]:
    """Run one contestant in a separate process; return its seconds, processor seconds and peak MiB."""
    with tempfile.TemporaryDirectory() as work:
        command = [python, str(THIS), str(folder), "--one", name, work, "--processes", str(processes)]
        before = os.times()
        # If it is set, every worker compiles all modules again, which slows down the tools with many imports most.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        peak = [0]
        watch = threading.Thread(target=_watch, args=(child, peak), daemon=True)
        watch.start()
        out, err = child.communicate()
        watch.join()
        after = os.times()
    if child.returncode:
        raise SystemExit(f"{name} failed:\n{err[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return float(out.split()[-1]), cpu, peak[0] / 2**20


def _watch(child: subprocess.Popen[str], peak: list[int]) -> None:
    """Record the peak proportional set size of the process tree every 50 ms, which counts shared memory once."""
    import psutil

    while child.poll() is None:
        total = 0
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(child.pid)
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_full_info().pss
        peak[0] = max(peak[0], total)
        time.sleep(0.05)


def _has(python: str, module: str) -> bool:
    if python == sys.executable:
        return importlib.util.find_spec(module) is not None
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False).returncode == 0


def _subset(folder: Path, cases: int | None, place: Path) -> Path:
    for _, image, label in _pairs(folder)[:cases]:
        for path in (image, label):
            (place / path.parent.name).mkdir(exist_ok=True)
            (place / path.parent.name / path.name).symlink_to(path.absolute())
    return place


def main() -> None:
    """Measure all contestants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", type=int, help="use only the first volumes; by default all")
    parser.add_argument("--processes", type=int, default=2, help="processes or workers of each tool")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each tool; the fastest one counts")
    parser.add_argument(
        "--nnunet", default=sys.executable, metavar="PYTHON", help="Python interpreter of the environment with nnunetv2"
    )
    parser.add_argument("--one", nargs=2, metavar=("NAME", "WORK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure_one(options.one[0], options.folder, Path(options.one[1]), options.processes)
        return
    from minivess.data.profiler import scan_dataset

    pythons = {
        "minivess, full": (sys.executable, "minivess"),
        "minivess, headers only": (sys.executable, "minivess"),
        "MONAI DataAnalyzer": (sys.executable, "monai"),
        "nnU-Net fingerprint": (options.nnunet, "nnunetv2"),
    }
    with tempfile.TemporaryDirectory() as place:
        folder = _subset(options.folder, options.cases, Path(place))
        profile = scan_dataset(folder)
        largest = max(volume.cached_bytes // 2 for volume in profile.volumes) / 2**20
        print(
            f"{len(profile.volumes)} volumes, {profile.stored_bytes / 2**20:.0f} MiB stored, {profile.cached_bytes / 2**20:.0f} MiB "
            f"decompressed, the largest image {largest:.0f} MiB; {options.processes} processes; load before {os.getloadavg()[0]:.1f}\n"
        )
        print("| | seconds | relative to minivess | CPU s | peak memory, MiB |\n|---|---|---|---|---|")
        own = None
        for name, (python, module) in pythons.items():
            if not _has(python, module):
                print(f"| {name} | not installed | | | |")
                continue
            rows = [run_one(python, name, folder, options.processes) for _ in range(options.repeats)]
            seconds, cpu, peak = min(rows)
            own = own or seconds
            print(f"| {name} | {seconds:.2f} | {seconds / own:.2f} | {cpu:.1f} | {peak:.0f} |", flush=True)
        print(f"\nload after {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
