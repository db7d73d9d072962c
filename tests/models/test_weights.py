"""Saving and loading of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minivess.errors import DataError
from minivess.models.model_profile import NetworkSpec, build_network
from minivess.models.weights import load_network, save_network, tensors_of


class TestSaveAndLoad:
    def test_a_loaded_network_predicts_the_same(self, spec: NetworkSpec, tmp_path: Path) -> None:
        network = build_network(spec).eval()
        save_network(tmp_path, network, spec)
        image = torch.randn(1, 1, 16, 16, 4)
        with torch.no_grad():
            assert torch.equal(load_network(tmp_path)(image), network(image))

    def test_half_precision_halves_the_file_and_computes_in_float32(self, spec: NetworkSpec, tmp_path: Path) -> None:
        network = build_network(spec).eval()
        for name, half in (("whole", False), ("half", True)):
            save_network(tmp_path / name, network, spec, half=half)
        sizes = {path.parent.name: path.stat().st_size for path in tmp_path.glob("*/network.safetensors")}
        assert sizes["half"] < 0.65 * sizes["whole"]
        loaded = load_network(tmp_path / "half")
        assert {value.dtype for value in loaded.parameters()} == {torch.float32}
        for one, other in zip(loaded.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

    def test_a_layer_with_two_names_is_saved_once(self, spec: NetworkSpec) -> None:
        network = build_network(spec)
        assert sum(value.numel() for value in tensors_of(network).values()) == sum(
            p.numel() for p in network.parameters()
        )
        assert len(tensors_of(network)) < len(network.state_dict())

    def test_weights_of_another_network_are_refused(self, spec: NetworkSpec, tmp_path: Path) -> None:
        save_network(tmp_path, build_network(spec), spec.model_copy(update={"filters": (2, 4, 8)}))
        with pytest.raises(DataError) as caught:
            load_network(tmp_path)
        assert "shapes" in caught.value.got

    def test_a_truncated_file_is_named(self, spec: NetworkSpec, tmp_path: Path) -> None:
        save_network(tmp_path, build_network(spec), spec)
        weights = tmp_path / "network.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(DataError) as caught:
            load_network(tmp_path)
        assert str(weights) in caught.value.got

    def test_an_empty_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            load_network(tmp_path)
        assert str(tmp_path / "network.json") in caught.value.got
