"""Ablations: change one setting of a training at a time; every volume is scored by a network that was not trained on it.

    python benchmarks/ablations.py DATA OUT                     # all variants; finished cells are not trained again
    python benchmarks/ablations.py DATA OUT --only base pad     # these variants, then the table of all finished ones

Prints Markdown. Each variant is compared with "base" by the paired test of `minivess compare`, without correction for multiple tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import yaml

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_spec import CellResult
from minivess.experiments.run_folder import RunFolder
from minivess.statistics.resampling import mean_interval, paired_bootstrap_test

CONFIG = Path(__file__).parents[1] / "configs" / "experiments" / "vesselnn_ablation.yaml"
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "rate_1e-3": {"training.learning_rate": 1e-3},
    "rate_1e-2": {"training.learning_rate": 1e-2},
    "no_augmentation": {"training.augment": False},
    "deep_supervision": {"model.deep_supervision": 2},
    "no_average": {"training.ema_decay": 0},
    "foreground_0": {"training.foreground_fraction": 0},
    "foreground_025": {"training.foreground_fraction": 0.25},
    "foreground_1": {"training.foreground_fraction": 1},
    "one_of_136x136x8": {"plan.patch_size": [136, 136, 8], "plan.batch": 1},
    "one_of_192x192x4": {"plan.patch_size": [192, 192, 4], "plan.batch": 1},
    "four_of_64x64x8": {"plan.patch_size": [64, 64, 8], "plan.batch": 4},
    "bucketed": {"plan.patch_policy": "bucketed"},
    "pad": {"plan.patch_policy": "pad"},
    "filters_8": {"model.filters": [8, 16, 32, 64]},
    "twice_as_long": {"training.max_epochs": 12},
    "four_times_as_long": {"training.max_epochs": 24},
}
METRICS = ("cldice", "dsc", "betti0_error")


def train(name: str, data: Path, out: Path, seed: int, folds: list[int] | None) -> None:
    """Train one variant with `minivess run`, on these folds or on all."""
    settings = [
        f"--set={key}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
        for key, value in {"seed": seed, **VARIANTS[name]}.items()
    ]
    only = [f"--only=loss=dice_ce,fold={fold}" for fold in folds or ()]
    options = [
        "--config",
        str(CONFIG),
        "--data-dir",
        str(data),
        "--output-dir",
        str(out),
        "--name",
        name,
        *settings,
        *only,
    ]
    subprocess.run([sys.executable, "-m", "minivess.cli.main", "run", "--quiet", *options], check=True)


def results(folder: RunFolder) -> list[CellResult]:
    """Return the results of the finished cells of a run."""
    return [cell.read_result() for cell in folder.cells() if cell.finished]


def row_of(name: str, cells: list[CellResult], base: dict[str, CaseRow]) -> list[str]:
    """Return the cells of one table row."""
    rows = sorted((row for cell in cells for row in cell.rows), key=lambda row: row.case)
    folds = [row.fold for row in rows]
    line = [name, f"{mean(cell.seconds for cell in cells):.0f}"]
    for metric in METRICS:
        values = [float(getattr(row.metrics, metric)) for row in rows]
        line.append(str(mean_interval(values, folds)) if metric == "dsc" else f"{mean(values):.3g}")
    dsc = [row.metrics.dsc for row in rows]
    reference = [base[row.case].metrics.dsc for row in rows]
    if name == "base":
        return [*line, "", ""]
    test = paired_bootstrap_test(dsc, reference, folds)
    return [
        *line,
        f"{test}, better on {test.a_larger} of {test.n}",
        f"{test.p_value:.2g}",
    ]


def main() -> None:
    """Train the missing cells and print the table of the finished variants."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of weights, patches and folds; use a separate OUT for each seed"
    )
    parser.add_argument(
        "--fold", type=int, action="append", help="train only this fold; may be repeated; by default all folds"
    )
    options = parser.parse_args()
    for name in options.only:
        train(name, options.data, options.out, options.seed, options.fold)
    finished = {name: results(RunFolder(options.out / name)) for name in VARIANTS if (options.out / name).is_dir()}
    base = {row.case: row for cell in finished["base"] for row in cell.rows}
    print(
        "| variant | s per cell | clDice | DSC | Betti-0 error | DSC minus DSC of base | p |\n|---|---|---|---|---|---|---|"
    )
    for name, cells in finished.items():
        if len(cells) == len(finished["base"]):
            print(f"| {' | '.join(row_of(name, cells, base))} |")


if __name__ == "__main__":
    main()
