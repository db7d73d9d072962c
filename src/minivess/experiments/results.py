"""Turn the finished cells of runs into one table of cases and one comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from minivess.atomic import write_text
from minivess.csv_text import csv_text
from minivess.errors import ConfigError, DataError, RunError
from minivess.evaluation.baselines import BASELINES
from minivess.evaluation.score_files import read_score_files
from minivess.experiments.cell_key import CellKey
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.run_folder import RunFolder, refuse_links
from minivess.json_files import read_state, write_state
from minivess.metrics.catalogue import METRICS, known_metrics
from minivess.metrics.older_scores import shared_metric
from minivess.statistics.compare_methods import Fixed, compare
from minivess.statistics.comparison import Comparison
from minivess.statistics.rule import ComparisonConfig
from minivess.text import first_few

_VERSION = 8
"""Version of the content of a comparison. Increase it with every change, so that saved comparisons are made again."""
_SCORE_AGAIN = "delete result.json of these cells and repeat the run with --accept-changed-code, which scores the saved masks again"


def write_results(folder: RunFolder) -> Comparison:
    """Update ``results/cases.csv`` and ``results/comparison.json`` from the finished cells and the configuration.

    A comparison takes seconds to compute. The saved one is used if it was made from the same cases and settings.

    Raises:
        RunError: The folder is not a run folder, or no cell in it has finished.
    """
    refuse_links(folder.path)
    rows, config = _rows([folder]), folder.read_config()
    comparison = _saved_comparison(folder, rows, config)
    if comparison is None:
        comparison = _compare_one_run(folder, rows, config)
        write_text(folder.cases, _as_csv([row.flat() for row in folder.read_rows()]))
        write_state(folder.comparison, comparison)
    return comparison


def read_results(folder: RunFolder) -> Comparison:
    """Read the comparison that ``write_results`` saved.

    Raises:
        RunError: The file is missing or damaged.
    """
    return read_state(folder.comparison, Comparison, "run `minivess report`, which makes it again")


def compare_runs(
    folders: Sequence[RunFolder], metrics: Sequence[str] = (), rule: Mapping[str, Any] | None = None
) -> Comparison:
    """Compare the finished cells of one or several run folders, and write nothing.

    Args:
        folders: The run folders. With several, each method is named "run/method", with as many parent folders of the
            run as are needed to distinguish the runs.
        metrics: Metrics to compare; by default those of the configuration of the first run.
        rule: Keys of ``ComparisonConfig`` that are chosen now, after the run; the others are those of the run. None or
            empty: a single run is compared by its own rule, several runs without a rule.

    Raises:
        ConfigError: A metric is unknown, a run is given twice, or the reference of the rule has no scores.
        RunError: A folder is not a run folder, or no cell has finished in any of them.
        DataError: A case is in different folds of two runs, is another volume, was scored with another tolerance, or
            was scored by an older version that did not measure one of ``metrics``.
    """
    rows, config = _rows(folders), folders[0].read_config()
    if metrics:
        metrics = known_metrics(metrics)
        _require_measured(rows, metrics)
        config = config.model_copy(
            update={"evaluation": config.evaluation.model_copy(update={"metrics": tuple(metrics)})}
        )
    if len(folders) > 1:
        _require_one_data_set(folders, rows)
        chosen = _chosen_now(None, rule) if rule else None
        found = _compare(rows, config, chosen, Fixed(beforehand=False), elsewhere=_elsewhere(folders))
        notes = [
            f"{prefix.rstrip('/')}: {note}"
            for folder, prefix in zip(folders, _prefixes([folder.path for folder in folders]), strict=True)
            for note in _run_notes(folder)
        ]
        return found.model_copy(update={"notes": (*found.notes, *notes)})
    if rule:
        chosen = _chosen_now(config.comparison, rule)
        if chosen != config.comparison:
            return _compare_one_run(folders[0], rows, config, chosen)
    return _saved_comparison(folders[0], rows, config) or _compare_one_run(folders[0], rows, config)


def compare_csv(
    paths: Sequence[Path],
    metrics: Sequence[str] = (),
    lower: Sequence[str] = (),
    rule: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare the methods of CSV files with scores per case, such as those of another tool.

    Args:
        paths: The files, as `read_score_files` takes them.
        metrics: Columns to compare; by default those that minivess knows, or all.
        lower: Further metrics of which a lower value is better.
        rule: Keys of ``ComparisonConfig``; by default the first metric decides, against the first method. None or
            empty: without a rule.

    Raises:
        ConfigError: A metric or the reference is unknown.
        DataError: The scores cannot be used.
    """
    files = read_score_files(paths, metrics, lower)
    chosen = None
    if rule:
        first = {"primary": files.metrics[0], "against": files.rows[0]["method"]}
        chosen = ComparisonConfig.model_validate({**first, **rule})
        if chosen.primary not in files.metrics:
            raise ConfigError(
                f"a metric of the files ({', '.join(files.metrics)})", repr(chosen.primary), "name one of them"
            )
    return compare(
        files.rows,
        files.metrics,
        baselines=(),
        rule=chosen,
        fixed=Fixed(beforehand=False),
        others=files.others,
    )


def _chosen_now(before: ComparisonConfig | None, rule: Mapping[str, Any]) -> ComparisonConfig:
    """Return the rule with what is chosen now; the margin of another metric is not kept.

    Raises:
        ConfigError: The metric is unknown.
    """
    values = before.model_dump() if before else {}
    changes = dict(rule)
    if "primary" in changes:
        changes["primary"] = known_metrics([changes["primary"]])[0]
        if before and changes["primary"] != before.primary:
            values["margin"] = None
    return ComparisonConfig.model_validate({**values, **changes})


def _require_measured(rows: list[dict[str, Any]], metrics: Sequence[str]) -> None:
    """Require that all cases were scored in these metrics.

    Raises:
        DataError: One was scored by an older version that did not measure a metric.
    """
    for metric in metrics:
        if lacking := _lacking(rows, metric):
            raise DataError(
                f"cases scored in {metric}",
                f"{first_few(lacking)}, scored by an older version of minivess that did not measure it",
                f"compare {shared_metric(metric, rows)}, which all cases have, or {_SCORE_AGAIN}",
            )


def _lacking(rows: list[dict[str, Any]], metric: str) -> list[str]:
    lacking = (CellKey(row["method"], row["fold"], row["repeat"]) for row in rows if row[metric] is None)
    return list(dict.fromkeys(cell.name for cell in lacking))


def _require_one_data_set(folders: Sequence[RunFolder], rows: list[dict[str, Any]]) -> None:
    """Require that all runs scored equal volumes with equal known voxels, in the same groups, with the same tolerance.

    Raises:
        DataError: A volume, what of its label is known, the group of one, or the tolerance differs.
    """
    scored = {row["case"] for row in rows}
    seen: dict[str, tuple[tuple[str | None, int | None], RunFolder]] = {}
    for folder in folders:
        profile = folder.read_profile()
        for volume in profile.volumes:
            content = volume.digest, profile.ignore_value if volume.has_unknown else None
            before, first = seen.setdefault(volume.name, (content, folder))
            if volume.name in scored and content != before:
                raise DataError(
                    f"the same volume and label {volume.name}, with the same unknown voxels, in all runs",
                    f"different ones in {first.path} and in {folder.path}",
                    "compare runs on one data set, with the same data.ignore_value",
                )
    groups: dict[str, tuple[str, RunFolder]] = {}
    for folder in folders:
        own = folder.read_splits().groups
        for case in sorted(scored & {volume.name for volume in folder.read_profile().volumes}):
            group, first = groups.setdefault(case, (own.get(case, "no group"), folder))
            if group != own.get(case, "no group"):
                raise DataError(
                    f"{case} in one group in all runs",
                    f"{group} in {first.path}, {own.get(case, 'no group')} in {folder.path}",
                    "compare runs that were started with the same groups",
                )
    if len(tolerances := {folder.read_config().evaluation.tolerance_um for folder in folders}) > 1:
        raise DataError(
            "the same tolerance of the normalised surface distance in all runs",
            " and ".join(f"{tolerance:g} µm" for tolerance in sorted(tolerances)),
            "compare runs with the same evaluation.tolerance_um",
        )


def _rows(folders: Sequence[RunFolder]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for folder, prefix in zip(folders, _prefixes([folder.path for folder in folders]), strict=True):
        left = folder.left_out()  # a stopped loss is not ranked, although some of its cells may be finished (--only)
        rows += [{**row.flat(), "method": prefix + row.method} for row in folder.read_rows() if row.method not in left]
    if not rows:
        raise RunError("a finished cell", f"none in {folders[0].path}", "run the experiment first")
    return rows


def _elsewhere(folders: Sequence[RunFolder]) -> tuple[str, ...]:
    """Return the names in the table of the methods that were trained elsewhere."""
    prefixes = _prefixes([folder.path for folder in folders])
    return tuple(
        prefix + record.name
        for folder, prefix in zip(folders, prefixes, strict=True)
        for record in folder.read_external()
    )


def _prefixes(paths: Sequence[Path]) -> list[str]:
    """Return prefixes that distinguish the runs in a table: the shortest ends of their paths that differ.

    The prefix of a single run is empty.

    Raises:
        ConfigError: A run is given twice.
    """
    parts = [path.resolve().parts for path in paths]
    if twice := [str(path) for path, part in zip(paths, parts, strict=True) if parts.count(part) > 1]:
        raise ConfigError("each run once", ", ".join(twice), "give each run only once")
    ends, depth = [""] * len(parts), 0
    while len(set(ends)) < len(parts):
        depth += 1
        ends = ["/".join([*part[-depth:], ""]) for part in parts]
    return ends


def _saved_comparison(folder: RunFolder, rows: list[dict[str, Any]], config: ExperimentConfig) -> Comparison | None:
    """Return the saved comparison; None if it is missing, damaged, or made from other cases or settings."""
    try:
        comparison = read_results(folder)
    except RunError:
        return None
    return comparison if comparison.source == _source(folder, rows, config) else None


def _compare_one_run(
    folder: RunFolder,
    rows: list[dict[str, Any]],
    config: ExperimentConfig,
    chosen: ComparisonConfig | None = None,
) -> Comparison:
    """Compare by the rule of the configuration, or by one that is chosen after the run."""
    fixed = Fixed(beforehand=chosen is None, before=config.comparison)
    special = {"elsewhere": _elsewhere([folder]), "stopped": folder.left_out()}
    comparison = _compare(rows, config, chosen or config.comparison, fixed, config.losses, **special)
    notes = (*comparison.notes, *_run_notes(folder))
    return comparison.model_copy(update={"notes": notes, "source": _source(folder, rows, config)})


def _compare(
    rows: list[dict[str, Any]],
    config: ExperimentConfig,
    rule: ComparisonConfig | None,
    fixed: Fixed,
    planned: Sequence[str] = (),
    *,
    elsewhere: Sequence[str] = (),
    stopped: Sequence[str] = (),
) -> Comparison:
    # A known baseline is a baseline even if the configuration does not name it now.
    baselines = tuple(name for row in rows if (name := row["method"]).rpartition("/")[2] in BASELINES)
    wanted = (*([rule.primary] if rule else []), *config.evaluation.metrics)
    measured = {metric: shared_metric(metric, rows) for metric in wanted}
    metrics = tuple(dict.fromkeys(measured.values()))
    if rule:
        rule = rule.model_copy(update={"primary": measured[rule.primary]})
    found = compare(
        rows,
        metrics,
        baselines=baselines,
        planned=planned,
        elsewhere=elsewhere,
        stopped=stopped,
        rule=rule,
        fixed=fixed,
        resamples=config.evaluation.resamples,
    )
    replaced = [_replaced_note(rows, *names) for names in measured.items() if names[0] != names[1]]
    return found.model_copy(update={"notes": (*replaced, *found.notes)})


def _replaced_note(rows: list[dict[str, Any]], metric: str, other: str) -> str:
    return (
        f"{METRICS[metric].title} ({metric}) is not compared, because an older version of minivess that did not measure it "
        f"scored {first_few(_lacking(rows, metric))}. {METRICS[other].title} ({other}), which all cases have, is compared "
        f"instead. To compare {metric}, {_SCORE_AGAIN}."
    )


def _micro_batch_notes(folder: RunFolder) -> Iterator[str]:
    """Yield a note if cells trained with different numbers of patches per forward pass: most losses depend on it."""
    found = [(cell.path.name, cell.read_result()) for cell in folder.cells() if cell.finished]
    sizes = {name: result.micro_batch for name, result in found if result.method not in BASELINES}
    fewer = [f"{size} in {name}" for name, size in sizes.items() if size < max(sizes.values())]
    if fewer:
        yield (
            f"Because memory ran out, cells trained with different numbers of patches per forward pass: {max(sizes.values())}, "
            f"but {', '.join(fewer)}. Losses that sum over a pass, which are all except cross-entropy, then differ slightly."
        )


def _code_notes(folder: RunFolder) -> Iterator[str]:
    """Yield a note if the cells, or the attempts of one cell, ran with different code (``--accept-changed-code``)."""
    codes = [(cell.path.name, code) for cell in folder.cells() if cell.finished for code in cell.read_codes()]
    changed: dict[str, list[str]] = {}
    builders: dict[str, str] = {}  # each loss and network as the first cell that uses it had it
    for name, code in codes:
        builders = {**code.builders, **builders}
        first = codes[0][1].model_copy(update={"builders": {own: builders[own] for own in code.builders}})
        for difference in first.differences(code):
            changed.setdefault(difference, []).append(name)
    if changed:
        found = "; ".join(f"{what} ({first_few(list(dict.fromkeys(names)))})" for what, names in changed.items())
        yield (
            "The code changed while this run was trained, and the change was accepted (--accept-changed-code). "
            f"Compared with {codes[0][0]}: {found}. Differences between losses can come from that."
        )


def _run_notes(folder: RunFolder) -> list[str]:
    fairness = [record.fairness for record in folder.read_external()]
    return [
        *_label_notes(folder),
        *_race_notes(folder),
        *_micro_batch_notes(folder),
        *_code_notes(folder),
        *fairness,
    ]


def _label_notes(folder: RunFolder) -> Iterator[str]:
    known = folder.read_profile().known_fraction
    if known is not None and known < 1:
        yield f"Only {known:.1%} of the voxels are labelled and scored. Do not compare these scores with those of complete labels."


def _race_notes(folder: RunFolder) -> Iterator[str]:
    """Yield when and why each loss was stopped by a race, and what that means for the tests."""
    race, left = folder.read_race(), folder.left_out()
    for loss in race.stopped:
        continued = "" if loss in left else " It was continued later, to its end, and is ranked."
        yield race.why(loss) + continued
    if left:
        yield (
            "Losses that the race stopped are not ranked as if trained. p values are corrected for all planned losses, "
            "the stopped ones included."
        )


def _source(folder: RunFolder, rows: list[dict[str, Any]], config: ExperimentConfig) -> str:
    rule = config.comparison and config.comparison.model_dump(mode="json")
    facts = [config.losses, config.evaluation.model_dump(mode="json"), rule, _run_notes(folder)]
    source = json.dumps([version("minivess"), _VERSION, rows, *facts])
    return hashlib.blake2b(source.encode(), digest_size=16).hexdigest()


def _as_csv(rows: list[dict[str, Any]]) -> str:
    return csv_text(list(rows[0]), [list(row.values()) for row in rows])
