"""Batches prepared ahead of the training step."""

from __future__ import annotations

import threading

import pytest
import torch

from minivess.data.array_store import Store
from minivess.data.sampling.loaders import batches
from minivess.data.sampling.patch_sampler import PatchSampler


@pytest.fixture
def sampler(store: Store) -> PatchSampler:
    return PatchSampler(store, ["phantom01", "phantom02"], [(16, 16, 4)], batch=2, foreground_fraction=0.5)


class TestBatches:
    def test_the_number_of_workers_does_not_change_the_batches(self, sampler: PatchSampler) -> None:
        alone, helped = list(batches(sampler, 0, 12)), list(batches(sampler, 0, 12, workers=3))
        assert len(alone) == len(helped) == 12
        assert all(
            torch.equal(a, b) for one, two in zip(alone, helped, strict=True) for a, b in zip(one, two, strict=True)
        )

    def test_a_later_first_batch_gives_the_same_later_batches(self, sampler: PatchSampler) -> None:
        whole, rest = list(batches(sampler, 0, 6)), list(batches(sampler, 4, 6))
        assert torch.equal(whole[4][0], rest[0][0])

    def test_threads_end_when_training_stops_early(self, sampler: PatchSampler) -> None:
        running = batches(sampler, 0, 1000, workers=2)
        next(running)
        running.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("patches")]
