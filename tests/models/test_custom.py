"""A network from outside the package, named by a model profile alone."""

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

    def test_the_profiles_options_reach_the_builder(self, spec: NetworkSpec) -> None:
        assert build_network(spec).dropout.p == 0.1

    def test_five_slices_come_back_as_five(self, spec: NetworkSpec) -> None:
        assert predict_volume(build_network(spec), np.ones((20, 18, 5)), (16, 16, 4)).shape == (20, 18, 5)

    def test_auxiliary_heads_that_it_does_not_have_are_refused_in_the_plan(self, spec: NetworkSpec) -> None:
        asked = spec.model_copy(update={"deep_supervision": 2})
        with pytest.raises(ConfigError, match=r"list of 2 logits.*got one tensor.*model.deep_supervision to 0"):
            predict_training_peak(asked, "dice_ce", (16, 16, 4), 1, "fp32", device="cpu")

    def test_weights_and_options_are_saved_together(self, spec: NetworkSpec, tmp_path: Path) -> None:
        save_network(tmp_path, build_network(spec), spec)
        assert load_network(tmp_path).dropout.p == 0.1


class TestOffThePath:
    def test_the_cure_names_the_path(self, spec: NetworkSpec) -> None:
        with pytest.raises(ConfigError, match="PYTHONPATH"):
            build_network(spec.model_copy(update={"builder": "my_other_unet:build"}))
