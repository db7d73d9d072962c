"""What a run would do, before it does any of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivess.experiments.cell_selection import CellFilter, select_cells
from minivess.experiments.prepare import Prepared
from minivess.experiments.time_estimate import predict_seconds
from minivess.json_files import to_plain


@dataclass(frozen=True)
class PlannedCell:
    """A cell that a run would train.

    Attributes:
        seconds: About how long it would take; None for a baseline, and where no step was timed.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    seconds: float | None


@dataclass(frozen=True)
class DryRun:
    """The cells of a run, in their order, and about how long all of them would take; None where that is not known."""

    prepared: Prepared
    cells: tuple[PlannedCell, ...]
    seconds: float | None

    def summary(self) -> dict[str, Any]:
        """With configuration, preflight and plan, as plain values for JSON."""
        return {
            "run_folder": str(self.prepared.folder.path),
            "config": to_plain(self.prepared.config),
            "preflight": self.prepared.preflight.summary(),
            "plan": to_plain(self.prepared.plan),
            "steps": self.prepared.config.training.steps,
            "cells": to_plain(self.cells),
            "seconds": self.seconds,
        }


def describe_dry_run(prepared: Prepared, only: Sequence[CellFilter] = ()) -> DryRun:
    """The cells that ``only`` leaves of a run, with folds and predicted time."""
    seconds = predict_seconds(prepared.config, prepared.profile, prepared.splits, prepared.plan)
    cells = []
    for method, number in select_cells(prepared.config, only):
        name, fold = f"{method}-fold{number}", prepared.splits.folds[number]
        cells.append(PlannedCell(name, tuple(fold.train), tuple(fold.held_out), seconds.get(name)))
    timed = [cell.seconds for cell in cells if cell.seconds is not None]
    return DryRun(prepared, tuple(cells), sum(timed) / prepared.at_full_speed if timed else None)
