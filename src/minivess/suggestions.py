"""A name that is not known, answered alike everywhere: with the nearest that is, or with all of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from minivess.errors import ConfigError

_FEW = 8


def unknown(what: str, got: str, known: Iterable[str]) -> ConfigError:
    """The error for ``got``, which is no ``what``.

    Args:
        what: In the singular, e.g. "loss".
        got: As it was written.
        known: All names that would do; they are listed where they are few, or where none is near.
    """
    names = list(known)
    near = did_you_mean(got, names)
    listed = f" ({', '.join(names)})" if names and (len(names) <= _FEW or not near) else ""
    otherwise = "name one of them" if names else "leave it out"
    return ConfigError(f"a known {what}{listed}", repr(got), near or otherwise)


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """``"did you mean 'warp'?"``, whatever the case of ``got``; "" where no name is near."""
    names = {name.casefold(): name for name in known}
    near = get_close_matches(got.casefold(), names, n=1)
    return f"did you mean {names[near[0]]!r}?" if near else ""
