"""Errors for unknown names: they suggest the nearest known name, or list all known names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from minivess.errors import ConfigError

_FEW = 9


def unknown(what: str, got: str, known: Iterable[str]) -> ConfigError:
    """Build the error for an unknown name.

    Args:
        what: Kind of the name, in the singular, e.g. "loss".
        got: The unknown name, as the user wrote it.
        known: All known names. They are listed if there are at most nine, or if none is similar to ``got``.
    """
    names = list(known)
    near = did_you_mean(got, names)
    listed = f" ({', '.join(names)})" if names and (len(names) <= _FEW or not near) else ""
    otherwise = "use one of these names" if names else "leave it out"
    return ConfigError(f"a known {what}{listed}", repr(got), near or otherwise)


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """``"did you mean 'warp'?"`` with the most similar known name, ignoring case; "" if no name is similar."""
    names = {name.casefold(): name for name in known}
    near = get_close_matches(got.casefold(), names, n=1)
    return f"did you mean {names[near[0]]!r}?" if near else ""
