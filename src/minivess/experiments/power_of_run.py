"""The power of a planned comparison, with variances from earlier runs in its output folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import median

from minivess.data.splits import Splits
from minivess.errors import MinivessError
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.config import ExperimentConfig
from minivess.metrics.catalogue import METRICS
from minivess.statistics.nested import Design
from minivess.statistics.power import Power, assumed_variances, simulate_power
from minivess.statistics.score_table import Table, cases_of, paired, read_table
from minivess.statistics.variance import Variances, measure_variances
from minivess.text import counted, first_few

_MOST_RUNS = 20
_FEWEST_CASES = 3


def predict_power(
    config: ExperimentConfig, splits: Splits, *, repeats: int = 1, groups: Mapping[str, str] | None = None
) -> Power | None:
    """Predict what the comparison of a run can show, before it starts.

    Args:
        config: The configuration.
        splits: The folds.
        repeats: Trainings of each fold.
        groups: The group of each case; None without groups.

    Returns:
        The power; None if no comparison was fixed, or if there is no loss to compare.
    """
    rule = config.comparison
    if rule is None or len(config.losses) < 2:
        return None
    places = [(name, number) for number, fold in enumerate(splits.folds) for name in fold.held_out]
    design = Design.complete(
        [(groups or {}).get(name, name) for name, _ in places], [fold for _, fold in places], repeats
    )
    variances, source = _variances(config.output_dir, config.name, rule.primary, rule.against)
    if design.grouped:
        variances = variances.grouped()
    return simulate_power(design, variances, rule, len(config.losses) - 1, source)


def _variances(output_dir: Path, own: str, metric: str, against: str | None) -> tuple[Variances, str]:
    """Return the variances of a difference in this metric, and where they come from."""
    found: dict[str, list[Variances]] = {}
    files = [path for path in output_dir.glob("*/results/cases.csv") if path.parts[-3] != own]
    newest = sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)[:_MOST_RUNS]
    for path in newest:
        if measured := list(_measured(path, metric, against)):
            found[path.parts[-3]] = measured
    if not found:
        return assumed_variances(METRICS[metric].spread), (
            f"assumed, a standard deviation of {METRICS[metric].spread:g} on one volume as measured on seven volumes, "
            "because no earlier run in the output folder has this metric"
        )
    pairs = [variances for own_pairs in found.values() for variances in own_pairs]
    source = f"measured in {first_few(list(found))}, the median of {counted(len(pairs), 'pair')} of losses"
    return _median(pairs), source + _about_luck(pairs)


def _about_luck(pairs: Sequence[Variances]) -> str:
    if any(pair.networks is not None for pair in pairs):
        return ""
    return "; the luck of training is assumed, because no earlier run has repeats"


def _median(pairs: Sequence[Variances]) -> Variances:
    """Return the median of each variance. If training was never repeated, the variance of the cases is shared out."""
    repeated = [pair for pair in pairs if pair.networks is not None]
    used = repeated or pairs
    groups, cases = median(pair.groups for pair in used), median(pair.cases for pair in used)
    if repeated:
        luck, rest = (median(getattr(pair, name) for pair in repeated) for name in ("networks", "rest"))
        return Variances(groups, cases, luck, rest)
    return replace(assumed_variances(cases**0.5), groups=groups)


def _measured(path: Path, metric: str, against: str | None) -> Iterator[Variances]:
    """Yield the variances of each pair of losses in the cases of a run; pairs with the reference only, if it has it."""
    table = _read(path, metric)
    losses = [name for name in table if name not in BASELINES]
    pairs = list(combinations(losses, 2))
    chosen = [pair for pair in pairs if against in pair] or pairs
    for first, second in chosen:
        if not cases_of(table[first]) & cases_of(table[second]):
            continue
        design, values = paired(table[first], table[second], metric)
        if design.groups >= _FEWEST_CASES:
            yield measure_variances(design, values)


def _read(path: Path, metric: str) -> Table:
    """Read the cases of an earlier run; nothing if it lacks the metric, or if the file is damaged or unfinished."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row.get(metric)]
        return read_table(rows, [metric]) if rows else {}
    except (OSError, UnicodeDecodeError, csv.Error, MinivessError):
        return {}
