"""Batches prepared ahead of the training step: threads cut patches while the network computes.

The batches are the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch

from minivess.data.sampling.patch_sampler import Patch

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

_AHEAD_PER_WORKER = 2


class BatchSource(Protocol):
    """Makes batches that depend on their number only, such as `PatchSampler`."""

    def batch(self, step: int) -> Patch:
        """Return batch number ``step``: image float32, label uint8 and mask bool, each (B, 1, X, Y, Z)."""


def batches(sampler: BatchSource, first: int, last: int, workers: int = 0) -> Iterator[Batch]:
    """Yield batches number ``first`` to ``last - 1`` in order.

    Args:
        sampler: Cuts or draws the batches.
        first: Number of the first batch.
        last: Number after the last batch.
        workers: Number of threads; with 0, batches are cut in the calling thread.

    Yields:
        Image float32, label uint8 and mask bool, each (B, 1, X, Y, Z).
    """
    if workers == 0:
        for step in range(first, last):
            yield _as_tensors(sampler.batch(step))
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="patches") as pool:
        waiting: deque[Future[Patch]] = deque()
        try:
            for step in range(first, last):
                waiting.append(pool.submit(sampler.batch, step))
                if len(waiting) > workers * _AHEAD_PER_WORKER:
                    yield _as_tensors(waiting.popleft().result())
            while waiting:
                yield _as_tensors(waiting.popleft().result())
        finally:
            for future in waiting:
                future.cancel()


def _as_tensors(patch: Patch) -> Batch:
    image, label, mask = (torch.from_numpy(part) for part in patch)
    return image, label, mask
