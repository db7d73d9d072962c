"""Score masks of a run's held-out volumes that another tool or setting made, and compare them, as the run does with its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from minivess.data.formats.nifti import read_volume
from minivess.data.layouts.cases import find_cases
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.run_folder import RunFolder
from minivess.metrics.case import score_case
from minivess.statistics.resampling import mean_interval, paired_bootstrap_test

METRICS = ("cldice", "dsc", "measured_masd", "betti0_error")


def files_of(folder: RunFolder) -> dict[str, tuple[Path, Path]]:
    """Return image and label of every labelled case of the run's data, by name."""
    data = folder.read_config().data_dir
    assert data is not None, "the run has no data_dir"
    return {case.name: (case.image, case.label) for case in find_cases(data) if case.label is not None}


def scored(folder: RunFolder, folds: Sequence[int], mask_of: Callable[[int, str], Path]) -> list[CaseRow]:
    """Score the masks of these folds as the run scores its own.

    Args:
        folder: The finished run.
        folds: Numbers of the folds.
        mask_of: Returns the mask file for the fold and the name of a case.

    Returns:
        One row per case, sorted by case.
    """
    config = folder.read_config()
    spacing = {volume.name: volume.spacing_um for volume in folder.read_profile().volumes}
    files = files_of(folder)
    rows = []
    splits = folder.read_splits().folds
    for number in folds:
        for name in splits[number].held_out:
            metrics = score_case(
                read_volume(mask_of(number, name)),
                read_volume(files[name][1]),
                spacing[name],
                config.evaluation.tolerance_um,
            )
            rows.append(CaseRow(method="masks", fold=number, case=name, metrics=metrics))
    return sorted(rows, key=lambda row: row.case)


def means(rows: list[CaseRow]) -> list[str]:
    """Return the mean of each metric with its interval."""
    folds = [row.fold for row in rows]
    return [str(mean_interval([float(getattr(row.metrics, metric)) for row in rows], folds)) for metric in METRICS]


def compared(rows: list[CaseRow], others: list[CaseRow], metric: str) -> tuple[str, str]:
    """Compare two lists of rows, both sorted by case, with the test of `minivess compare`.

    Returns:
        The mean difference with its interval and the number of cases on which ``rows`` is larger; and p, not corrected.
    """
    folds = [row.fold for row in rows]
    values, reference = ([float(getattr(row.metrics, metric)) for row in side] for side in (rows, others))
    test = paired_bootstrap_test(values, reference, folds)
    return f"{test}, better on {test.a_larger} of {test.n}", f"{test.p_value:.2g}"
