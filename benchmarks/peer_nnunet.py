"""nnU-Net v2 on the folds of a finished minivess run: its preprocessing, augmentation, loss, optimizer and mirrored prediction.

    python benchmarks/peer_nnunet.py RUN WORK --nnunet ENVIRONMENT/bin

nnU-Net plans and preprocesses, then trains on the CPU with the network, patch, batch and number of steps of RUN: a thread a
fold, as many folds side by side as RUN had cells. Its masks are scored as RUN's were. Prints Markdown. nnU-Net needs an
environment of its own (`pip install nnunetv2`); what WORK holds already is not done again. Linux only.
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

from minivess.data.importers import find_cases
from minivess.data.nifti import read_volume
from minivess.data.profile import DatasetProfile
from minivess.evaluation.bootstrap import mean_interval, paired_bootstrap_test
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.folder import RunFolder
from minivess.experiments.spec import CellResult
from minivess.metrics.case import score_case

DATASET, CONFIGURATION = "Dataset001_Vessels", "3d_as_minivess"
METRICS = ("dsc", "centreline_dsc", "measured_masd", "betti0_error")


class NNUNet:
    """Its commands, in WORK."""

    def __init__(self, binaries: Path, work: Path) -> None:
        self.binaries, self.work = binaries, work
        self.raw, self.preprocessed, self.results = (work / name for name in ("raw", "preprocessed", "results"))

    def run(self, *command: str, epochs: int = 1, steps: int = 1) -> tuple[float, int]:
        """One command to its end: seconds, and the most its processes held resident together, bytes."""
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
        """The data of RUN in its layout, its own plan and preprocessing, RUN's folds, and a configuration with RUN's network."""
        target = self.preprocessed / DATASET
        plans = target / "nnUNetPlans.json"
        if not plans.is_file():
            self._link(folder.read_config().data_dir)
            self.run(
                "nnUNetv2_plan_and_preprocess", "-d", "1", "-c", "3d_fullres", "-np", "2", "--verify_dataset_integrity"
            )
        written = json.loads(plans.read_text())
        written["configurations"][CONFIGURATION] = as_minivess(written["configurations"]["3d_fullres"], folder)
        plans.write_text(json.dumps(written, indent=2))
        folds = [{"train": fold.train, "val": fold.held_out} for fold in folder.read_splits().folds]
        (target / "splits_final.json").write_text(json.dumps(folds, default=list))

    def _link(self, data: Path) -> None:
        images, labels = self.raw / DATASET / "imagesTr", self.raw / DATASET / "labelsTr"
        for made in (images, labels, self.preprocessed, self.results):
            made.mkdir(parents=True, exist_ok=True)
        cases = find_cases(data)
        for case in cases:
            (images / f"{case.name}_0000.nii.gz").symlink_to(case.image.resolve())
            (labels / f"{case.name}.nii.gz").symlink_to(case.label.resolve())
        described = {
            "channel_names": {"0": "two-photon"},
            "labels": {"background": 0, "vessel": 1},
            "numTraining": len(cases),
            "file_ending": ".nii.gz",
        }
        (self.raw / DATASET / "dataset.json").write_text(json.dumps(described))

    def fold(self, number: int) -> Path:
        return self.results / DATASET / f"ShortTrainer__nnUNetPlans__{CONFIGURATION}" / f"fold_{number}"

    def train(self, number: int, epochs: int, steps: int) -> dict[str, float]:
        """One fold: seconds and peak bytes, kept beside its weights."""
        record = self.fold(number) / "measured.json"
        if not record.is_file():
            seconds, peak = self.run(
                "nnUNetv2_train", "1", CONFIGURATION, str(number), "-tr", "ShortTrainer", "-device", "cpu",
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
    """A configuration for nnUNetPlans.json: its own preprocessing, with network, patch and batch of RUN. nnU-Net counts axes from Z."""
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


def scored(folder: RunFolder, peer: NNUNet) -> list[CaseRow]:
    """Its masks, scored as RUN's were."""
    config = folder.read_config()
    profile = DatasetProfile.model_validate_json(folder.profile.read_bytes())
    spacing = {volume.name: volume.spacing_um for volume in profile.volumes}
    labels = {case.name: case.label for case in find_cases(config.data_dir)}
    rows = []
    for number, fold in enumerate(folder.read_splits().folds):
        for name in fold.held_out:
            mask = read_volume(peer.fold(number) / "validation" / f"{name}.nii.gz")
            metrics = score_case(mask, read_volume(labels[name]), spacing[name], config.evaluation.tolerance_um)
            rows.append(CaseRow(method="nnU-Net", fold=number, case=name, metrics=metrics))
    return rows


def print_table(folder: RunFolder, theirs: list[CaseRow], measured: list[dict[str, float]]) -> None:
    """A line a method, each loss of RUN paired by case with nnU-Net, and the DSC of every case."""
    cells = [CellResult.model_validate_json(cell.result.read_bytes()) for cell in folder.cells() if cell.finished]
    methods = {
        name: [row for cell in cells for row in cell.rows if row.method == name] for name in folder.read_config().losses
    }
    methods["nnU-Net"] = theirs
    theirs = sorted(theirs, key=lambda row: row.case)
    folds = [row.fold for row in theirs]
    print(
        "| | s a fold | DSC | clDice | MASD (µm) | Betti-0 error | DSC less nnU-Net's | p | clDice less nnU-Net's | p |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for method, rows in methods.items():
        rows.sort(key=lambda row: row.case)
        seconds = (
            [one["seconds"] for one in measured]
            if rows is theirs
            else [cell.seconds for cell in cells if cell.rows[0].method == method]
        )
        line = [method, f"{mean(seconds):.0f}"]
        line += [str(mean_interval([float(getattr(row.metrics, metric)) for row in rows], folds)) for metric in METRICS]
        for metric in () if method == "nnU-Net" else METRICS[:2]:
            test = paired_bootstrap_test(
                *([getattr(row.metrics, metric) for row in side] for side in (rows, theirs)), folds
            )
            line += [
                f"{test.difference:+.3f} [{test.low:.3f}, {test.high:.3f}], better on {test.a_larger} of {test.n}",
                f"{test.p_value:.2g}",
            ]
        print(f"| {' | '.join(line)} |")
    print(f"\nnnU-Net held {max(one['peak_bytes'] for one in measured) / 2**30:.2f} GiB resident a fold at most.\n")
    for metric in METRICS[:2]:
        print(f"\n| {metric} | {' | '.join(row.case for row in theirs)} |\n|{'---|' * (len(theirs) + 1)}")
        for method, rows in methods.items():
            print(f"| {method} | {' | '.join(f'{getattr(row.metrics, metric):.3f}' for row in rows)} |")


def main() -> None:
    """Prepare, train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--nnunet", type=Path, required=True, help="folder of nnUNetv2_train and its like")
    options = parser.parse_args()
    folder, peer = RunFolder(options.run), NNUNet(options.nnunet.resolve(), options.work.resolve())
    config = folder.read_config()
    peer.work.mkdir(parents=True, exist_ok=True)
    peer.prepare(folder)
    training, at_a_time = config.training, config.limits.cells_at_a_time or 1
    numbers = range(len(folder.read_splits().folds))
    with ThreadPoolExecutor(at_a_time) as pool:
        measured = list(pool.map(lambda one: peer.train(one, training.max_epochs, training.steps_per_epoch), numbers))
    print_table(folder, scored(folder, peer), measured)


if __name__ == "__main__":
    main()
