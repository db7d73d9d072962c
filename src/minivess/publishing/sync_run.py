"""Send a run folder to MLflow. Everything is read from disk, so it can be repeated at any time."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from minivess.errors import ConfigError
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.external_method import ExternalRecord
from minivess.experiments.race_record import RaceRecord
from minivess.experiments.run_folder import CellFolder, RunFolder, refuse_links
from minivess.experiments.unseen_scores import UnseenScores, is_of_ensemble, read_unseen
from minivess.locks import is_held
from minivess.masking import has_password
from minivess.metrics.catalogue import METRICS
from minivess.statistics.resampling import SMALLEST_STRATUM, mean_interval
from minivess.supervision.exit_codes import HEARTBEAT_FILE
from minivess.supervision.outcome import Outcome, read_outcome
from minivess.text import counted
from minivess.tracking.mlflow import LOCK_FILE, SyncResult, sync
from minivess.tracking.run_record import CellRecord, RunRecord, Status
from minivess.tracking.uris import DATABASE_FILE, database_of, sqlite_uri

VARIABLE = "MLFLOW_TRACKING_URI"


def sync_run(folder: RunFolder, uri: str) -> SyncResult:
    """Update MLflow from a run folder, whether its cells still run or not.

    Args:
        folder: The run folder.
        uri: Address of MLflow.

    Returns:
        Where MLflow stores the run.

    Raises:
        TrackingError: MLflow cannot be reached; no result of the run is lost, and the call may be repeated.
        RunError: The folder is not a run folder, or contains a link, which could send another file or be written through.
    """
    refuse_links(folder.path)
    return sync(_run_record(folder, folder.read_config()), uri, sync_ids(folder))


def own_tracking_uri(config: ExperimentConfig) -> str | None:
    """Return MLflow's address for a run that the user starts; None if MLflow is switched off.

    It is the one in the user's YAML, else in MLFLOW_TRACKING_URI, else the database in the output folder.

    Raises:
        ConfigError: The address is not usable.
    """
    if config.tracking_uri == "none":
        return None
    named = config.tracking_uri or os.environ.get(VARIABLE)
    return _checked(named) if named else sqlite_uri(config.output_dir / DATABASE_FILE)


def tracking_uri(folder: RunFolder, given: str | None = None) -> str | None:
    """Return MLflow's address for a run folder that may come from somebody else.

    It is the one that the user gives, else in MLFLOW_TRACKING_URI, else the database next to the run folder. The address in
    config.yaml is not used, because MLflow sends passwords and tokens of the user to it.

    Args:
        folder: The run folder.
        given: The option ``--tracking-uri``.

    Returns:
        The address; None if config.yaml switches MLflow off and the user gives none.

    Raises:
        ConfigError: Only config.yaml names an address, or the address is not usable.
    """
    named, default = folder.read_config().tracking_uri, sqlite_uri(_output_folder(folder) / DATABASE_FILE)
    if given:
        return _checked(given)
    if named == "none":
        return None
    if chosen := os.environ.get(VARIABLE):
        return _checked(chosen)
    if named is None or _is_same_file(named, default):
        return default
    raise ConfigError(
        f"an MLflow address from you: --tracking-uri or {VARIABLE}",
        f"{named}, which only {folder.config} names",
        "if you trust it (a server receives your MLflow password or token), repeat with "
        f"--tracking-uri {shlex.quote(named)}",
    )


def _is_same_file(first: str, second: str) -> bool:
    paths = [database_of(uri) for uri in (first, second)]
    return None not in paths and len({path.resolve() for path in paths if path}) == 1


def _checked(uri: str) -> str:
    """Return the address. One with a space and a password could not be masked.

    Raises:
        ConfigError: It has both.
    """
    if re.search(r"\s", uri) and has_password(uri):
        raise ConfigError("an MLflow address without spaces", "one with a space", "write %20 for each space")
    return uri


def _output_folder(folder: RunFolder) -> Path:
    """Return the parent of the run folder. The configured output_dir may be relative to another folder, or the run may have moved."""
    return folder.path.absolute().parent


def sync_ids(folder: RunFolder) -> Path:
    """Return the path of the file that records what MLflow has received from a run."""
    return folder.path / "mlflow.json"


def experiment_name(config: ExperimentConfig) -> str:
    """Return the name of the experiment in MLflow."""
    return config.experiment_name or config.name


def _run_record(folder: RunFolder, config: ExperimentConfig) -> RunRecord:
    tags = _provenance(folder)
    race, unseen = folder.read_race(), read_unseen(folder)
    cells = [
        _cell_record(cell, tags, race, unseen if unseen is not None and unseen.cell == cell.path.name else None)
        for cell in folder.cells()
    ]
    external = [cell for record in folder.read_external() for cell in _external_records(folder, record, tags)]
    planned = {cell.name for cell in folder.cells_to_finish(config)}
    running = is_held(folder.path / LOCK_FILE)
    files = (folder.config, folder.profile, folder.splits, folder.plan, folder.preflight, folder.environment)
    return RunRecord(
        name=experiment_name(config),
        status="running" if running else _run_status(cells, planned, race),
        params={
            "config": config.model_dump(mode="json"),
            "plan": folder.read_plan().model_dump(mode="json", exclude={"reasons"}),
        },
        metrics=_test_metrics(unseen) if unseen is not None and is_of_ensemble(unseen) else {},
        tags={**tags, "repeats": str(config.repeats)},
        artifacts=(*files, folder.path / "results", folder.report) if not running else (),
        cells=[*cells, *external],
        started_ms=_modified_ms(folder.splits),
        ended_ms=None if running or not cells else max(cell.ended_ms or 0 for cell in cells) or None,
    )


def _provenance(folder: RunFolder) -> dict[str, str]:
    git = folder.read_environment()["git"] or {}
    return {
        "git_sha": str(git.get("sha", "unknown")),
        "git_dirty": str(git.get("dirty", "unknown")).lower(),
        "data_hash": folder.read_profile().store_key,
    }


def _cell_record(
    cell: CellFolder, tags: Mapping[str, str], race: RaceRecord, unseen: UnseenScores | None
) -> CellRecord:
    spec, outcome = cell.read_spec(), read_outcome(cell.path)
    status = _cell_status(cell, outcome)
    metrics: dict[str, float] = {}
    tags = {
        **tags,
        "loss": spec.method,
        "fold": str(spec.fold),
        "repeat": str(spec.repeat),
        "cases": str(len(spec.held_out)),
    }
    if cell.finished:
        metrics, note = _final_metrics(cell, _modified_ms(cell.result))
        tags |= {"note": note} if note else {}
    if spec.method in race.stopped:
        tags |= {"race": race.why(spec.method)}
    if unseen is not None:
        metrics = {**metrics, **_test_metrics(unseen)}
    if outcome is not None:
        metrics = {**metrics, "peak_memory_bytes": float(outcome.peak_anonymous_bytes), "seconds": outcome.duration_s}
        tags |= {"cause": outcome.cause}
    return CellRecord(
        name=cell.path.name,
        method=spec.method,
        fold=spec.fold,
        repeat=spec.repeat,
        status=status,
        params=spec.model_dump(mode="json", include={"training", "seed", "loss_options"}),
        history=[_epoch(line) for line in cell.read_journal()],
        metrics=metrics,
        tags=tags,
        artifacts=(cell.spec, cell.monitor, cell.result, cell.log) if status != "running" else (),
        started_ms=_modified_ms(cell.spec),
        ended_ms=None if status == "running" else _ended_ms(cell, outcome),
    )


def _external_records(folder: RunFolder, record: ExternalRecord, tags: Mapping[str, str]) -> Iterator[CellRecord]:
    """Yield one record per fold of a method that was trained elsewhere."""
    file = folder.external(record.name).record
    for fold in sorted({row.fold for row in record.rows}):
        rows = [row for row in record.rows if row.fold == fold]
        metrics, note = _mean_metrics(rows)
        own = {"fold": str(fold), "cases": str(len(rows)), "trained_elsewhere": record.trained_on}
        yield CellRecord(
            name=f"{record.name}-fold{fold}",
            method=record.name,
            fold=fold,
            status="finished",
            metrics=metrics,
            tags={**tags, **own, "note": f"{record.fairness} {note}".strip()},
            artifacts=(file,),
            started_ms=_modified_ms(file),
            ended_ms=_modified_ms(file),
        )


def _epoch(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the journal in which the score of the watched case has a name of its own: it is not the fold's score."""
    return {f"watched/{key}" if key in METRICS else key: value for key, value in line.items()}


@cache
def _final_metrics(cell: CellFolder, modified_ms: int) -> tuple[dict[str, float], str]:
    """Return mean and interval over the fold's cases, for every metric that was measured, and a note about few cases.

    Computing the intervals takes a second, and a sync repeats it for every cell; so the values are kept until the result
    changes.
    """
    return _mean_metrics(cell.read_result().rows)


def _mean_metrics(scored: Sequence[CaseRow]) -> tuple[dict[str, float], str]:
    rows: list[dict[str, Any]] = [row.flat() for row in scored]
    metrics: dict[str, float] = {}
    for name in METRICS:
        if any(row[name] is None for row in rows):  # scored by an older version
            continue
        interval = mean_interval([row[name] for row in rows])
        metrics |= {name: interval.mean, f"{name}/low": interval.low, f"{name}/high": interval.high}
    few = len(rows) < SMALLEST_STRATUM
    return metrics, f"Only {counted(len(rows), 'case')}: the intervals are too narrow." if few else ""


def _test_metrics(unseen: UnseenScores) -> dict[str, float]:
    """Return mean and interval of the test set for every metric; they do not describe the fold, so they are ``test/NAME``."""
    intervals = {name: unseen.interval(name) for name in METRICS}
    return {
        f"test/{name}{end}": value
        for name, found in intervals.items()
        for end, value in (("", found.mean), ("/low", found.low), ("/high", found.high))
    }


def _cell_status(cell: CellFolder, outcome: Outcome | None) -> Status:
    if cell.finished:
        return "finished"
    if is_held(cell.path / LOCK_FILE):
        return "running"
    # Without an outcome, its supervisor was killed. A paused cell waits, or its loss was stopped by the race.
    return "stopped" if outcome is None or outcome.status == "paused" else outcome.status


def _ended_ms(cell: CellFolder, outcome: Outcome | None) -> int | None:
    """Return the end of the last attempt; if its supervisor was killed, the last sign of life of its process."""
    if outcome is not None:
        return int(datetime.fromisoformat(outcome.ended_iso).timestamp() * 1000)
    signs = [path for path in (cell.path / HEARTBEAT_FILE, cell.journal, cell.spec) if path.is_file()]
    return max(map(_modified_ms, signs))


def _run_status(cells: list[CellRecord], planned: set[str], race: RaceRecord) -> Status:
    cells = [cell for cell in cells if cell.name in planned or cell.method not in race.stopped]
    if any(cell.status == "failed" for cell in cells):
        return "failed"
    return "finished" if len(cells) == len(planned) and all(cell.status == "finished" for cell in cells) else "stopped"


def _modified_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000
