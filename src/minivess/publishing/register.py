"""Register the model that a run recommends in MLflow. Everything is read from the run folder, so it can be repeated at any time."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from minivess.digests import seal
from minivess.errors import MinivessError, RunError
from minivess.experiments.best_model import BestModel, find_best_model
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.results import write_results
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.models.model_profile import WEIGHTS_FILE
from minivess.publishing.sync_run import experiment_name, sync_ids, sync_run, tracking_uri
from minivess.statistics.comparison import Comparison
from minivess.tracking.mlflow import TrackingError
from minivess.tracking.model_registry import ModelRecord, ModelRegistry, Version
from minivess.tracking.provenance import data_version

CASES, DATA_TAG = "cases.json", "data_hash"
_LOADER = "minivess.inference.mlflow_model"


def publish(folder: RunFolder) -> str:
    """Update MLflow from a run and register its model.

    Args:
        folder: The run folder.

    Returns:
        Lines that say where experiment and model are in MLflow; "" if the configuration disables MLflow.

    Raises:
        TrackingError: MLflow cannot be reached; no result of the run is lost, and the call may be repeated.
        RunError: The weights to register are missing.
    """
    config = folder.read_config()
    uri = tracking_uri(folder)
    if uri is None:
        return ""
    found = register_run(folder)
    lines = [f"MLflow: experiment {experiment_name(config)!r} in {uri}"]
    if found is not None:
        version, is_new = found
        lines.append(f"Model: {version}, {'registered for staging' if is_new else 'registered before'}")
    return "\n".join(lines)


def publish_quietly(folder: RunFolder) -> str:
    """Like ``publish``, for the end of a run: if MLflow fails, return a note instead of raising an error."""
    try:
        return publish(folder)
    except (MinivessError, OSError) as error:
        return f"MLflow was not updated: {error}"


def register_run(folder: RunFolder) -> tuple[Version, bool] | None:
    """Sync a run with MLflow and register the network that it recommends.

    Args:
        folder: The run folder.

    Returns:
        The version in the registry and whether it is new; None if no loss has finished on every fold.

    Raises:
        TrackingError: MLflow cannot be reached, or the configuration disables it.
        RunError: The weights are missing.
    """
    config = folder.read_config()
    synced, uri = sync_run(folder), tracking_uri(folder)
    if synced is None or uri is None:
        raise TrackingError(
            "a run that is tracked in MLflow", "tracking_uri: none", "set tracking_uri in config.yaml of the run folder"
        )
    found = find_best_model(folder)
    if found is None:
        return None
    run_id = synced.cell_run_ids[found.cell.path.name]
    return ModelRegistry(uri).register(_record(folder, config, found), synced.experiment_id, run_id, sync_ids(folder))


def _record(folder: RunFolder, config: ExperimentConfig, found: BestModel) -> ModelRecord:
    environment = found.cell.read_environment()
    comparison = write_results(folder)
    kept = (folder.config, folder.plan, folder.splits, folder.profile, folder.comparison)
    evidence = {path.name: path.read_text(encoding="utf-8") for path in kept}
    evidence["environment.json"] = found.cell.environment.read_text(encoding="utf-8")
    evidence[CASES] = seal(json.dumps({"rows": [row.flat() for row in found.rows]}, indent=1))
    return ModelRecord(
        name=re.sub(r"[^\w -]", "_", experiment_name(config)),  # only the characters that MLflow allows
        description=f"{found.loss}, the best mean dsc of {found.rivals}; network of fold {found.fold}. "
        'Call predict({"path": "volume.nii.gz"}) or predict({"voxels": array}).',
        weights=found.cell.weights,
        weights_sha256=_digest(found.cell),
        loader=_LOADER,
        params={"overlap": float(folder.read_plan().overlap), "mirror": False, "probabilities": False},
        example=[[[float(x * y + z) for z in range(4)] for y in range(8)] for x in range(8)],
        requirements=environment["frozen"],
        evidence=evidence,
        tags={**_provenance(folder, config, environment), **_figures(found, comparison)},
    )


def _provenance(folder: RunFolder, config: ExperimentConfig, environment: dict[str, Any]) -> dict[str, str]:
    git = environment["git"] or {}
    profile = folder.read_profile()
    dvc = data_version(config.data_dir) if config.data_dir is not None else None
    tags = {
        "run": folder.path.name,
        "model": folder.read_plan().network.model,
        "git_sha": str(git.get("sha", "unknown")),
        "git_dirty": str(git.get("dirty", "unknown")).lower(),
        DATA_TAG: str(profile.content_hash),
        "config": config.model_dump_json(),
        "frozen_sha256": hashlib.sha256("\n".join(environment["frozen"]).encode()).hexdigest(),
    }
    return tags if dvc is None else {**tags, "dvc_hash": dvc["md5"]}


def _figures(found: BestModel, comparison: Comparison) -> dict[str, str]:
    """Return mean and interval of the loss over all its cases, for every metric of the comparison."""
    figures = {"loss": found.loss, "fold": str(found.fold)}
    for metric in comparison.metrics:
        figures[metric.metric] = f"{metric.score(found.loss).interval} {metric.unit}".strip()
    return figures


def _digest(cell: CellFolder) -> str:
    weights: Path = cell.weights / WEIGHTS_FILE
    try:
        with weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        cure = "delete the cell's result.json and repeat the run: it trains that cell again"
        raise RunError("the weights of a finished cell", f"no file {weights}", cure) from error
