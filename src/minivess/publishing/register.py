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
from minivess.experiments.final_model import model_folder
from minivess.experiments.results import write_results
from minivess.experiments.run_folder import RunFolder
from minivess.experiments.unseen_scores import read_unseen
from minivess.masking import mask_uri
from minivess.models.ensemble import digest_of_model
from minivess.publishing.scores import CASES, Judge
from minivess.publishing.sync_run import experiment_name, sync_run
from minivess.statistics.comparison import Comparison
from minivess.tracking.model_registry import ModelRecord, ModelRegistry, Registered
from minivess.tracking.provenance import data_version

DATA_TAG, METRIC_TAG = "data_hash", "chosen_by"
_LOADER = "minivess.inference.mlflow_model"


def publish(folder: RunFolder, uri: str | None) -> str:
    """Update MLflow from a run and register its model.

    Args:
        folder: The run folder.
        uri: Address of MLflow from ``tracking_uri`` or ``own_tracking_uri``; None if MLflow is switched off.

    Returns:
        Lines that say where experiment and model are in MLflow; "" if MLflow is switched off.

    Raises:
        TrackingError: MLflow cannot be reached; no result of the run is lost, and the call may be repeated.
        RunError: The weights to register are missing.
    """
    if uri is None:
        return ""
    found = register_run(folder, uri)
    lines = [f"MLflow: experiment {experiment_name(folder.read_config())!r} in {mask_uri(uri)}"]
    if found is not None:
        lines.append(f"Model: {found.version}, {_state(found)}")
    return "\n".join(lines)


def _state(found: Registered) -> str:
    """Say whether the version is new and which version has the alias ``staging``, unless all were promoted."""
    is_staged = found.version.number == found.staged
    how = ("registered for staging" if is_staged else "registered") if found.is_new else "registered before"
    other = found.staged is not None and not is_staged
    return f"{how}; staging is version {found.staged}, which is not worse" if other else how


def publish_quietly(folder: RunFolder, uri: str | None) -> str:
    """Like ``publish``, for the end of a run: if MLflow fails, return a note instead of raising an error."""
    try:
        return publish(folder, uri)
    except (MinivessError, OSError) as error:
        return f"MLflow was not updated: {error}"


def register_run(folder: RunFolder, uri: str) -> Registered | None:
    """Sync a run with MLflow and register the network that it recommends.

    Args:
        folder: The run folder.
        uri: Address of MLflow.

    Returns:
        The model in the registry; None if no loss has finished on every fold.

    Raises:
        TrackingError: MLflow cannot be reached.
        RunError: The weights are missing.
    """
    config = folder.read_config()
    synced = sync_run(folder, uri)
    found = find_best_model(folder)
    if found is None:
        return None
    run_id = synced.cell_run_ids[found.cell.path.name]
    registry = ModelRegistry(uri)
    better = Judge(registry, found.metric).is_better
    return registry.register(_record(folder, config, found), synced.experiment_id, run_id, better)


def _record(folder: RunFolder, config: ExperimentConfig, found: BestModel) -> ModelRecord:
    environment = found.cell.read_environment()
    comparison = write_results(folder)
    weights = model_folder(folder, found)
    kept = (folder.config, folder.plan, folder.splits, folder.profile, folder.comparison)
    evidence = {path.name: path.read_text(encoding="utf-8") for path in kept}
    if folder.test_scores.is_file():
        evidence[folder.test_scores.name] = folder.test_scores.read_text(encoding="utf-8")
    evidence["environment.json"] = found.cell.environment.read_text(encoding="utf-8")
    evidence[CASES] = seal(json.dumps({"rows": [row.flat() for row in found.rows]}, indent=1))
    return ModelRecord(
        name=re.sub(r"[^\w -]", "_", experiment_name(config)),  # only the characters that MLflow allows
        description=f"{found.loss}, the best mean {found.metric} of {found.rivals}; {found.place}. "
        'Call predict({"path": "volume.nii.gz"}) or predict({"voxels": array}).',
        weights=weights,
        weights_sha256=_digest(weights),
        loader=_LOADER,
        params={"overlap": float(folder.read_plan().overlap), "mirror": False, "probabilities": False},
        example=[[[float(x * y + z) for z in range(4)] for y in range(8)] for x in range(8)],
        requirements=environment["frozen"],
        evidence=evidence,
        tags={
            **_provenance(folder, config, environment),
            **_figures(found, comparison),
            **_test_figures(folder, found, comparison),
        },
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
        DATA_TAG: profile.store_key,
        "config": config.model_dump_json(),
        "frozen_sha256": hashlib.sha256("\n".join(environment["frozen"]).encode()).hexdigest(),
    }
    return tags if dvc is None else {**tags, "dvc_hash": dvc["md5"]}


def _figures(found: BestModel, comparison: Comparison) -> dict[str, str]:
    """Return mean and interval of the loss over all its cases, for every metric of the comparison."""
    figures = {"loss": found.loss, "fold": str(found.fold), "repeat": str(found.repeat), METRIC_TAG: found.metric}
    for metric in comparison.metrics:
        figures[metric.metric] = f"{metric.score(found.loss).interval} {metric.unit}".strip()
    return figures


def _test_figures(folder: RunFolder, found: BestModel, comparison: Comparison) -> dict[str, str]:
    """Return mean and interval over the test set of this model, as tags ``test_NAME``; none without a test set."""
    unseen = read_unseen(folder)
    if unseen is None or unseen.cell != found.name:
        return {}
    return {
        f"test_{metric.metric}": f"{unseen.interval(metric.metric)} {metric.unit}".strip()
        for metric in comparison.metrics
    }


def _digest(weights: Path) -> str:
    try:
        return digest_of_model(weights)
    except OSError as error:
        cure = "delete the cell's result.json and repeat the run: it trains that cell again"
        raise RunError("the weights of a finished cell", f"no file {error.filename}", cure) from error
