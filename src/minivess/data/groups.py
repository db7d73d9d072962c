"""Groups of cases, such as all volumes of one animal: from a CSV file, or from a pattern on the names of the cases."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from minivess.errors import DataError
from minivess.suggestions import did_you_mean
from minivess.text import first_few

GROUPS_FILE = "groups.csv"
"""Name of the file of groups that `minivess data phantom` writes; any other name with .csv may be used too."""
_HEADER = ("case", "group")


def is_pattern(given: str) -> bool:
    """Whether the setting ``groups`` is a pattern on names; otherwise it is the path of a CSV file."""
    return not given.lower().endswith(".csv")


def check_pattern(given: str) -> None:
    """Require that a pattern is a regular expression with one pair of parentheses, around the name of the group.

    Raises:
        ValueError: It is not; the message is what was expected.
    """
    try:
        parts = re.compile(given).groups
    except re.error as error:
        raise ValueError(f"a file ending in .csv, or a regular expression ({error})") from None
    if parts != 1:
        raise ValueError(
            r"a file ending in .csv, or a pattern with one pair of parentheses around the group, such as ^(animal\d+)_"
        )


def read_groups(given: str, folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the group of every case.

    Args:
        given: The setting ``groups``: a CSV file with the columns case and group (a relative path is relative to
            ``folder``), or a pattern that finds the group in the name of a case.
        folder: Folder of the data set.
        names: Names of all cases, those of the test set included.

    Raises:
        DataError: The file cannot be read or has another form, it names an unknown case or a case twice, or a case has
            no group.
    """
    groups = _by_pattern(given, names) if is_pattern(given) else _from_file(folder / Path(given).expanduser(), names)
    return {name: groups[name] for name in sorted(names)}


def refuse_shared_groups(groups: Mapping[str, str], one: Sequence[str], other: Sequence[str], rule: str) -> None:
    """Require that no group has cases in both lists.

    Args:
        groups: Group of each case; empty without groups.
        one: Names of cases.
        other: Names of cases.
        rule: What is expected, in words.

    Raises:
        DataError: A group has; the message names it with its cases.
    """
    if not groups:
        return
    for group in sorted({groups[name] for name in one} & {groups[name] for name in other}):
        parts = [first_few([name for name in part if groups[name] == group]) for part in (one, other)]
        raise DataError(
            rule, f"group {group} in both: {' and '.join(parts)}", "move all cases of the group to one side"
        )


def _by_pattern(pattern: str, names: Sequence[str]) -> dict[str, str]:
    found = {name: re.search(pattern, name) for name in names}
    groups = {name: match[1] for name, match in found.items() if match is not None and match[1]}
    if lacking := [name for name in names if name not in groups]:
        raise DataError(
            f"a group in the name of every case, by the pattern {pattern}",
            f"none in {first_few(lacking)}",
            "correct the pattern, or list case and group in a CSV file (groups: groups.csv)",
        )
    return groups


def _from_file(path: Path, names: Sequence[str]) -> dict[str, str]:
    rows = _read_rows(path)
    twice = [case for case, count in Counter(case for case, _ in rows).items() if count > 1]
    unknown = [case for case, _ in rows if case not in names]
    lacking = [name for name in names if name not in {case for case, _ in rows}]
    near = did_you_mean(unknown[0], names) if unknown else ""
    for expected, wrong, cure in (
        ("each case once", twice, "remove the lines that are wrong"),
        ("only cases of the data set", unknown, near or "correct or remove these lines"),
        ("a group for every case", lacking, "add a line CASE,GROUP for each; a single volume is a group of its own"),
    ):
        if wrong:
            raise DataError(f"{expected} in {path}", first_few(wrong), cure)
    return dict(rows)


def _read_rows(path: Path) -> list[tuple[str, str]]:
    """Return case and group of every line, without a heading."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        cure = "give a path relative to the data set folder, or an absolute one"
        raise DataError("a CSV file with the columns case and group", f"{path}: {reason}", cure) from error
    separator = next((mark for mark in ",;\t" if lines and mark in lines[0]), ",")
    rows = [tuple(cell.strip() for cell in row) for row in csv.reader(lines, delimiter=separator)]
    rows = [row for row in rows if any(row)]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2 or not all(row):
            cure = "write CASE,GROUP in each line"
            raise DataError(f"two columns, case and group, in {path}", f"row {number}: {', '.join(row)}", cure)
    pairs = [(case, group) for case, group in rows]
    is_headed = bool(pairs) and tuple(word.lower() for word in pairs[0]) == _HEADER
    return pairs[1:] if is_headed else pairs
