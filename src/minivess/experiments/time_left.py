"""Estimate the time left of a running experiment, from the steps that are done and from the timings of the dry start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from minivess.evaluation.baselines import BASELINES
from minivess.experiments.time_estimate import CellSeconds

_BASELINE_S = 5.0
"""Seconds of a baseline before the first one has ended."""

_MOST_SEEN = 500
"""Number of steps to remember the time of; of more, every second one is forgotten."""


@dataclass
class _Running:
    """A running cell: when it started, and times and numbers of steps of its training, with the first and the last one."""

    started_s: float
    seen: list[tuple[float, int]] = field(default_factory=list)
    steps: int = 0
    after_training_s: float | None = None
    scored: float = 0.0


@dataclass(frozen=True)
class _Paused:
    """A cell that a race has paused: the seconds it took so far, and the share of its steps that is done."""

    taken_s: float
    done: float


@dataclass
class TimeLeft:
    """Time left of each running cell and of the whole run.

    The rate of a training is measured from the later half of its own steps, because the load of a machine changes.
    Everything else is predicted and multiplied by how much longer than predicted the finished cells took, as a whole and
    after training; those with that method count first.

    Args:
        predicted: Predicted seconds of each trained cell, by name. Other cells count as the average of the
            finished ones of their method.
        waiting: Names of the cells that have not started.
        at_a_time: Number of cells that run at full speed in parallel.
        now: Clock in seconds.
    """

    predicted: Mapping[str, CellSeconds]
    waiting: list[str]
    at_a_time: int = 1
    now: Callable[[], float] = time.monotonic
    _running: dict[str, _Running] = field(default_factory=dict)
    _taken: dict[str, float] = field(default_factory=dict)
    _evaluated: dict[str, float] = field(default_factory=dict)
    _paused: dict[str, _Paused] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """A cell starts."""
        if name in self.waiting:
            self.waiting.remove(name)
        self._running[name] = _Running(self.now())

    def end(self, name: str, *, was_finished: bool) -> None:
        """A cell has ended, or was finished already."""
        running = self._running.pop(name, None)
        if running is not None and not was_finished:
            self._taken[name] = self._seconds(name, running)
            if running.after_training_s is not None:
                self._evaluated[name] = self.now() - running.after_training_s

    def pause(self, name: str) -> None:
        """A race has paused a cell. It waits with the steps that are left."""
        running = self._running.pop(name, None)
        if running is not None:
            done = running.seen[-1][1] / running.steps if running.seen and running.steps else 0.0
            self._paused[name] = _Paused(self._seconds(name, running), done)
            self.waiting.append(name)

    def drop(self, names: Iterable[str]) -> None:
        """Cells are not trained any further, because a race has stopped their losses."""
        dropped = set(names)
        self.waiting = [name for name in self.waiting if name not in dropped]

    def _seconds(self, name: str, running: _Running) -> float:
        before = self._paused.get(name)
        return self.now() - running.started_s + (before.taken_s if before else 0.0)

    def progress(self, name: str, stage: str, done: int, total: int) -> None:
        """A running cell has done ``done`` of ``total`` parts of a stage."""
        cell = self._running.get(name)
        if cell is None:
            return
        if stage == "train":
            if not cell.seen or cell.seen[-1][1] != done:
                cell.seen.append((self.now(), done))
            if len(cell.seen) > _MOST_SEEN:
                cell.seen = [*cell.seen[:-1:2], cell.seen[-1]]
            cell.steps = total
        elif not cell.seen or cell.seen[-1][1] >= cell.steps:  # not a look at a volume between two epochs
            cell.after_training_s = cell.after_training_s or self.now()
            if stage == "score":
                cell.scored = done / total if total else 0.0

    def of_cell(self, name: str) -> float | None:
        """Return the seconds left of a running cell; None if they are not known yet."""
        cell = self._running.get(name)
        if cell is None:
            return None
        evaluation_s = self._evaluation_s(name)
        if cell.after_training_s is not None:
            taken_s = self.now() - cell.after_training_s
            if cell.scored > 0:
                return taken_s * (1 - cell.scored) / cell.scored
            return None if evaluation_s is None else max(evaluation_s - taken_s, 0.0)
        training_s = self._training_left(cell)
        if training_s is None:
            whole_s = self._whole(name)
            return None if whole_s is None else max(whole_s - (self.now() - cell.started_s), 0.0)
        return None if evaluation_s is None else training_s + evaluation_s

    def of_run(self) -> float | None:
        """Return the seconds left of all cells; None if they are not known yet."""
        parts = [self.of_cell(name) for name in self._running] + [self._whole(name) for name in self.waiting]
        known = [part for part in parts if part is not None]
        return None if len(known) < len(parts) else sum(known) / min(self.at_a_time, max(len(parts), 1))

    def _training_left(self, cell: _Running) -> float | None:
        """Return the seconds left of a training, at the rate of the later half of the steps that were seen."""
        if not cell.seen or cell.seen[-1][1] <= cell.seen[0][1]:
            return None
        last_s, last = cell.seen[-1]
        middle = (cell.seen[0][1] + last) / 2
        first_s, first = next(point for point in reversed(cell.seen) if point[1] <= middle)
        rate = (last_s - first_s) / (last - first)
        return max(rate * (cell.steps - last) - (self.now() - last_s), 0.0)

    def _evaluation_s(self, name: str) -> float | None:
        predicted = self.predicted.get(name)
        if predicted is None:
            return None
        pairs = [(taken, self.predicted[other].evaluation) for other, taken in self._like(name, self._evaluated)]
        return predicted.evaluation * (_ratio(pairs) if pairs else self._slowness(name))

    def _whole(self, name: str) -> float | None:
        """Predict the seconds of a cell that has not trained yet."""
        predicted = self.predicted.get(name)
        if predicted is not None:
            done = self._paused[name].done if name in self._paused else 0.0
            return (predicted.total - done * predicted.training) * self._slowness(name)
        method = _method(name)
        alike = [taken for other, taken in self._taken.items() if _method(other) == method]
        if alike:
            return sum(alike) / len(alike)
        return _BASELINE_S if method in BASELINES else None

    def _slowness(self, name: str) -> float:
        """Return how many times longer than predicted the finished cells took; before the first, a running cell gives it."""
        pairs = [(taken, self.predicted[other].total) for other, taken in self._like(name, self._taken)]
        for other, cell in self._running.items():
            left = self._training_left(cell)
            if not pairs and left is not None and other in self.predicted:
                training_s = self.now() - cell.started_s + left
                pairs.append((training_s, self.predicted[other].start + self.predicted[other].training))
        return _ratio(pairs) if pairs else 1.0

    def _like(self, name: str, taken: Mapping[str, float]) -> list[tuple[str, float]]:
        """Return the predicted cells of ``taken`` that have the method of the cell ``name``; all of them if none has it."""
        known = [(other, seconds) for other, seconds in taken.items() if other in self.predicted]
        return [pair for pair in known if _method(pair[0]) == _method(name)] or known


def _ratio(pairs: list[tuple[float, float]]) -> float:
    """Return the seconds taken, divided by the predicted seconds."""
    return sum(taken for taken, _ in pairs) / sum(predicted for _, predicted in pairs)


def _method(cell: str) -> str:
    return cell.rpartition("-fold")[0]
