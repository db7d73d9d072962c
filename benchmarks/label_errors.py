"""Does `minivess check-labels` find errors that were planted in the labels of phantoms?

    minivess data phantom DATA --cases 24 --seed 3
    python benchmarks/label_errors.py plant DATA --seed 3       (changes the labels in DATA/seg, and writes DATA/errors.json)
    minivess run --config configs/experiments/label_errors.yaml --data-dir DATA --name label_errors_3
    minivess check-labels runs/label_errors_3 -o LIST
    python benchmarks/label_errors.py score DATA LIST/regions.csv

Half of the volumes get one error each, of four kinds in turn: a vessel is missing in a box, shifted in a box, invented, or
two slices are swapped. An error is found by the first region of the list whose voxel is within 2 voxels of a changed one.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np

KINDS = ("missing", "shifted", "invented", "swapped slices")
BOX_VOXELS = 32
"""Edge length of the box in the plane that an error changes."""
SHIFT_VOXELS = 8
NEAR_VOXELS = 2
"""A region belongs to an error if its listed voxel is this near to a voxel that the error changed."""
LEAST_VOXELS = 60
"""An error that changes fewer voxels is drawn again."""


def plant(data: Path, seed: int) -> None:
    """Change every second label of a data set, and write which voxels were changed."""
    rng = np.random.default_rng(seed)
    errors = {}
    paths = sorted((data / "seg").glob("*_y.nii.gz"))
    for number, path in enumerate(paths[::2]):
        kind = KINDS[number % len(KINDS)]
        image = nib.load(path)
        label = np.asarray(image.dataobj) != 0
        for _ in range(100):
            changed = _change(label, kind, rng)
            if np.count_nonzero(changed != label) >= LEAST_VOXELS:
                break
        nib.save(nib.Nifti1Image(changed.astype(np.uint8), image.affine, image.header), path)
        voxels = np.argwhere(changed != label)
        errors[path.name.removesuffix("_y.nii.gz")] = {"kind": kind, "voxels": voxels.tolist()}
    (data / "errors.json").write_text(json.dumps(errors))
    print(f"{len(errors)} errors planted in {data}")


def _change(label: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    changed = label.copy()
    if kind == "swapped slices":
        first, second = rng.choice(label.shape[2], 2, replace=False)
        changed[..., first], changed[..., second] = label[..., second], label[..., first]
        return changed
    corner = [int(rng.integers(0, size - BOX_VOXELS + 1)) for size in label.shape[:2]]
    box = tuple(slice(at, at + BOX_VOXELS) for at in corner)
    if kind == "missing":
        changed[box] = False
    elif kind == "shifted":
        changed[box] = np.roll(label[box], SHIFT_VOXELS, axis=int(rng.integers(2)))
    else:
        ends = [np.array([at + rng.integers(0, BOX_VOXELS) for at in corner]) for _ in range(2)]
        depth = int(rng.integers(1, label.shape[2] - 1))
        for share in np.linspace(0, 1, 200):
            x, y = np.rint(ends[0] + share * (ends[1] - ends[0])).astype(int)
            changed[max(0, x - 1) : x + 2, max(0, y - 1) : y + 2, depth - 1 : depth + 1] = True
    return changed


def score(data: Path, listed: Path) -> None:
    """Print how far down the list each planted error is found, as Markdown."""
    errors = json.loads((data / "errors.json").read_text())
    with listed.open() as file:
        rows = list(csv.DictReader(file))
    first: dict[str, int] = {}
    for rank, row in enumerate(rows, start=1):
        if row["case"] not in errors or row["case"] in first:
            continue
        peak = np.array([int(row[axis]) for axis in "xyz"])
        if (np.abs(np.array(errors[row["case"]]["voxels"]) - peak) <= NEAR_VOXELS).all(axis=1).any():
            first[row["case"]] = rank
    print(f"| kind | errors | found in the first tenth of {len(rows)} regions | ranks |\n|---|---:|---:|---|")
    for kind in (*KINDS, "all"):
        own = [case for case in errors if kind in ("all", errors[case]["kind"])]
        ranks = sorted(first.get(case, len(rows) + 1) for case in own)
        found = sum(rank <= len(rows) / 10 for rank in ranks)
        shown = "" if kind == "all" else ", ".join(str(rank) if rank <= len(rows) else "-" for rank in ranks)
        print(f"| {kind} | {len(own)} | {found} ({found / len(own):.0%}) | {shown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    planting = actions.add_parser("plant")
    planting.add_argument("data", type=Path)
    planting.add_argument("--seed", type=int, default=0)
    scoring = actions.add_parser("score")
    scoring.add_argument("data", type=Path)
    scoring.add_argument("listed", type=Path)
    options = parser.parse_args()
    if options.action == "plant":
        plant(options.data, options.seed)
    else:
        score(options.data, options.listed)


if __name__ == "__main__":
    main()
