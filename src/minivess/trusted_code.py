"""Which code a file may name: networks and losses of minivess, of installed packages, and of folders that the user trusts.

A weights folder or a YAML file can come from a stranger. It names functions that are imported and called, so these
names must not reach the standard library or a file of the current folder.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from minivess.errors import ConfigError

TRUST_VARIABLE = "MINIVESS_TRUST_CODE"
"""Environment variable with the trusted folders, for this process and its child processes."""
_OWN = ("minivess.losses.", "minivess.models.")
"""Modules of minivess whose functions build losses and networks."""


def trust(paths: Iterable[Path]) -> None:
    """Trust the code in these folders, and these files: in this process and in those that it starts."""
    known = [*trusted_paths(), *(path.resolve() for path in paths)]
    os.environ[TRUST_VARIABLE] = os.pathsep.join(map(str, dict.fromkeys(known)))
    for folder in known:
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.append(str(folder))


def trusted_paths() -> list[Path]:
    """Return the folders and files that the user trusts, with those on PYTHONPATH. Empty entries and "." do not count."""
    return [Path(entry).resolve() for name in (TRUST_VARIABLE, "PYTHONPATH") for entry in named_folders(name)]


def named_folders(variable: str = "PYTHONPATH") -> list[str]:
    """Return the entries of an environment variable with paths, without empty ones and "." (the current folder)."""
    entries = os.environ.get(variable, "").split(os.pathsep)
    return [entry for entry in entries if entry.rstrip("/") not in ("", ".")]


def is_trusted(path: Path) -> bool:
    """Whether a file is one that the user trusts, or is in a folder that the user trusts."""
    path = path.resolve()
    return any(path == trusted or trusted in path.parents for trusted in trusted_paths())


def import_builder(name: str) -> Any:
    """Import the function that builds a network or a loss.

    Args:
        name: ``"package.module:function"``.

    Returns:
        The function.

    Raises:
        ConfigError: The name has another form, names no function, or its code is not trusted.
    """
    module, _, function = name.partition(":")
    if not name.startswith(_OWN):
        _require_trusted(name, module.partition(".")[0])
    try:
        found = getattr(import_module(module), function)
    except Exception as error:  # the import runs the user's own code
        raise ConfigError(
            "an importable builder 'package.module:function'",
            f"{name!r}: {type(error).__name__}: {error}",
            "check the name; put the folder of your own module on PYTHONPATH, or name it with --trust-code",
        ) from error
    if not callable(found):
        raise ConfigError("a builder that is a function", repr(name), "check the name")
    return found


def _require_trusted(name: str, top: str) -> None:
    spec = _find(top)
    own = top == "minivess" or top in sys.stdlib_module_names
    if spec is not None and not own and _comes_from_trusted_place(top, spec):
        return
    where = "is not found" if spec is None else f"is {spec.origin or top}"
    raise ConfigError(
        "a network or a loss of minivess, of an installed package, or of a folder that you trust",
        f"{name!r}, whose module {where}",
        "name its folder with --trust-code FOLDER (its code then runs with your rights), or put it on PYTHONPATH",
    )


def _find(top: str) -> ModuleSpec | None:
    try:
        return find_spec(top) if top.isidentifier() else None
    except (ImportError, ValueError):
        return None


def _comes_from_trusted_place(top: str, spec: ModuleSpec) -> bool:
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    files = [Path(place).resolve() for place in places if place not in ("built-in", "frozen")]
    installed = [Path(folder).resolve() for folder in _site_folders()]
    in_site = any(folder in file.parents for folder in installed for file in files)
    return bool(files) and (in_site or any(map(is_trusted, files)) or top in packages_distributions())


def _site_folders() -> list[str]:
    return [
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        *site.getsitepackages(),
        site.getusersitepackages(),
    ]
