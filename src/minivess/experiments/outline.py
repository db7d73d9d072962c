"""What a run would do, before it does any of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minivess.experiments.cells import Only, chosen
from minivess.experiments.duration import predict_seconds
from minivess.experiments.prepare import Prepared


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
class Outline:
    """The cells of a run, in their order, and about how long all of them would take; None where that is not known."""

    prepared: Prepared
    cells: tuple[PlannedCell, ...]
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """With configuration, preflight and plan, as plain values for JSON."""
        return {
            "run_folder": str(self.prepared.folder.path),
            "config": self.prepared.config.model_dump(mode="json"),
            "preflight": self.prepared.preflight.as_dict(),
            "plan": self.prepared.plan.model_dump(mode="json"),
            "steps": self.prepared.config.training.steps,
            "cells": [asdict(cell) for cell in self.cells],
            "seconds": self.seconds,
        }


def outline(prepared: Prepared, only: Sequence[Only] = ()) -> Outline:
    """The cells that ``only`` leaves of a run, with folds and predicted time."""
    seconds = predict_seconds(prepared.config, prepared.profile, prepared.splits, prepared.plan)
    cells = []
    for method, number in chosen(prepared.config, only):
        name, fold = f"{method}-fold{number}", prepared.splits.folds[number]
        cells.append(PlannedCell(name, tuple(fold.train), tuple(fold.held_out), seconds.get(name)))
    timed = [cell.seconds for cell in cells if cell.seconds is not None]
    return Outline(prepared, tuple(cells), sum(timed) / prepared.at_full_speed if timed else None)
