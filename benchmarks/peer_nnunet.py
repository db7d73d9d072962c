"""Train nnU-Net v2 on the folds of a finished minivess run, with its own preprocessing, augmentation, loss, optimizer and mirroring.

    python benchmarks/peer_nnunet.py RUN WORK --nnunet ENVIRONMENT/bin

nnU-Net plans and preprocesses, then trains on the CPU with the network, patch, batch and number of steps of RUN: one thread per
fold, with as many folds at a time as RUN had cells. Its masks are scored in the same way as those of RUN. Prints Markdown. nnU-Net
needs a separate environment (`pip install nnunetv2`). Work that is already in WORK is not repeated. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import psutil
from held_out import METRICS, compared, files_of, means, scored

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.run_folder import RunFolder

DATASET, CONFIGURATION = "Dataset001_Vessels", "3d_as_minivess"


class NNUNet:
    """nnU-Net's commands, run in the folder WORK."""

    def __init__(self, binaries: Path, work: Path) -> None:
        self.binaries, self.work = binaries, work
        self.raw, self.preprocessed, self.results = (work / name for name in ("raw", "preprocessed", "results"))

    def run(self, *command: str, epochs: int = 1, steps: int = 1) -> tuple[float, int]:
        """Run one command to its end; return its seconds and the peak resident memory of its processes together, in bytes."""
        environment = {
            **os.environ,
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(self.preprocessed),
            "nnUNet_results": str(self.results),
            "nnUNet_extTrainer": str(Path(__file__).parent / "nnunet_trainers"),
            "nnUNet_n_proc_DA": "0" if command[0] == "nnUNetv2_train" else "1",
            "nnUNet_def_n_proc": "1",
            "nnUNet_compile": "f",
            "OMP_NUM_THREADS": "1",
            "SHORT_TRAINER_EPOCHS": str(epochs),
            "SHORT_TRAINER_STEPS": str(steps),
        }
        began, peak = time.monotonic(), 0
        with (self.work / "log.txt").open("a") as log:
            process = psutil.Popen(
                [str(self.binaries / command[0]), *command[1:]], env=environment, stdout=log, stderr=log
            )
            while process.poll() is None:
                peak = max(peak, _resident(process))
                time.sleep(0.5)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}; see {self.work / 'log.txt'}")
        return time.monotonic() - began, peak

    def prepare(self, folder: RunFolder) -> None:
        """Prepare nnU-Net: RUN's data in its layout, its own plan and preprocessing, RUN's folds, a configuration with RUN's network."""
        target = self.preprocessed / DATASET
        plans = target / "nnUNetPlans.json"
        if not plans.is_file():
            self._link(files_of(folder))
            self.run(
                "nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-np", "2", "--verify_dataset_integrity"
            )
        written = json.loads(plans.read_text())
        written["configurations"][CONFIGURATION] = as_minivess(written["configurations"]["3d_fullres"], folder)
        plans.write_text(json.dumps(written, indent=2))
        folds = [{"train": fold.train, "val": fold.held_out} for fold in folder.read_splits().folds]
        (target / "splits_final.json").write_text(json.dumps(folds, default=list))

    def _link(self, files: dict[str, tuple[Path, Path]]) -> None:
        images, labels = self.raw / DATASET / "imagesTr", self.raw / DATASET / "labelsTr"
        for made in (images, labels, self.preprocessed, self.results):
            made.mkdir(parents=True, exist_ok=True)
        for name, (image, label) in files.items():
            (images / f"{name}_0000.nii.gz").symlink_to(image.resolve())
            (labels / f"{name}.nii.gz").symlink_to(label.resolve())
        described = {
            "channel_names": {"0": "two-photon"},
            "labels": {"background": 0, "vessel": 1},
            "numTraining": len(files),
            "file_ending": ".nii.gz",
        }
        (self.raw / DATASET / "dataset.json").write_text(json.dumps(described))

    def fold(self, number: int) -> Path:
        return self.results / DATASET / f"ShortTrainer__nnUNetPlans__{CONFIGURATION}" / f"fold_{number}"

    def train(self, number: int, epochs: int, steps: int) -> dict[str, float]:
        """Train one fold; return seconds and peak bytes, which are saved next to the weights.

        If an earlier call was killed after the training, the numbers are those of the prediction only.
        """
        record = self.fold(number) / "measured.json"
        if not record.is_file():
            trained = ["--val"] if (self.fold(number) / "checkpoint_final.pth").is_file() else []
            seconds, peak = self.run(
                "nnUNetv2_train", "1", CONFIGURATION, str(number), "-tr", "ShortTrainer", "-device", "cpu", *trained,
                epochs=epochs, steps=steps,
            )  # fmt: skip
            record.write_text(json.dumps({"seconds": seconds, "peak_bytes": peak}))
        return dict(json.loads(record.read_text()))


def _resident(process: psutil.Process) -> int:
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def as_minivess(own: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Return a configuration for nnUNetPlans.json: nnU-Net's preprocessing with RUN's network, patch and batch.

    nnU-Net lists axes in the order Z, Y, X.
    """
    plan = folder.read_plan()
    network = plan.network
    (patch,) = network.patches
    architecture = json.loads(json.dumps(own["architecture"]))
    architecture["arch_kwargs"] |= {
        "n_stages": len(network.filters),
        "features_per_stage": list(network.filters),
        "strides": [list(reversed(stride)) for stride in network.strides],
        "kernel_sizes": [list(reversed(kernel)) for kernel in network.kernels],
        "n_conv_per_stage": [2] * len(network.filters),
        "n_conv_per_stage_decoder": [2] * (len(network.filters) - 1),
    }
    return {
        "inherits_from": "3d_fullres",
        "patch_size": list(reversed(patch)),
        "batch_size": plan.batch,
        "architecture": architecture,
    }


def print_tables(folder: RunFolder, theirs: list[CaseRow], measured: list[dict[str, float]]) -> None:
    """Print the means of nnU-Net and of each loss that RUN has finished on these folds, the tests paired by case, and all scores."""
    cells = [cell.read_result() for cell in folder.cells() if cell.finished]
    folds = {row.fold for row in theirs}
    print(
        "| | s per fold | clDice | DSC | MASD (µm) | Betti-0 error | clDice minus nnU-Net | p | DSC minus nnU-Net | p |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    methods = {"nnU-Net": theirs}
    print_row("nnU-Net", [one["seconds"] for one in measured], theirs, ["", "", "", ""])
    for loss in folder.read_config().losses:
        own = [cell for cell in cells if cell.rows[0].method == loss and cell.rows[0].fold in folds]
        if len(own) < len(folds):
            continue
        methods[loss] = rows = sorted((row for cell in own for row in cell.rows), key=lambda row: row.case)
        tests = [text for metric in METRICS[:2] for text in compared(rows, theirs, metric)]
        print_row(loss, [cell.seconds for cell in own], rows, tests)
    print(
        f"\nPeak resident memory of nnU-Net in one fold: {max(one['peak_bytes'] for one in measured) / 2**30:.2f} GiB."
    )
    for metric in METRICS[:2]:
        print(f"\n| {metric} | {' | '.join(row.case for row in theirs)} |\n|{'---|' * (len(theirs) + 1)}")
        for method, rows in methods.items():
            print(f"| {method} | {' | '.join(f'{getattr(row.metrics, metric):.3f}' for row in rows)} |")


def print_row(method: str, seconds: list[float], rows: list[CaseRow], tests: list[str]) -> None:
    """Print one row of the first table."""
    print(f"| {' | '.join([method, f'{mean(seconds):.0f}', *means(rows), *tests])} |")


def main() -> None:
    """Prepare, train the missing folds, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument(
        "--nnunet", type=Path, required=True, help="folder with nnUNetv2_train and nnU-Net's other commands"
    )
    parser.add_argument(
        "--fold", type=int, action="append", help="train only this fold; may be repeated; by default all folds"
    )
    options = parser.parse_args()
    folder, peer = RunFolder(options.run), NNUNet(options.nnunet.resolve(), options.work.resolve())
    config = folder.read_config()
    peer.work.mkdir(parents=True, exist_ok=True)
    peer.prepare(folder)
    training, at_a_time = config.training, config.limits.cells_at_a_time or 1
    numbers = options.fold or range(len(folder.read_splits().folds))
    with ThreadPoolExecutor(at_a_time) as pool:
        measured = list(pool.map(lambda one: peer.train(one, training.max_epochs, training.steps_per_epoch), numbers))
    theirs = scored(folder, numbers, lambda number, name: peer.fold(number) / "validation" / f"{name}.nii.gz")
    print_tables(folder, theirs, measured)


if __name__ == "__main__":
    main()
