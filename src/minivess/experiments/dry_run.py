"""Describe what a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivess.evaluation.baselines import BASELINES
from minivess.experiments.cell_selection import CellFilter, select_cells
from minivess.experiments.power_of_run import predict_power
from minivess.experiments.prepare import Prepared
from minivess.experiments.race import least_steps, reference_of
from minivess.experiments.time_estimate import predict_seconds
from minivess.json_files import to_plain
from minivess.statistics.power import Power


@dataclass(frozen=True)
class PlannedCell:
    """A cell that a run would train.

    Attributes:
        name: Name of the cell, LOSS-foldK or LOSS-foldK-repeatR.
        train: Names of the training cases.
        held_out: Names of the held-out cases.
        seconds: Estimated time; None for a baseline, for a finished cell, and if no step of the loss was timed.
        finished: Whether the cell is finished already.
        stopped: Whether a race has stopped its loss.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    seconds: float | None
    finished: bool = False
    stopped: bool = False


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        prepared: The prepared run.
        cells: The cells in the order in which they run.
        seconds: Estimated time of the cells that remain, without the untimed ones; None if it is not known.
        untimed: Losses of remaining cells of which no step was timed, such as a loss that was added to a started run.
        power: What the comparison can show; None if none was fixed.
    """

    prepared: Prepared
    cells: tuple[PlannedCell, ...]
    seconds: float | None
    untimed: tuple[str, ...] = ()
    power: Power | None = None

    @property
    def race(self) -> dict[str, Any] | None:
        """When losses are stopped, which one never is, and the share of the steps that is trained at best; None without."""
        config = self.prepared.config
        if config.race is None:
            return None
        return {**to_plain(config.race), "reference": reference_of(config), "least_steps": least_steps(config)}

    def summary(self) -> dict[str, Any]:
        """Return the configuration, preflight, plan and cells as plain values for JSON."""
        return {
            "run_folder": str(self.prepared.folder.path),
            "config": to_plain(self.prepared.config),
            "preflight": self.prepared.preflight.summary(),
            "plan": to_plain(self.prepared.plan),
            "steps": self.prepared.config.training.steps,
            "cells": to_plain(self.cells),
            "test": [volume.name for volume in self.prepared.test],
            "groups": self.prepared.splits.groups,
            "seconds": self.seconds,
            "untimed": list(self.untimed),
            "race": self.race,
            "power": to_plain(self.power),
        }


def describe_dry_run(prepared: Prepared, only: Sequence[CellFilter] = ()) -> DryRun:
    """Describe the cells of a run with their folds and estimated times.

    Args:
        prepared: The prepared run.
        only: Describe only the cells that one of these filters matches; all cells if empty.

    Raises:
        ConfigError: A filter matches no cell.
    """
    seconds = predict_seconds(prepared.config, prepared.profile, prepared.splits, prepared.plan)
    cells, untimed = [], []
    stopped = prepared.folder.read_race().stopped.keys() - {one.loss for one in only}
    for key in select_cells(prepared.config, only):
        name, fold = key.name, prepared.splits.folds[key.fold]
        finished = prepared.folder.cell(*key).finished
        dropped = key.method in stopped and not finished
        taken = seconds[name].total if name in seconds and not finished and not dropped else None
        cells.append(PlannedCell(name, tuple(fold.train), tuple(fold.held_out), taken, finished, dropped))
        if taken is None and not finished and not dropped and key.method not in BASELINES:
            untimed.append(key.method)
    timed = [cell.seconds for cell in cells if cell.seconds is not None]
    total = sum(timed) / prepared.at_full_speed if timed else None
    power = predict_power(prepared.config, prepared.splits)
    return DryRun(prepared, tuple(cells), total, tuple(dict.fromkeys(untimed)), power)
