"""The code that decides the numbers of a cell: which it was, and what differs from the code of an earlier attempt."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from minivess.digests import digest_of_file
from minivess.errors import ConfigError
from minivess.tracking.provenance import git_state
from minivess.trusted_code import named_folders

_PACKAGE = Path(__file__).parents[1]
_PARTS = (
    *("data", "losses", "metrics", "models", "topology", "training", "inference", "evaluation", "worker"),
    "geometry.py",
)
"""Parts of minivess that decide how a cell trains, predicts and scores."""
_LIBRARIES = ("minivess", "torch", "monai")


class Code(BaseModel):
    """The code of one cell.

    Attributes:
        commit: Commit of the checkout of minivess, with "and changes" if it has uncommitted ones; None without git. It
            is for information: two commits with the same sources are the same code.
        libraries: Versions of minivess, torch and MONAI.
        package: Digest of each part of minivess that decides numbers.
        builders: Digest of the sources of the user's own loss and network, by import path, and of the file of initial
            weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: str | None
    libraries: dict[str, str]
    package: dict[str, str]
    builders: dict[str, str]

    def differences(self, now: Code) -> list[str]:
        """Describe what differs in ``now``, one text for each version, part or source; empty for the same code."""
        versions = [
            f"{name} {self.libraries[name]} then, {now.libraries.get(name)} now"
            for name in self.libraries
            if self.libraries[name] != now.libraries.get(name)
        ]
        parts = [
            name for name in self.package.keys() | now.package.keys() if self.package.get(name) != now.package.get(name)
        ]
        commits = f" ({self.commit} then, {now.commit} now)" if self.commit != now.commit else ""
        package = [f"the source of minivess in {', '.join(sorted(parts))}{commits}"] if parts else []
        names = self.builders.keys() | now.builders.keys()
        own = [f"the source of {name}" for name in sorted(names) if self.builders.get(name) != now.builders.get(name)]
        return versions + package + own


def code_of(builders: Iterable[str], weights: Path | None = None) -> Code:
    """Return the code that a process started now would run.

    Args:
        builders: Names of losses and networks; those of the form ``"package.module:function"`` have sources.
        weights: File of initial weights that the network starts from.

    Raises:
        ConfigError: The file of initial weights cannot be read.
    """
    users = [name for name in builders if ":" in name and not name.startswith("minivess.")]
    own = {name: sources_digest(name.partition(":")[0]) for name in users}
    if weights is not None:
        own[str(weights)] = _weights_digest(weights)
    return Code(commit=_commit(), libraries=library_versions(_LIBRARIES), package=_package(), builders=own)


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions without the name of the build, such as "+cpu"; "" for one that is missing."""
    found = {}
    for name in names:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = ""
    return found


def package_digest(part: str) -> str:
    """Return the digest of the sources of a folder or a module of minivess, such as "losses" or "geometry.py"."""
    path = _PACKAGE / part
    return _digest(sorted(path.rglob("*.py")) if path.is_dir() else [path], _PACKAGE)


def sources_digest(module: str) -> str:
    """Return the digest of the sources of a user's module; empty if there is no source file.

    If the module is in a package, all sources of the package count. Otherwise the module counts with the modules next
    to it that it imports. Nothing is imported.
    """
    # As in a child process, which has the entries of PYTHONPATH even if this process was started without them.
    top = PathFinder.find_spec(module.partition(".")[0], [*named_folders(), *sys.path])
    if top is None:
        return ""
    if top.submodule_search_locations:
        folder = Path(next(iter(top.submodule_search_locations)))
        return _digest(sorted(folder.rglob("*.py")), folder)
    if top.origin is None or not Path(top.origin).is_file():
        return ""
    source = Path(top.origin)
    return _digest(sorted(_with_neighbours(source, {source})), source.parent)


def _with_neighbours(source: Path, seen: set[Path]) -> set[Path]:
    """Add to ``seen`` the modules in the folder of ``source`` that it imports, and those that these import."""
    for name in _imported(source):
        path = source.with_name(f"{name}.py")
        if path.is_file() and path not in seen:
            seen.add(path)
            _with_neighbours(path, seen)
    return seen


def _imported(source: Path) -> Iterator[str]:
    try:
        tree = ast.parse(source.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _digest(files: Sequence[Path], root: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _package() -> dict[str, str]:
    return {part.removesuffix(".py"): package_digest(part) for part in _PARTS}


@cache
def _commit() -> str | None:
    state = git_state(Path(__file__))
    return None if state is None else state["sha"][:12] + (" and changes" if state["dirty"] else "")


def _weights_digest(path: Path) -> str:
    try:
        return digest_of_file(path.expanduser())
    except OSError as error:
        raise ConfigError(
            "a readable file of initial weights",
            f"{path}: {error.strerror}",
            "correct options.weights in the model profile, or remove it",
        ) from error
