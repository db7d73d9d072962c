"""Callbacks of the training loop: heartbeat, journal with scores of held-out volumes, checkpoints, graceful stop."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from minivess.atomic import write_text
from minivess.json_files import from_line, to_line
from minivess.training.checkpoint import CheckpointManager
from minivess.training.config import TrainingConfig
from minivess.training.learning_rate import learning_rate
from minivess.training.loop import Callback
from minivess.training.state import TrainState

_log = logging.getLogger(__name__)


class StopRequestedError(Exception):
    """Training was stopped by a signal. A checkpoint contains its complete state."""


class Heartbeat(Callback):
    """Reports after each step how far training is.

    Args:
        beat: Called with "train", the finished steps and all steps. It writes the file that the supervisor and the live
            view read.
        steps: Optimizer steps of the whole training.
    """

    def __init__(self, beat: Callable[[str, int, int], None], steps: int) -> None:
        self._beat = beat
        self._steps = steps

    def after_step(self, state: TrainState) -> None:
        self._beat("train", state.step, self._steps)


class Journal(Callback):
    """Writes one JSON line per epoch: step, mean loss, learning rate, steps per second, and the values of ``measure``.

    Args:
        path: File to append to. Lines after step ``start`` are removed, because those epochs are trained again.
        config: Configuration of the training. ``measure`` is called every ``validate_every`` epochs and after the last.
        start: Step that training starts from.
        measure: Returns further values for the line, such as scores of held-out volumes.
    """

    def __init__(
        self,
        path: Path,
        config: TrainingConfig,
        start: int,
        measure: Callable[[TrainState], dict[str, Any]] | None = None,
    ) -> None:
        self._path = path
        self._config = config
        self._measure = measure
        self._first, self._began = start, time.monotonic()
        _keep_lines_until(path, start)

    def after_epoch(self, state: TrainState, epoch: int) -> None:
        seconds = time.monotonic() - self._began
        line: dict[str, Any] = {
            "epoch": epoch,
            "step": state.step,
            "loss": sum(state.losses) / len(state.losses),
            "learning_rate": learning_rate(state.step - 1, self._config),
            "steps_per_second": (state.step - self._first) / seconds,
        }
        every = self._config.validate_every
        if self._measure is not None and every and (epoch % every == 0 or epoch == self._config.max_epochs):
            line |= self._measure(state)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(to_line(line))
        self._first, self._began = state.step, time.monotonic()


class Checkpoints(Callback):
    """Saves a checkpoint every ``checkpoint_minutes``, every ``checkpoint_steps`` and at the end of training."""

    def __init__(self, manager: CheckpointManager, config: TrainingConfig) -> None:
        self._manager = manager
        self._seconds = config.checkpoint_minutes * 60
        self._steps = config.checkpoint_steps
        self._saved = time.monotonic()

    def after_step(self, state: TrainState) -> None:
        due = self._steps and state.step % self._steps == 0
        if due or time.monotonic() - self._saved >= self._seconds:
            self.save(state)

    def at_end(self, state: TrainState) -> None:
        self.save(state)

    def save(self, state: TrainState) -> None:
        self._manager.save(state.step, state.tensors(), state.facts())
        self._saved = time.monotonic()


class GracefulStop(Callback):
    """On SIGTERM or SIGINT, saves at the end of the step and raises ``StopRequestedError``.

    A second SIGINT raises ``KeyboardInterrupt`` immediately. This callback must be the last one, so that the checkpoint
    at the end of training is written before it raises.

    Args:
        save: Writes a checkpoint.
    """

    def __init__(self, save: Callable[[TrainState], None]) -> None:
        self._save = save
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def after_step(self, state: TrainState) -> None:
        if self._asked:
            self._save(state)
            raise StopRequestedError(f"stopped after step {state.step}")

    def at_end(self, state: TrainState) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        if self._asked:
            raise StopRequestedError(f"stopped after step {state.step}, the last step")

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True


def _keep_lines_until(path: Path, step: int) -> None:
    """Remove the lines written after the checkpoint that training resumes from. Those epochs are trained again."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if from_line(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError) as error:
            _log.warning("A line of %s is damaged and left out: %s", path.name, error)
    write_text(path, "".join(kept))
