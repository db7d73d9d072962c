"""Compiling functions with Numba, once per machine and version of their sources.

Compilation takes some seconds. Later processes read the compiled code from the folder of this file or, if that is
read-only, from the user's cache folder. ``NUMBA_CACHE_DIR`` sets another folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from numba import config, njit

_Function = TypeVar("_Function", bound=Callable)


def compiled(function: _Function) -> _Function:
    """Compile a function when it is first called, and keep the compiled code."""
    return _compiled(function, inline=False)


def inlined(function: _Function) -> _Function:
    """The same for a short function that is called for many voxels: its code becomes part of each caller.

    LLVM would call it if it has more than some tens of instructions, which takes longer than the function itself.
    """
    return _compiled(function, inline=True)


def _compiled(function: _Function, inline: bool) -> _Function:
    if not can_be_kept_in(_FOLDER):  # each process compiles the function
        return njit(nogil=True, forceinline=inline)(function)
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER
    try:
        return njit(cache=True, nogil=True, forceinline=inline)(function)
    finally:
        config.CACHE_DIR = before


def cache_folder(sources: Sequence[Path]) -> str:
    """Folder for the code that is compiled from these files.

    Numba compares the file of a function with its cache, but not the files of the functions that it calls. It would
    go on with the old code of those, so every version of the files has a folder of its own.
    """
    digest = hashlib.blake2b(b"".join(path.read_bytes() for path in sorted(sources)), digest_size=6)
    name = f"numba-{digest.hexdigest()}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return str(Path(chosen) / name)
    beside = sources[0].parent / "__pycache__"
    if os.access(beside if beside.exists() else beside.parent, os.W_OK):
        return str(beside / name)
    try:
        return str(Path.home() / ".cache" / "minivess" / name)
    except RuntimeError:  # a user without a home folder, as in some containers
        return str(beside / name)


def can_be_kept_in(folder: str) -> bool:
    """Create the folder if needed, and return whether files can be written there.

    Numba would choose another folder, without our version in its name, if it cannot write to this one.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


_FOLDER = cache_folder(list(Path(__file__).parent.glob("*.py")))
