"""Damaged state files of a finished run: each has a digest, so no flipped bit may be read as if nothing had happened."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.damage import SHAPES, AcceptedDamageError, cut, flip_bit
from fuzz.workers import Kind
from minivess.data.array_store import Store, build_store
from minivess.data.profiler import load_profile
from minivess.digests import digest_of_file
from minivess.evaluation.evaluate import evaluate_cases
from minivess.experiments.results import read_results
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.models.weights import load_network
from minivess.supervision.outcome import read_outcome
from minivess.supervision.supervisor import SupervisorSpec
from minivess.tracking.ledger import Ledger
from minivess.training.checkpoint import CheckpointManager

Read = Callable[["StateFile", Path, Path, bytes], bool]
"""Takes the kind, the folder, the damaged file and what it held before; returns whether an undamaged copy was used."""


@dataclass(frozen=True)
class _Target:
    """Files of a folder that are read in one way; ``folder`` and ``files`` are patterns."""

    folder: str
    files: str
    read: Read


class StateFile(Kind):
    """One file of a run folder, a store or the weights: a flipped bit, a cut, or other JSON."""

    def __init__(self, folder: Path, base: Path) -> None:
        super().__init__(folder, base)
        self._targets = [target for target in _TARGETS if list(base.glob(f"{target.folder}/{target.files}"))]
        missing = {target.files for target in _TARGETS} - {target.files for target in self._targets}
        assert not missing, f"the run has no {missing}"
        for target in self._targets:
            self._require_whole(target)

    def attempt(self, rng: random.Random) -> str:
        target = rng.choice(self._targets)
        source = rng.choice(sorted(self.base.glob(f"{target.folder}/{target.files}")))
        folder = self._copy(target, source)
        path = folder / source.relative_to(_folder_of(target, source, self.base))
        before = source.read_bytes()
        data = _damaged(before, source.suffix, rng)
        path.write_bytes(data)
        shutil.copyfile(path, self.input / f"damaged-{path.name}")
        if target.read(self, folder, path, before):
            return "recovered"
        raise AcceptedDamageError(
            f"{source.relative_to(self.base)} of {len(before)} bytes, {len(data)} after the damage"
        )

    def _require_whole(self, target: _Target) -> None:
        """Read the undamaged files once, so that a reader that refuses everything is seen."""
        for source in sorted(self.base.glob(f"{target.folder}/{target.files}")):
            folder = self._copy(target, source)
            path = folder / source.relative_to(_folder_of(target, source, self.base))
            target.read(self, folder, path, source.read_bytes())

    def _copy(self, target: _Target, source: Path) -> Path:
        """Copy the folder of a file, without the large folders in it."""
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        leave = shutil.ignore_patterns("cells", "predictions", "figures", "checkpoints", "weights", "*.html")
        shutil.copytree(_folder_of(target, source, self.base), work / "folder", ignore=leave)
        return work / "folder"

    def rebuilt(self, store: Path) -> bool:
        """Build the store again if it is damaged; whether all its arrays are then those of the undamaged store."""
        profile = Store(self.base / "store" / store.name).profile
        built = build_store(profile, store.parent)
        for array in sorted((self.base / "store" / store.name).glob("*.npy")):
            if digest_of_file(array) != digest_of_file(built.folder / array.name):
                return False
        return built.profile == profile


def _folder_of(target: _Target, source: Path, base: Path) -> Path:
    """Return the folder of the target that contains a file."""
    return next(folder for folder in base.glob(target.folder) if folder in source.parents)


def _damaged(data: bytes, suffix: str, rng: random.Random) -> bytes:
    damaged = data
    while damaged == data:
        choice = rng.random()
        if choice < 0.6:
            damaged = flip_bit(data, rng)
        elif choice < 0.8 or suffix not in (".json", ".jsonl", ".yaml"):
            damaged = cut(data, rng)
        else:
            damaged = rng.choice(SHAPES)
    return damaged


def _reads(read: Callable[[Path], Any]) -> Read:
    """Read the folder; every damage must be an error."""

    def of_folder(kind: StateFile, folder: Path, path: Path, before: bytes) -> bool:
        read(folder)
        return False

    return of_folder


def _in_run(name: str, read: Callable[[RunFolder], Any]) -> _Target:
    return _Target("run", name, _reads(lambda folder: read(RunFolder(folder))))


def _in_cell(name: str, read: Callable[[CellFolder], Any]) -> _Target:
    return _Target("run/cells/*", name, _reads(lambda folder: read(CellFolder(folder))))


def _scores(kind: StateFile, folder: Path, path: Path, before: bytes) -> bool:
    def predict(case: Any) -> np.ndarray:
        raise AcceptedDamageError("a scored case was predicted again")

    names = sorted(record.stem for record in (folder / "cases").glob("*.json"))
    store: Any = None  # not used, because every case has its record
    evaluate_cases(
        folder, store, names, predict, method="dice_ce", fold=0, tolerance_um=2.0, progress=lambda done, total: None
    )
    return False


def _journal(kind: StateFile, folder: Path, path: Path, before: bytes) -> bool:
    """A cut journal is read up to the cut, because a killed process leaves one."""
    after = path.read_bytes()
    found = CellFolder(folder).read_journal()
    path.write_bytes(before)
    whole = CellFolder(folder).read_journal()
    return before.startswith(after) and len(found) >= after.count(b"\n") and found == whole[: len(found)]


def _checkpoints(kind: StateFile, folder: Path, path: Path, before: bytes) -> bool:
    """A damaged checkpoint is renamed, and the one before it is used."""
    steps = sorted(int(found.name.removeprefix("step-")) for found in folder.glob("step-*"))
    damaged = int(path.parent.name.removeprefix("step-"))
    saved = CheckpointManager(folder).restore()
    if damaged != steps[-1]:  # not read while the newest one is whole
        shutil.rmtree(folder / f"step-{steps[-1]:08d}")
        saved = CheckpointManager(folder).restore()
        return saved is None
    return saved is not None and saved[1]["step"] == steps[-2]


def _store(kind: StateFile, folder: Path, path: Path, before: bytes) -> bool:
    """A store with a damaged array or damaged digests is written again."""
    return kind.rebuilt(path.parent)


def _saved_profile(kind: StateFile, folder: Path, path: Path, before: bytes) -> bool:
    """A damaged profile of the data set is None: the data set is scanned again."""
    return load_profile(path, kind.base / "data") is None


_TARGETS = (
    _in_run("config.yaml", RunFolder.read_config),
    _in_run("profile.json", RunFolder.read_profile),
    _in_run("splits.json", RunFolder.read_splits),
    _in_run("plan.json", RunFolder.read_plan),
    _in_run("preflight.json", RunFolder.read_preflight),
    _in_run("environment.json", RunFolder.read_environment),
    _in_run("results/comparison.json", read_results),
    _in_run("mlflow.json", lambda run: Ledger(run.path / "mlflow.json")),
    _in_cell("cell.json", CellFolder.read_spec),
    _in_cell("environment.json", CellFolder.read_codes),
    _in_cell("result.json", CellFolder.read_result),
    _in_cell("retry.json", lambda cell: cell.read_retry(cell.read_spec())),
    _in_cell("outcome.json", lambda cell: read_outcome(cell.path)),
    _in_cell("supervisor.json", lambda cell: SupervisorSpec.read(cell.path / "supervisor.json")),
    _Target("run/cells/*", "cases/*.json", _scores),
    _Target("run/cells/*", "metrics.jsonl", _journal),
    _Target("run/cells/*/weights", "network.json", _reads(load_network)),
    _Target("run/cells/*/weights", "network.safetensors", _reads(load_network)),
    _Target("run/cells/*/checkpoints", "*/facts.json", _checkpoints),
    _Target("run/cells/*/checkpoints", "*/tensors.safetensors", _checkpoints),
    _Target("store", "*/profile.json", _store),
    _Target("store", "*/digests.json", _store),
    _Target("store", "*/*.npy", _store),
    _Target("store", "profile-*.json", _saved_profile),
)
