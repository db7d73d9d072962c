"""Effect of window overlap and mirroring: the networks of a finished run predict their held-out volumes again.

    python benchmarks/prediction_settings.py RUN WORK --loss dice_ce

Prints Markdown. Each row is compared with the first row, paired by case. Masks stay in WORK and are not predicted twice.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from held_out import METRICS, compared, files_of, means, scored

from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.run_folder import RunFolder
from minivess.inference.predict_file import predict_file

SETTINGS = ((0.25, False), (0.5, False), (0.25, True), (0.5, True))


def predict(folder: RunFolder, folds: Sequence[int], loss: str, out: Path, overlap: float, mirror: bool) -> float:
    """Predict every held-out volume of these folds with the network that was not trained on it.

    Returns:
        Seconds per volume, over the volumes that were not predicted before; NaN if there were none.
    """
    files = files_of(folder)
    splits = folder.read_splits().folds
    seconds = []
    for number in folds:
        for name in splits[number].held_out:
            if (out / f"{name}_y.nii.gz").is_file():
                continue
            began = time.perf_counter()
            predict_file(folder.cell(loss, number).weights, files[name][0], out, overlap=overlap, mirror=mirror)
            seconds.append(time.perf_counter() - began)
    return mean(seconds) if seconds else float("nan")


def main() -> None:
    """Predict and score with each setting, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--loss", default="dice_ce", help="loss whose networks predict")
    parser.add_argument(
        "--fold", type=int, action="append", help="use only this fold; may be repeated; by default all folds"
    )
    options = parser.parse_args()
    folder = RunFolder(options.run)
    folds = options.fold or range(len(folder.read_splits().folds))
    first: list[CaseRow] = []
    print(
        "| overlap | mirrored | s per volume | clDice | DSC | MASD (µm) | Betti-0 error | clDice minus first | p | DSC minus first | p |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for overlap, mirror in SETTINGS:
        out = options.work / f"{options.loss}_{overlap}{'_mirrored' if mirror else ''}"
        seconds = predict(folder, folds, options.loss, out, overlap, mirror)
        rows = scored(folder, folds, lambda number, name: out / f"{name}_y.nii.gz")  # noqa: B023 - called immediately
        tests = [text for metric in METRICS[:2] for text in compared(rows, first, metric)] if first else [""] * 4
        first = first or rows
        print(f"| {' | '.join([f'{overlap}', 'yes' if mirror else 'no', f'{seconds:.1f}', *means(rows), *tests])} |")


if __name__ == "__main__":
    main()
