"""Score the masks of another tool as a method of a run, on the cases and folds of the run."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from minivess.data.array_store import Store, build_store
from minivess.data.profiler import load_profile, scan_dataset
from minivess.data.splits import Splits
from minivess.digests import digest_of_file
from minivess.errors import ConfigError
from minivess.evaluation.baselines import BASELINES
from minivess.evaluation.evaluate import CaseRow, evaluate_cases
from minivess.evaluation.external_masks import check_masks, find_masks, read_mask
from minivess.experiments.config import STORE_FOLDER, ExperimentConfig
from minivess.experiments.external_method import ExternalRecord, TrainedOn
from minivess.experiments.resume import refuse_other_data
from minivess.experiments.run_folder import RunFolder, refuse_links
from minivess.experiments.unseen import UnseenSpec, read_unseen
from minivess.json_files import read_state, write_state
from minivess.locks import hold
from minivess.losses.registry import require_known
from minivess.planning.resources import store_exists
from minivess.supervision.recorder import now_iso


@dataclass(frozen=True)
class Scored:
    """Result of ``score_masks``.

    Attributes:
        record: The record of the method.
        is_new: False if these masks were scored before, so that nothing was written.
    """

    record: ExternalRecord
    is_new: bool


def score_masks(
    folder: RunFolder,
    name: str,
    given: Sequence[str],
    *,
    trained_on: TrainedOn = "unknown",
    replace: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """Score masks as the method ``name`` of a run. All checks come first; the method appears complete or not at all.

    The masks are copied into the run folder, on the grid of their volumes, for the figures and for scoring them again.

    Args:
        folder: The run folder.
        name: Name of the method.
        given: Folders, files and patterns of the masks; each held-out case of the run needs one. If the run has scored
            its test set, masks of all test cases are scored too, apart; without any of them, only the held-out cases are.
        trained_on: What is known about the training of the method.
        replace: Whether a method that was scored under this name before is replaced.
        progress: Called with the number of scored cases and of all cases.

    Raises:
        ConfigError: The name cannot be used, or is taken.
        DataError: Masks are missing, or one is not usable; every case is named.
        RunError: The folder is not a run folder, or another process uses it.
    """
    config, splits, profile = folder.read_config(), folder.read_splits(), folder.read_profile()
    _check_name(name, config)
    folds = held_out_folds(splits)
    masks = find_masks(given, folds)
    test = _test_store(folder)
    test_masks = {} if test is None else find_masks(given, splits.test, optional=True)
    own = folder.external(name)
    with hold(folder.path / ".lock"):
        refuse_links(folder.path)
        everything = {**masks, **test_masks}
        digests = {case: digest_of_file(path) for case, path in everything.items()}
        before, masks_id = own.read(), _identity(digests)
        if before is not None and (before.masks, before.trained_on) == (masks_id, trained_on):
            return Scored(before, is_new=False)
        # The masks of the test set are new once the run has scored it; those of the held-out cases are as before.
        grown = before is not None and before.trained_on == trained_on and before.digests.items() <= digests.items()
        if before is not None and not (replace or grown):
            got = f"{name}, scored on {before.scored_iso[:10]} from {before.source}"
            raise ConfigError("a name that no other masks have", got, "choose another --name, or give --replace")
        volumes = [*profile.volumes, *(test.profile.volumes if test else ())]
        check_masks(everything, {volume.name: volume for volume in volumes})
        record = ExternalRecord(
            name=name,
            trained_on=trained_on,
            source=_source(given),
            files={case: path.name for case, path in everything.items()},
            digests=digests,
            masks=masks_id,
            minivess=version("minivess"),
            scored_iso=now_iso(),
            rows=_score(folder, _store_of(folder), own.masks(masks_id), name, masks, folds, progress),
            test_rows=()
            if test is None
            else _score(folder, test, own.masks(masks_id), name, test_masks, dict.fromkeys(test_masks, 0), progress),
        )
        write_state(own.record, record)
        for other in own.path.iterdir():
            if other.is_dir() and other.name != masks_id:
                shutil.rmtree(other)
    return Scored(record, is_new=True)


def held_out_folds(splits: Splits) -> dict[str, int]:
    """Return the fold in which each case is held out, in the order of the folds."""
    return {case: number for number, fold in enumerate(splits.folds) for case in fold.held_out}


def _check_name(name: str, config: ExperimentConfig) -> None:
    if not re.fullmatch(r"[A-Za-z][\w.-]{0,59}", name):
        cure = "use letters, digits, dots, hyphens and underscores, such as nnunet or nnU-Net-2.5"
        raise ConfigError("a name of up to 60 letters that begins with a letter", repr(name), cure)
    if name in (*config.losses, *BASELINES) or _is_loss(name):
        got = f"{name}, the name of a {'baseline' if name in BASELINES else 'loss'}"
        raise ConfigError("a name of its own for the method", got, "choose another --name")


def _is_loss(name: str) -> bool:
    try:
        require_known(name)
    except ConfigError:
        return False
    return True


def _score(
    folder: RunFolder,
    store: Store,
    into: Path,
    name: str,
    masks: Mapping[str, Path],
    folds: Mapping[str, int],
    progress: Callable[[int, int], None],
) -> tuple[CaseRow, ...]:
    """Score the masks of all folds; cases that a killed scoring has scored are read from disk."""
    rows: list[CaseRow] = []
    for fold in sorted(set(folds.values())):
        rows += evaluate_cases(
            into,
            store,
            [case for case in folds if folds[case] == fold],
            lambda case: read_mask(masks[case.stats.name]),
            method=name,
            fold=fold,
            groups=folder.read_splits().groups,
            tolerance_um=folder.read_config().evaluation.tolerance_um,
            scoring_processes=folder.read_plan().scoring_processes,
            progress=partial(_report, progress, len(rows), len(folds)),
        )
    return tuple(rows)


def _report(progress: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def _test_store(folder: RunFolder) -> Store | None:
    """Return the store of the test set; None if the run has none, or has not scored it yet: it stays unseen until then."""
    scores = read_unseen(folder)
    if scores is None:
        return None
    spec = read_state(
        folder.unseen(scores.cell).spec, UnseenSpec, "run the same experiment again; it scores the test set"
    )
    return Store(spec.store)


def _store_of(folder: RunFolder) -> Store:
    """Return the store of the run's data set; if it was deleted, build it again from the same data."""
    profile, root = folder.read_profile(), folder.path.absolute().parent / STORE_FOLDER
    if not store_exists(profile, root):
        data_dir, ignore_value = Path(profile.folder), profile.ignore_value
        now = load_profile(folder.profile, data_dir, ignore_value=ignore_value) or scan_dataset(
            data_dir, voxels=True, ignore_value=ignore_value
        )
        refuse_other_data(now.some(folder.read_config().cases), folder)
    return build_store(profile, root)


def _identity(digests: Mapping[str, str]) -> str:
    """Return a name for a set of masks as this version scores them."""
    text = json.dumps([version("minivess"), sorted(digests.items())])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _source(given: Sequence[str]) -> str:
    """Describe where masks came from by the last two parts of each path, without the folders of this machine."""
    return ", ".join(dict.fromkeys("/".join(Path(text).resolve().parts[-2:]) for text in given))
