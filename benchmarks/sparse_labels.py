"""How much of the score is left if only every tenth slice is labelled: the numbers of docs/how-to/sparse-labels.md.

Twelve phantoms of 96x96x40 voxels. A run on complete labels, and one for each way to label less, with the same folds,
seeds and steps. The predictions of all runs are scored on the complete labels. An hour on two processors:

    python benchmarks/sparse_labels.py OUT [--steps 300] [--losses dice_ce cbdice] [--tried dense tenth]
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import numpy as np

from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.phantoms.phantom import PhantomCase, write_phantom

SHAPE, SPACING_UM, UNKNOWN = (96, 96, 40), (1.0, 1.0, 2.0), 255
CASES = [PhantomCase(f"phantom{k + 1:02d}", SHAPE, SPACING_UM, 100 + k) for k in range(12)]


def known_part(way: str) -> np.ndarray:
    """The labelled voxels of each volume."""
    known = np.zeros(SHAPE, bool)
    if way == "tenth":
        known[:, :, 4::10] = True
    elif way == "twentieth":
        known[:, :, 9::20] = True
    elif way == "box":  # a tenth of the volume in the middle
        known[24:72, 28:68, 10:30] = True
    else:
        known[:] = True
    return known


def write_data(folder: Path, way: str) -> None:
    """Write the phantoms with the labels of one way."""
    if (folder / "seg").is_dir():
        return
    write_phantom(folder, CASES)
    known = known_part(way)
    for path in (folder / "seg").iterdir():
        label = np.where(known, read_volume(path), UNKNOWN).astype(np.uint8)
        write_volume(path, label, spacing_um=SPACING_UM)


def run(out: Path, way: str, losses: list[str], steps: int) -> Path:
    """Train and return the run folder."""
    study = {
        "name": way,
        "data_dir": str(out / f"data-{way}"),
        "output_dir": str(out / "runs"),
        "data": {"ignore_value": None if way == "dense" else UNKNOWN},
        "losses": losses,
        "folds": 2,
        "model": {"name": "dynunet", "filters": [8, 16, 32, 64]},
        "plan": {"patch_size": [48, 48, 16], "batch": 2},
        "training": {"max_epochs": 4, "steps_per_epoch": steps // 4, "learning_rate": 0.003, "validate_every": 0},
        "evaluation": {"baselines": []},
        "tracking_uri": "none",
    }
    config = out / f"{way}.yaml"
    config.write_text(json.dumps(study))
    subprocess.run(["minivess", "run", "--config", str(config)], check=True)
    return out / "runs" / way


def main() -> int:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--losses", nargs="+", default=["dice_ce"])
    parser.add_argument("--tried", nargs="+", default=["dense", "tenth"])
    options = parser.parse_args()
    out = options.out.absolute()
    for way in options.tried:
        write_data(out / f"data-{way}", way)
        folder = run(out, way, options.losses, options.steps)
        for loss in options.losses if way != "dense" else []:
            masks = out / f"masks-{way}-{loss}"
            masks.mkdir(exist_ok=True)
            for path in folder.glob(f"cells/{loss}-fold*/predictions/*.nii.gz"):
                shutil.copy(path, masks)
            name = f"{way}-{loss}"
            command = ["minivess", "score", str(masks), "--run", str(out / "runs" / "dense"), "--name", name]
            subprocess.run([*command, "--replace"], check=True)
    with (out / "runs" / "dense" / "results" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        means = {name: fmean(float(row[name]) for row in own) for name in ("dsc", "cldice", "measured_masd")}
        print(method, len(own), {name: round(value, 4) for name, value in means.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
