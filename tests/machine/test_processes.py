from __future__ import annotations

import pytest

from minivess.machine.processes import torch_environment

ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"


class TestTorchEnvironment:
    def test_gpu_memory_segments_are_expandable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(ALLOCATOR, raising=False)
        assert torch_environment()[ALLOCATOR] == "expandable_segments:True"

    @pytest.mark.parametrize("name", [ALLOCATOR, "PYTORCH_ALLOC_CONF"])
    @pytest.mark.parametrize("value", ["backend:cudaMallocAsync", "expandable_segments:False"])
    def test_a_setting_of_the_same_option_is_kept(self, name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(name, value)
        assert torch_environment()[ALLOCATOR] == value

    def test_settings_of_other_options_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(ALLOCATOR, "max_split_size_mb:128")
        assert torch_environment()[ALLOCATOR] == "max_split_size_mb:128,expandable_segments:True"
