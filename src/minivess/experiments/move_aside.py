"""Move the folder of an old run aside, so that the run can start again. Nothing is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from minivess.errors import RunError
from minivess.experiments.run_folder import RunFolder
from minivess.locks import hold


def describe(folder: RunFolder) -> list[str]:
    """Return one line for the run folder and one for each of its cells; empty if there is no run.

    Raises:
        RunError: A process is using the run or one of its cells.
    """
    if not folder.path.exists():
        return []
    with _locked(folder):
        size_mb = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file()) / 1e6
        cells = [
            f"{cell.path.name}: {'finished' if cell.finished else 'started'}, {len(cell.read_journal())} epochs"
            for cell in folder.cells()
        ]
    return [f"{folder.path}: {len(cells)} cells, {size_mb:.0f} MB", *(f"  {line}" for line in cells)]


def move_aside(folder: RunFolder, now: datetime) -> Path:
    """Rename the run folder to NAME.old-TIMESTAMP in the same folder.

    Returns:
        The new path.

    Raises:
        RunError: A process is using the run or one of its cells, or the new name exists already.
    """
    aside = folder.path.with_name(f"{folder.path.name}.old-{now:%Y%m%dT%H%M%S}")
    if aside.exists():
        raise RunError(
            "a free name for the old run folder", f"{aside} exists", "wait a second and run the command again"
        )
    with _locked(folder):
        folder.path.rename(aside)
    return aside


def move_back(aside: Path, folder: RunFolder) -> bool:
    """Undo ``move_aside``. If a new run exists under the old name, change nothing and return False."""
    if folder.path.exists():
        return False
    aside.rename(folder.path)
    return True


@contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    """Lock the run and all of its cells. A cell on another machine may still run after its run was killed."""
    with ExitStack() as locks:
        for path in (folder.path, *(cell.path for cell in folder.cells())):
            locks.enter_context(hold(path / ".lock"))
        yield
