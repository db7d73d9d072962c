"""Read JSON files of other programs: whatever they contain, the result is plain values or one ``ValueError``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_LARGEST_BYTES = 2**26
_DEEPEST = 100


def read_foreign_json(path: Path) -> Any:
    """Read a JSON file.

    Returns:
        Its value.

    Raises:
        ValueError: The file cannot be read, is too large, is not JSON in UTF-8, has a key twice in one group (its meaning
            would be a guess), or is nested so deeply that a program that visits it may fail.
    """
    if not path.is_file():
        raise ValueError("it is a folder, a broken link or a device, not a file")
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError(f"a file of more than {_LARGEST_BYTES} bytes")
        facts = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_group)
    except OSError as error:
        raise ValueError(error.strerror or "a file that cannot be read") from error
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _require_shallow(facts)
    return facts


def is_there(path: Path) -> bool:
    """Whether there is anything at a path, such as a file, a folder or a broken link."""
    return os.path.lexists(path)


_TOO_DEEP = f"lists or groups nested more than {_DEEPEST} levels deep"


def _group(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    group = dict(pairs)
    if len(group) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} twice in one group")
    return group


def _require_shallow(facts: Any) -> None:
    level = [facts]
    for _ in range(_DEEPEST):
        level = [
            part
            for value in level
            if isinstance(value, dict | list)
            for part in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    raise ValueError(_TOO_DEEP)
