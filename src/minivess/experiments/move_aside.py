"""Begin a run anew: the folder of the old one is moved aside, never deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from minivess.errors import RunError
from minivess.experiments.run_folder import RunFolder
from minivess.locks import hold


def describe(folder: RunFolder) -> list[str]:
    """What would be moved aside, a line each; empty where there is no run.

    Raises:
        RunError: A run or a cell is alive in it.
    """
    if not folder.path.exists():
        return []
    with _at_rest(folder):
        size_mb = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file()) / 1e6
        cells = [
            f"{cell.path.name}: {'finished' if cell.finished else 'begun'}, {len(cell.read_journal())} epochs"
            for cell in folder.cells()
        ]
    return [f"{folder.path}: {len(cells)} cells, {size_mb:.0f} MB", *(f"  {line}" for line in cells)]


def move_aside(folder: RunFolder, now: datetime) -> Path:
    """Rename the run folder to NAME.old-TIMESTAMP beside it, and return that.

    Raises:
        RunError: A run or a cell is alive in it, or that name is taken.
    """
    aside = folder.path.with_name(f"{folder.path.name}.old-{now:%Y%m%dT%H%M%S}")
    if aside.exists():
        raise RunError("a free name for the old run folder", f"{aside} exists", "repeat the command in a second")
    with _at_rest(folder):
        folder.path.rename(aside)
    return aside


def move_back(aside: Path, folder: RunFolder) -> bool:
    """Undo ``move_aside``; False where another run was begun under the name, which is then left alone."""
    if folder.path.exists():
        return False
    aside.rename(folder.path)
    return True


@contextmanager
def _at_rest(folder: RunFolder) -> Iterator[None]:
    """Hold the run and all of its cells: on another machine one may go on after its run was killed."""
    with ExitStack() as locks:
        for path in (folder.path, *(cell.path for cell in folder.cells())):
            locks.enter_context(hold(path / ".lock"))
        yield
