"""Read and check nnU-Net's JSON files: ``dataset.json`` (description) and ``splits_final.json`` (folds)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minivess.data.formats.foreign_json import is_there, read_foreign_json
from minivess.data.layouts.cases import Case
from minivess.data.layouts.listing import name_of
from minivess.findings import Finding
from minivess.text import first_few

_SHOWN_CHARACTERS = 80

_IGNORE = "ignore"
"""Name of nnU-Net's label of unknown voxels."""
_LARGEST_VALUE = 65_535

SPLITS, DATASET = "splits_final.json", "dataset.json"

Entries = list[dict[str, list[str]]]


def read_splits(folder: Path) -> tuple[Entries | None, list[Finding]]:
    """Read the folds of ``splits_final.json`` without checking the names of the cases.

    Returns:
        The folds, each with lists "train" and "val", or None if the file is missing or invalid; and the findings that
        say why it is invalid.
    """
    path = folder / SPLITS
    if not is_there(path):
        return None, []
    try:
        entries = read_foreign_json(path)
    except ValueError as error:
        return None, [_splits_fault("readable JSON", str(error))]
    if not isinstance(entries, list) or not all(_is_fold(entry) for entry in entries) or not entries:
        return None, [_splits_fault("a list of folds, each with lists train and val", _shown(entries))]
    return entries, []


def check_splits(folder: Path, names: Sequence[str]) -> list[Finding]:
    """Check that ``splits_final.json``, if it exists, names only existing cases and holds each case out once.

    Args:
        folder: Folder of the data set.
        names: Names of the cases in the data set.
    """
    entries, found = read_splits(folder)
    if entries is None:
        return found
    known = set(names)
    held_out = Counter(name for entry in entries for name in entry["val"])
    unknown = {name for entry in entries for part in ("train", "val") for name in entry[part]} - known
    both = {name for entry in entries for name in set(entry["train"]) & set(entry["val"])}
    often = {name for name, count in held_out.items() if count > 1}
    empty = [str(number) for number, entry in enumerate(entries) if not entry["train"] or not entry["val"]]
    for expected, wrong in (
        ("names of cases in the data set", unknown),
        ("no case in both train and val of a fold", both),
        ("every case at most once in the val lists", often),
        ("cases in train and in val of every fold", [f"none in fold {number}" for number in empty]),
    ):
        if wrong:
            found.append(_splits_fault(expected, first_few(sorted(wrong))))
    if never := known - held_out.keys():
        cure = f"add them to a val list of {SPLITS}; without that they are not scored"
        got = first_few(sorted(never))
        found.append(Finding("warning", "splits_cover", SPLITS, "every case in val of one fold", got, cure))
    return found


def read_ignore_value(folder: Path) -> int | None:
    """Return the value of unknown voxels in nnU-Net's ``dataset.json``, its label named ignore.

    Args:
        folder: Folder of the data set.

    Returns:
        The value; None if there is none, or if the file is missing or invalid, which `check_dataset` reports.
    """
    path = folder / DATASET
    try:
        facts = read_foreign_json(path) if is_there(path) else None
    except ValueError:
        return None
    labels = facts.get("labels") if isinstance(facts, dict) else None
    value = labels.get(_IGNORE) if isinstance(labels, dict) else None
    return value if _is_ignore_value(value) else None


def _is_ignore_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 < value <= _LARGEST_VALUE


def check_dataset(folder: Path, cases: Sequence[Case]) -> list[Finding]:
    """Check that ``dataset.json``, if it exists, agrees with the files. minivess uses only its label named ignore.

    Args:
        folder: Folder of the data set.
        cases: Cases of the data set.
    """
    path = folder / DATASET
    if not is_there(path):
        return []
    try:
        facts = read_foreign_json(path)
    except ValueError as error:
        return [_dataset_fault("readable JSON", str(error))]
    if not isinstance(facts, dict):
        return [_dataset_fault("a dictionary", type(facts).__name__)]
    found = []
    if facts.get("numTraining", len(cases)) != len(cases):
        found.append(_dataset_fault(f"numTraining {len(cases)}, the number of cases", _shown(facts["numTraining"])))
    if (labels := facts.get("labels")) is not None and not _are_background_and_vessel(labels):
        found.append(_dataset_fault("labels background: 0 and vessel: 1, and possibly ignore: 2", _shown(labels)))
    channels = facts.get("channel_names", facts.get("modality"))
    if channels is not None and not (isinstance(channels, dict | list) and len(channels) == 1):
        found.append(_dataset_fault('one channel, such as {"0": "2P"}', _shown(channels)))
    ending = facts.get("file_ending")
    if ending is not None and not (isinstance(ending, str) and all(case.image.name.endswith(ending) for case in cases)):
        found.append(_dataset_fault(f"file_ending {_ending(cases)}", _shown(ending)))
    return found


def _are_background_and_vessel(labels: Any) -> bool:
    """Whether the labels are 0 and one other whole number, as `check_label` accepts them, and possibly unknown voxels.

    The old format of the file has them as keys, the new format as values.
    """
    if not isinstance(labels, dict):
        return False
    if _IGNORE in labels:
        if not _is_ignore_value(labels[_IGNORE]):
            return False
        labels = {name: value for name, value in labels.items() if name != _IGNORE}
    new = all(isinstance(value, int) and not isinstance(value, bool) for value in labels.values())
    values = {str(value) for value in (labels.values() if new else labels)}
    return len(values) == 2 and "0" in values and all(value.isdecimal() for value in values)


def _ending(cases: Sequence[Case]) -> str:
    image = cases[0].image if cases else Path("NAME.nii.gz")
    return image.name.removeprefix(name_of(image))


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]} ..."


def _is_fold(entry: Any) -> bool:
    return isinstance(entry, dict) and all(
        isinstance(entry.get(part), list) and all(isinstance(name, str) for name in entry[part])
        for part in ("train", "val")
    )


def _splits_fault(expected: str, got: str) -> Finding:
    return Finding("critical", "splits", SPLITS, expected, got, "fix the file, or remove it to get random folds")


def _dataset_fault(expected: str, got: str) -> Finding:
    return Finding(
        "warning", "dataset_json", DATASET, expected, got, "fix dataset.json; minivess uses only its label named ignore"
    )
