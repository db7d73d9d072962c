"""The model that a run keeps: the ensemble of the best loss in the folder ``model``, or the network of one cell."""

from __future__ import annotations

from pathlib import Path

from minivess.errors import DataError, RunError
from minivess.experiments.best_model import BestModel, find_best_model
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.models.ensemble import ENSEMBLE_FILE, write_ensemble
from minivess.models.model_profile import SPEC_FILE


def model_folder(folder: RunFolder, found: BestModel) -> Path:
    """Return the folder of the model; that of an ensemble is written if it is not there yet.

    Raises:
        DataError: The weights of a network are missing.
    """
    if len(found.members) == 1:
        return found.cell.weights
    write_ensemble(folder.model, {cell.path.name: cell.weights for cell in found.members})
    return folder.model


def is_model(path: Path) -> bool:
    """Whether a path is a folder that `find_model` takes: of a run, a cell, weights or an ensemble."""
    return (
        CellFolder(path).weights.is_dir()
        or RunFolder(path).config.is_file()
        or any((path / name).is_file() for name in (SPEC_FILE, ENSEMBLE_FILE))
    )


def find_model(path: Path) -> Path:
    """Return the model folder that a path names: a run folder, a cell folder, or a folder of weights or of an ensemble.

    Raises:
        DataError: It is a run without a finished loss.
        RunError: It is a damaged run folder.
    """
    cell = CellFolder(path)
    if cell.weights.is_dir():
        return cell.weights
    run = RunFolder(path)
    if not run.config.is_file():
        return path
    found = find_best_model(run)
    if found is None:
        raise DataError("a run in which a loss has finished on every fold", f"none in {path}", "finish the run first")
    try:
        return model_folder(run, found)
    except PermissionError as error:
        raise RunError(
            "a run folder that can be written to", f"{path}: {error.strerror}", "name one of its cells"
        ) from error
