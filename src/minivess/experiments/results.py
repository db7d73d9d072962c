"""The finished cells of runs become one table of cases and one comparison."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minivess.atomic import write_text
from minivess.errors import ConfigError, DataError, RunError
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.config import EvaluationConfig, ExperimentConfig
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import read_state, write_state
from minivess.statistics.compare_methods import compare
from minivess.statistics.comparison import Comparison

_VERSION = 3
"""Changed with every change of what a comparison computes or says, so that those that stand are made anew."""


def write_results(folder: RunFolder) -> Comparison:
    """Bring ``results/cases.csv`` and ``results/comparison.json`` up to date with the finished cells and the configuration.

    A comparison takes seconds: the one that stands there is read back where it was made of the same cases and settings.

    Raises:
        RunError: It is no run folder, or nothing has finished in it.
    """
    rows, config = _rows([folder]), folder.read_config()
    comparison = _standing(folder, rows, config)
    if comparison is None:
        comparison = _of_one_run(folder, rows, config)
        write_text(folder.cases, _as_csv(rows))
        write_state(folder.comparison, comparison)
    return comparison


def read_results(folder: RunFolder) -> Comparison:
    """The comparison as ``write_results`` left it.

    Raises:
        RunError: There is none, or it is damaged.
    """
    return read_state(folder.comparison, Comparison, "`minivess report` makes it again")


def compare_runs(folders: Sequence[RunFolder], metrics: Sequence[str] = ()) -> Comparison:
    """Compare what has finished in one run folder or several, and write nothing.

    Args:
        folders: Of several, each method is named "run/method", with as many folders above the run as tell the runs apart.
        metrics: In place of those that the first run's configuration names.

    Raises:
        ConfigError: A metric is not known, or a run given twice.
        RunError: One is no run folder, or nothing has finished in any.
        DataError: A case is in different folds of two runs, or is another volume, or was scored with another tolerance.
    """
    rows, config = _rows(folders), folders[0].read_config()
    if metrics:
        config = config.model_copy(
            update={"evaluation": config.evaluation.model_copy(update={"metrics": tuple(metrics)})}
        )
    if len(folders) == 1:
        return _standing(folders[0], rows, config) or _of_one_run(folders[0], rows, config)
    _require_one_data_set(folders, rows)
    return _compare(rows, config.evaluation)


def _require_one_data_set(folders: Sequence[RunFolder], rows: list[dict[str, Any]]) -> None:
    """A name may stand for other voxels in another run, and a score for another tolerance."""
    scored = {row["case"] for row in rows}
    seen: dict[str, tuple[str | None, RunFolder]] = {}
    for folder in folders:
        for volume in folder.read_profile().volumes:
            digest, first = seen.setdefault(volume.name, (volume.digest, folder))
            if volume.name in scored and digest != volume.digest:
                raise DataError(
                    f"the same volume and label {volume.name} in all runs",
                    f"others in {folder.path} than in {first.path}",
                    "compare runs of one data set",
                )
    if len(tolerances := {folder.read_config().evaluation.tolerance_um for folder in folders}) > 1:
        raise DataError(
            "one tolerance of the normalised surface distance",
            " and ".join(f"{tolerance:g} µm" for tolerance in sorted(tolerances)),
            "compare runs with the same evaluation.tolerance_um",
        )


def _rows(folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for folder, prefix in zip(folders, _prefixes([folder.path for folder in folders]), strict=True):
        rows += [{**row.flat(), "method": prefix + row.method} for row in folder.read_rows()]
    if not rows:
        raise RunError("a finished cell", f"none in {folders[0].path}", "run the experiment first")
    return rows


def _prefixes(paths: Sequence[Path]) -> list[str]:
    """What tells runs apart in a table: the shortest ends of their paths that differ; nothing for a single one.

    Raises:
        ConfigError: One of them is given twice.
    """
    parts = [path.resolve().parts for path in paths]
    if twice := [str(path) for path, part in zip(paths, parts, strict=True) if parts.count(part) > 1]:
        raise ConfigError("each run once", ", ".join(twice), "name it once")
    ends, depth = [""] * len(parts), 0
    while len(set(ends)) < len(parts):
        depth += 1
        ends = ["/".join([*part[-depth:], ""]) for part in parts]
    return ends


def _standing(folder: RunFolder, rows: list[dict[str, Any]], config: ExperimentConfig) -> Comparison | None:
    """The comparison in the folder; None where there is none, or one of other cases or settings."""
    try:
        comparison = read_results(folder)
    except RunError:
        return None
    return comparison if comparison.source == _source(rows, config) else None


def _of_one_run(folder: RunFolder, rows: list[dict[str, Any]], config: ExperimentConfig) -> Comparison:
    comparison = _compare(rows, config.evaluation, config.losses)
    notes = (*comparison.notes, *_passes(folder))
    return comparison.model_copy(update={"notes": notes, "source": _source(rows, config)})


def _compare(rows: list[dict[str, Any]], evaluation: EvaluationConfig, planned: Sequence[str] = ()) -> Comparison:
    # What a baseline is does not depend on which of them a configuration names now.
    baselines = tuple(name for row in rows if (name := row["method"]).rpartition("/")[2] in BASELINES)
    return compare(rows, evaluation.metrics, baselines=baselines, planned=planned, resamples=evaluation.resamples)


def _passes(folder: RunFolder) -> Iterator[str]:
    """A loss that sums over a pass is not quite the same over fewer patches."""
    found = [(cell.path.name, cell.read_result()) for cell in folder.cells() if cell.finished]
    sizes = {name: result.micro_batch for name, result in found if result.method not in BASELINES}
    fewer = [f"{size} in {name}" for name, size in sizes.items() if size < max(sizes.values())]
    if fewer:
        yield (
            f"Cells trained with different numbers of patches a forward pass, after memory ran out: {max(sizes.values())}, but "
            f"{', '.join(fewer)}. Losses that sum over a pass, all of them but cross-entropy, are then not quite the same."
        )


def _source(rows: list[dict[str, Any]], config: ExperimentConfig) -> str:
    source = json.dumps([version("minivess"), _VERSION, rows, config.losses, config.evaluation.model_dump(mode="json")])
    return hashlib.blake2b(source.encode(), digest_size=16).hexdigest()


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
