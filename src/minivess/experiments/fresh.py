"""Begin a run anew: the folder of the old one is moved aside, never deleted."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from minivess.errors import RunError
from minivess.experiments.folder import RunFolder
from minivess.experiments.lock import hold


def describe(folder: RunFolder) -> list[str]:
    """What would be moved aside, a line each; empty where there is no run."""
    if not folder.path.exists():
        return []
    size_mb = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file()) / 1e6
    cells = [
        f"{cell.path.name}: {'finished' if cell.finished else 'begun'}, {len(cell.read_journal())} epochs"
        for cell in folder.cells()
    ]
    return [f"{folder.path}: {len(cells)} cells, {size_mb:.0f} MB", *(f"  {line}" for line in cells)]


def move_aside(folder: RunFolder, now: datetime) -> Path:
    """Rename the run folder to NAME.old-TIMESTAMP beside it, and return that.

    Raises:
        RunError: A run is alive in it, or that name is taken.
    """
    aside = folder.path.with_name(f"{folder.path.name}.old-{now:%Y%m%dT%H%M%S}")
    if aside.exists():
        raise RunError("a free name for the old run folder", f"{aside} exists", "repeat the command in a second")
    with hold(folder.path / ".lock"):
        for cell in folder.cells():  # on another machine one may go on after its run was killed
            with hold(cell.path / ".lock"):
                pass
        folder.path.rename(aside)
    return aside
