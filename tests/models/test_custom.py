"""A network from outside the package, added with a model profile only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from minivess.errors import ConfigError
from minivess.inference.predict_volume import predict_volume
from minivess.models.model_profile import NetworkSpec, build_network, load_model_profile
from minivess.models.weights import load_network, save_network
from minivess.planning.memory.peak import predict_training_peak

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def spec() -> NetworkSpec:
    model = load_model_profile("example_custom", filters=(2, 4, 8))
    return model.spec(((16, 16, 4),), model.plan_strides((16, 16, 4), (0.99, 0.99, 5.0)))


@pytest.mark.usefixtures("on_path")
class TestCustomModel:
    def test_runs_forward_and_backward_at_z_4(self, spec: NetworkSpec) -> None:
        network = build_network(spec)
        logits = network(torch.randn(1, 1, 16, 16, 4))
        assert logits.shape == (1, 2, 16, 16, 4)
        torch.nn.functional.cross_entropy(logits, torch.randint(2, (1, 16, 16, 4))).backward()
        assert any(value.grad is not None and value.grad.any() for value in network.down[0].parameters())

    def test_options_of_the_profile_are_passed_to_the_builder(self, spec: NetworkSpec) -> None:
        assert build_network(spec).dropout.p == 0.1

    def test_prediction_keeps_five_slices(self, spec: NetworkSpec) -> None:
        assert predict_volume(build_network(spec), np.ones((20, 18, 5)), (16, 16, 4)).shape == (20, 18, 5)

    def test_missing_auxiliary_heads_are_refused_in_the_plan(self, spec: NetworkSpec) -> None:
        asked = spec.model_copy(update={"deep_supervision": 2})
        with pytest.raises(ConfigError) as caught:
            predict_training_peak(asked, "dice_ce", (16, 16, 4), 1, "fp32", device="cpu")
        assert "2 logits" in caught.value.expected
        assert "model.deep_supervision" in caught.value.cure

    def test_weights_and_options_are_saved_together(self, spec: NetworkSpec, tmp_path: Path) -> None:
        save_network(tmp_path, build_network(spec), spec)
        assert load_network(tmp_path).dropout.p == 0.1


class TestMissingModule:
    def test_cure_names_pythonpath(self, spec: NetworkSpec) -> None:
        with pytest.raises(ConfigError) as caught:
            build_network(spec.model_copy(update={"builder": "my_other_unet:build"}))
        assert "my_other_unet:build" in caught.value.got
        assert "PYTHONPATH" in caught.value.cure
