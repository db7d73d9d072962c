"""Send a run folder to MLflow. Everything is read from disk, so it can be repeated at any time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from minivess.experiments.config import ARTIFACTS_FOLDER, DATABASE_FILE, ExperimentConfig
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.metrics.catalogue import METRICS
from minivess.statistics.resampling import mean_interval
from minivess.supervision.outcome import Outcome, read_outcome
from minivess.tracking.mlflow import SyncResult, sync
from minivess.tracking.run_record import CellRecord, RunRecord, Status


def sync_run(folder: RunFolder) -> SyncResult | None:
    """Update MLflow from a run folder.

    Args:
        folder: The run folder.

    Returns:
        Where MLflow stores the run; None if the configuration disables MLflow.

    Raises:
        TrackingError: MLflow cannot be reached; no result of the run is lost, and the call may be repeated.
    """
    config = folder.read_config()
    uri = tracking_uri(folder)
    if uri is None:
        return None
    artifacts = None if config.tracking_uri else _output_folder(folder) / ARTIFACTS_FOLDER
    return sync(_run_record(folder, config), uri, artifacts, sync_ids(folder))


def tracking_uri(folder: RunFolder) -> str | None:
    """Return MLflow's address: the configured one, else a database next to the run folder; None if MLflow is disabled."""
    named = folder.read_config().tracking_uri
    return None if named == "none" else named or f"sqlite:///{_output_folder(folder) / DATABASE_FILE}"


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
    cells = [_cell_record(cell) for cell in folder.cells()]
    environment = folder.read_environment()
    planned = config.folds * len({*config.losses, *config.evaluation.baselines})
    files = (folder.config, folder.profile, folder.splits, folder.plan, folder.preflight, folder.environment)
    return RunRecord(
        name=experiment_name(config),
        status=_run_status(cells, planned),
        params={
            "config": config.model_dump(mode="json"),
            "plan": folder.read_plan().model_dump(mode="json", exclude={"reasons"}),
        },
        tags={"run_folder": str(folder.path), "git_sha": (environment["git"] or {}).get("sha", "unknown")},
        artifacts=(*files, folder.path / "results", folder.report),
        cells=cells,
        started_ms=_modified_ms(folder.splits),
        ended_ms=None if not cells else max(cell.ended_ms or 0 for cell in cells) or None,
    )


def _cell_record(cell: CellFolder) -> CellRecord:
    spec = cell.read_spec()
    outcome = read_outcome(cell.path)
    metrics = _final_metrics(cell) if cell.finished else {}
    if outcome is not None:
        metrics |= {"peak_memory_bytes": float(outcome.peak_anonymous_bytes), "seconds": outcome.duration_s}
    return CellRecord(
        name=cell.path.name,
        method=spec.method,
        fold=spec.fold,
        status=_cell_status(cell, outcome),
        params=spec.model_dump(mode="json", include={"training", "seed", "loss_options"}),
        history=cell.read_journal(),
        metrics=metrics,
        tags={"cause": outcome.cause} if outcome is not None else {},
        artifacts=(cell.spec, cell.monitor, cell.result, cell.log),
        started_ms=_modified_ms(cell.spec),
        ended_ms=int(datetime.fromisoformat(outcome.ended_iso).timestamp() * 1000) if outcome is not None else None,
    )


def _final_metrics(cell: CellFolder) -> dict[str, float]:
    """Return mean and interval over the fold's cases, for every metric of the catalogue."""
    result = cell.read_result()
    rows: list[dict[str, Any]] = [row.flat() for row in result.rows]
    metrics: dict[str, float] = {}
    for name in METRICS:
        interval = mean_interval([row[name] for row in rows])
        metrics |= {f"{name}/mean": interval.mean, f"{name}/low": interval.low, f"{name}/high": interval.high}
    return metrics


def _cell_status(cell: CellFolder, outcome: Outcome | None) -> Status:
    if cell.finished:
        return "finished"
    # A cell without an outcome has lost its supervisor to a kill, because no cell runs during a sync.
    return "stopped" if outcome is None else outcome.status


def _run_status(cells: list[CellRecord], planned: int) -> Status:
    if any(cell.status == "failed" for cell in cells):
        return "failed"
    return "finished" if len(cells) == planned and all(cell.status == "finished" for cell in cells) else "stopped"


def _modified_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000
