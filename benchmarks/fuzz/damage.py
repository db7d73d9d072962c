"""Ways to damage bytes and nested values, each drawn at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

SHAPES = (b"[]", b"1", b"null", b"{}", b'""', b"true", b"[{}]", b'{"a": 1}', b"")
"""JSON of another shape than that of a state file."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64, 10**30, 1e308, -1e-308, 0.5, 1e400, float("nan")),
    *("", " ", "x", "yes", "0", "1e9", "../..", "/", "~", "a" * 5000, "\x00", "\N{SNOWMAN}", "\ud800", "1:30", "nan"),
    *([], [[]], [None], [1, "a"], ["a"] * 2000, {}, {"a": {}}, {"": 1}, [{}], [0, 0, 0], [1.5, -1, 3]),
)
"""Values that may stand in the place of any other."""


class AcceptedDamageError(AssertionError):
    """Damaged content was read as if it were whole."""


def flip_bit(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one bit flipped."""
    damaged = bytearray(data)
    damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(data: bytes, rng: random.Random) -> bytes:
    """Return a beginning of the bytes, at least one byte shorter."""
    return data[: rng.randrange(len(data))]


def flip_or_overwrite(data: bytes, rng: random.Random, beginning: int) -> bytes:
    """Change one to eight bytes, anywhere or in the first ``beginning`` bytes: flip a bit, or write any byte or 0 or 255."""
    damaged = bytearray(data)
    end = min(len(data), beginning) if rng.random() < 0.7 else len(data)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        place = rng.randrange(end)
        damaged[place] = rng.choice([0, 255, rng.randrange(256), damaged[place] ^ (1 << rng.randrange(8))])
    return bytes(damaged)


def odd_or(value: Any, rng: random.Random) -> Any:
    """Return an odd value, or something made of ``value``: in a list, as text, nested ten or more levels deep."""
    if rng.random() < 0.8:
        return deepcopy(rng.choice(ODD))
    if rng.random() < 0.3:
        for _ in range(rng.choice([10, 19, 25, 90, 110])):
            value = rng.choice([[value], {"a": value}])
        return value
    return rng.choice([[value], [value, value], {"a": value}, str(value), f"{value} "])


def change_value(value: Any, rng: random.Random) -> Any:
    """Return nested values with one to three changes: replaced, removed, repeated or renamed."""
    value = deepcopy(value)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_places(value))
        if not places or rng.random() < 0.02:
            return odd_or(value, rng)
        group, key = rng.choice(places)
        change: Callable[[Any, Any, random.Random], None] = rng.choice([_replace, _replace, _replace, _remove, _rename])
        change(group, key, rng)
    return value


def _places(value: Any) -> Any:
    """Yield every list or dictionary in a nested value with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def _replace(group: Any, key: Any, rng: random.Random) -> None:
    group[key] = odd_or(group[key], rng)


def _remove(group: Any, key: Any, rng: random.Random) -> None:
    del group[key]


def _rename(group: Any, key: Any, rng: random.Random) -> None:
    if isinstance(group, dict):
        group[rng.choice(["", "a", f"{key}s", f"{key} ", str(key).upper(), "debug", "\ud800", "0"])] = group.pop(key)
    else:
        group.insert(rng.randrange(len(group) + 1), deepcopy(group[key]))
