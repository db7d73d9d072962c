"""The training loop. It does not depend on a model, tracker or file; everything optional is a callback."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minivess.training.state import TrainState
from minivess.training.step import Batch, Step


class Callback:
    """Base class of callbacks. Each method does nothing by default.

    After the last step of an epoch, ``after_epoch`` is called before ``after_step``. A checkpoint saved in
    ``after_step`` therefore contains no losses of the finished epoch, and training that resumes from it starts with the
    next epoch.
    """

    def after_step(self, state: TrainState) -> None: ...

    def after_epoch(self, state: TrainState, epoch: int) -> None: ...

    def at_end(self, state: TrainState) -> None: ...


def fit(state: TrainState, step: Step, batches: Iterator[Batch], callbacks: Sequence[Callback]) -> None:
    """Train until ``batches`` ends.

    Args:
        state: State to train; changed in place.
        step: Computes one optimizer step and returns the loss.
        batches: Batches of all steps from ``state.step`` to the end of training.
        callbacks: Called in their order after each epoch, after each step and at the end.
    """
    state.network.train()
    for batch in batches:
        state.losses.append(step(state, batch))
        if state.step % step.config.steps_per_epoch == 0:
            for callback in callbacks:
                callback.after_epoch(state, state.step // step.config.steps_per_epoch)
            state.losses.clear()
        for callback in callbacks:
            callback.after_step(state)
    for callback in callbacks:
        callback.at_end(state)
