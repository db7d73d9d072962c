from __future__ import annotations

import pytest

from minivess.processes import torch_environment

CARD_MEMORY = "PYTORCH_CUDA_ALLOC_CONF"


class TestTorchEnvironment:
    def test_segments_of_a_card_grow_as_the_plan_counts_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(CARD_MEMORY, raising=False)
        assert torch_environment()[CARD_MEMORY] == "expandable_segments:True"

    def test_whoever_has_set_that_otherwise_keeps_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CARD_MEMORY, "backend:cudaMallocAsync")
        assert torch_environment()[CARD_MEMORY] == "backend:cudaMallocAsync"
