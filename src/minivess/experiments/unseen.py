"""Score the test set at the end of a run, by the network that is registered.

Until every cell has finished, only the headers of the test cases are read. Then their voxels are measured and stored
like those of the other cases, and a process predicts and scores them. The scores are in no comparison.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from minivess.atomic import write_text
from minivess.csv_text import csv_text
from minivess.data.array_store import build_store
from minivess.data.checks.dataset import check_copies
from minivess.data.dataset_profile import DatasetProfile
from minivess.data.layouts.cases import Case
from minivess.data.profiler import scan_cases
from minivess.errors import DataError, MinivessError, RunError
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.best_model import BestModel, find_best_model
from minivess.experiments.cell_key import CellKey
from minivess.experiments.cell_process import RunObserver, supervise
from minivess.experiments.final_model import model_folder
from minivess.experiments.prepare import Prepared, store_root
from minivess.experiments.run_folder import RunFolder, UnseenFolder
from minivess.experiments.unseen_scores import UnseenScores, read_unseen
from minivess.findings import raise_critical
from minivess.json_files import read_state, write_state
from minivess.locks import hold
from minivess.models.ensemble import digest_of_model
from minivess.planning.plan import TrainingPlan
from minivess.supervision.outcome import Outcome, failure

NAME = "test set"
_REPEAT = "correct this and run the same command again: nothing is trained again"


class UnseenSpec(BaseModel):
    """Input of the process that predicts and scores the test set.

    Attributes:
        key: The cell whose network is used, or the first one of an ensemble: loss, fold, repeat.
        weights: Folder of the model.
        weights_digest: Digest of the model, which tells it from one with cells that were trained again.
        store: Folder of the store with the test set.
        names: Names of the test cases.
        groups: Group of each test case; empty without groups.
        plan: Patch, overlap and precision of the prediction.
        tolerance_um: Tolerance of the normalised surface distance, in micrometre.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: CellKey
    weights: Path
    weights_digest: str
    store: Path
    names: tuple[str, ...]
    groups: dict[str, str]
    plan: TrainingPlan
    tolerance_um: float


def is_due(prepared: Prepared) -> bool:
    """Whether the run has a test set and all cells that it trains to their end are finished.

    A trial on fewer cases leaves the test set alone.
    """
    config, folder = prepared.config, prepared.folder
    finished = all(folder.cell(*cell).finished for cell in folder.cells_to_finish(config))
    return bool(prepared.test) and config.cases is None and finished


def score_unseen(prepared: Prepared, observer: RunObserver) -> Outcome | None:
    """Predict and score the test set with the registered network, and write ``results/test.csv`` and ``test.json``.

    Args:
        prepared: The run, all of whose cells are finished (`is_due`).
        observer: Receives progress.

    Returns:
        How the scoring ended; None if this network was scored before.

    Raises:
        RunError: The scoring was interrupted, or another process holds the run folder.
    """
    folder = prepared.folder
    with hold(folder.path / ".lock") as lock:
        found = find_best_model(folder)
        assert found is not None, "a loss finished, because all cells did"
        place, scored = folder.unseen(found.name), read_unseen(folder)
        untrained = [cell.path.name for cell in found.members if not cell.trained]
        if untrained:
            cure = "delete its result.json and repeat the run: it trains that cell again"
            return failure(f"the weights of {untrained[0]} are missing", cure)
        weights = model_folder(folder, found)
        digest = digest_of_model(weights)
        if not _is_same_network(place, digest):
            _put_aside(place)
        if place.result.is_file() and scored is not None and scored.cell == found.name:
            return None
        try:
            profile = _measure(prepared)
            store = build_store(profile, store_root(prepared.config), observer.on_volume_stored)
        except MinivessError as error:
            return failure(f"expected {error.expected}; got {error.got}", f"{error.cure}; {_REPEAT}")
        write_state(place.spec, _spec(prepared, found, weights.absolute(), store.folder.absolute(), digest))
        outcome = supervise(place.path, "unseen", prepared, partial(observer.on_progress, NAME), lock)
        if outcome.status == "stopped":
            raise RunError("a run that ends by itself", f"an interrupt in the {NAME}: {outcome.message}", outcome.cure)
        if outcome.status == "finished":
            _write(folder, found.name, profile)
    return outcome


def _is_same_network(place: UnseenFolder, digest: str) -> bool:
    """Whether the scores in the folder, if there are any, are of the network with this digest."""
    if not place.spec.is_file():
        return False
    return read_state(place.spec, UnseenSpec, f"delete {place.path}; {_REPEAT}").weights_digest == digest


def _put_aside(place: UnseenFolder) -> None:
    """Make room for the scores of another network of the cell. Those of the earlier one stay, so that they are known."""
    if place.result.is_file():
        number = 1 + len(list(place.path.parent.glob(f"{place.path.name}-before-*")))
        place.path.rename(place.path.with_name(f"{place.path.name}-before-{number}"))
    else:
        shutil.rmtree(place.path, ignore_errors=True)


def _measure(prepared: Prepared) -> DatasetProfile:
    """Read the voxels of the test set for the first time.

    Raises:
        DataError: A file is damaged, or a test image is also a training image.
    """
    cases = [
        Case(volume.name, Path(volume.image), None if volume.label is None else Path(volume.label))
        for volume in prepared.test
    ]
    ignore_value = prepared.config.data.ignore_value
    volumes, unread = scan_cases(cases, voxels=True, ignore_value=ignore_value)
    copies = check_copies([*prepared.profile.volumes, *volumes])
    names = {case.name for case in cases}
    shared = [finding for finding in copies if names & set(finding.what.split(" = "))]
    raise_critical([*unread, *(finding for volume in volumes for finding in volume.findings), *shared], DataError)
    return DatasetProfile(folder=prepared.profile.folder, volumes=volumes, ignore_value=ignore_value)


def _spec(prepared: Prepared, found: BestModel, weights: Path, store: Path, digest: str) -> UnseenSpec:
    spec, names = found.cell.read_spec(), [volume.name for volume in prepared.test]
    groups = prepared.splits.groups
    return UnseenSpec(
        key=spec.key,
        weights=weights,
        weights_digest=digest,
        store=store,
        names=tuple(names),
        groups={name: groups[name] for name in names if name in groups},
        plan=spec.plan,
        tolerance_um=spec.tolerance_um,
    )


def _write(folder: RunFolder, name: str, profile: DatasetProfile) -> None:
    rows = read_state(folder.unseen(name).result, UnseenRows, _REPEAT).rows
    others = (path.parent.name for path in folder.path.glob("test/*/result.json"))
    scores = UnseenScores(
        cell=name,
        content_hash=str(profile.content_hash),
        rows=rows,
        earlier=tuple(sorted(other for other in others if other != name)),
    )
    flat = [row.flat() for row in rows]
    write_text(folder.test_cases, csv_text(list(flat[0]), [list(row.values()) for row in flat]))
    write_state(folder.test_scores, scores)


class UnseenRows(BaseModel):
    """Result of the process that scored the test set: one row for each case."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[CaseRow, ...]
