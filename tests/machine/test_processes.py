from __future__ import annotations

import pytest

from minivess.machine.processes import torch_environment

CARD_MEMORY = "PYTORCH_CUDA_ALLOC_CONF"


class TestTorchEnvironment:
    def test_segments_of_a_card_grow_as_the_plan_counts_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(CARD_MEMORY, raising=False)
        assert torch_environment()[CARD_MEMORY] == "expandable_segments:True"

    @pytest.mark.parametrize("name", [CARD_MEMORY, "PYTORCH_ALLOC_CONF"])
    @pytest.mark.parametrize("value", ["backend:cudaMallocAsync", "expandable_segments:False"])
    def test_whoever_has_set_just_that_keeps_it(self, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, value)
        assert torch_environment()[CARD_MEMORY] == value

    def test_other_settings_of_that_memory_stay(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CARD_MEMORY, "max_split_size_mb:128")
        assert torch_environment()[CARD_MEMORY] == "max_split_size_mb:128,expandable_segments:True"
