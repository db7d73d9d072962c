"""The training loop. It knows no model, no tracker and no file; everything optional hangs on its three moments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from minivess.training.state import TrainState
from minivess.training.step import Batch, Step


class Callback:
    """What happens beside training; each moment does nothing unless a subclass says otherwise.

    After the last step of an epoch ``after_epoch`` comes before ``after_step``, so that what is saved there leaves nothing of
    that epoch to be said: training that goes on from it begins the next one.
    """

    def after_step(self, state: TrainState) -> None: ...

    def after_epoch(self, state: TrainState, epoch: int) -> None: ...

    def at_end(self, state: TrainState) -> None: ...


def fit(state: TrainState, step: Step, batches: Iterator[Batch], callbacks: Sequence[Callback]) -> None:
    """Train from ``state.step`` to the configured end; ``batches`` begins with the batch of ``state.step``."""
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
