"""SegResNet with planned strides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from minivess.errors import ConfigError
from minivess.geometry import Shape, Spacing
from minivess.inference.predict_volume import predict_volume
from minivess.models.model_profile import NetworkSpec, build_network, load_model_profile

TWO_PHOTON, ISOTROPIC = (0.99, 0.99, 5.0), (1.0, 1.0, 1.0)


def _spec(patch: Shape, spacing_um: Spacing, **changes: object) -> NetworkSpec:
    model = load_model_profile("segresnet", **{"filters": (2, 4, 8, 16), **changes})
    return model.spec((patch,), model.plan_strides(patch, spacing_um))


class TestSegResNet:
    @pytest.mark.parametrize("spacing_um", [TWO_PHOTON, ISOTROPIC])
    def test_runs_forward_and_backward_at_z_4(self, spacing_um: Spacing) -> None:
        network = build_network(_spec((16, 16, 4), spacing_um))
        logits = network(torch.randn(1, 1, 16, 16, 4))
        assert logits.shape == (1, 2, 16, 16, 4)
        logits.square().mean().backward()
        assert all(value.grad is not None and value.grad.any() for value in network.parameters())

    def test_prediction_keeps_five_slices(self) -> None:
        network = build_network(_spec((16, 16, 4), TWO_PHOTON))
        assert predict_volume(network, np.ones((20, 18, 5)), (16, 16, 4)).shape == (20, 18, 5)

    @pytest.mark.parametrize("spacing_um", [TWO_PHOTON, ISOTROPIC])
    def test_sizes_must_be_multiples_of_the_planned_divisor(self, spacing_um: Spacing) -> None:
        spec = _spec((16, 16, 4), spacing_um)
        network = build_network(spec).eval()
        fits = [2 * step for step in spec.divisor]
        assert network(torch.zeros(1, 1, *fits)).shape[2:] == tuple(fits)
        for axis, step in enumerate(spec.divisor):
            half = [*fits[:axis], 3 * step // 2, *fits[axis + 1 :]]
            with pytest.raises(RuntimeError, match="size of tensor"):
                network(torch.zeros(1, 1, *half))

    @pytest.mark.parametrize("spacing_um", [TWO_PHOTON, ISOTROPIC])
    def test_equals_monai_if_monai_can_express_the_plan(self, spacing_um: Spacing) -> None:
        from monai.networks.nets import SegResNetDS

        network = build_network(_spec((32, 32, 16), spacing_um))
        theirs = SegResNetDS(init_filters=2, norm="instance", resolution=spacing_um)
        with torch.no_grad():
            for mine, other in zip(network.parameters(), theirs.parameters(), strict=True):
                other.copy_(mine)
            image = torch.randn(1, 1, 32, 32, 16)
            torch.testing.assert_close(network(image), theirs(image))

    def test_deep_supervision_gives_a_list_only_while_training(self) -> None:
        network = build_network(_spec((16, 16, 4), TWO_PHOTON, deep_supervision=9))
        outputs = network(torch.randn(1, 1, 16, 16, 4))
        assert [output.shape for output in outputs] == [(1, 2, 16, 16, 4)] * 3
        sum(output.square().mean() for output in outputs).backward()
        assert all(value.grad is not None and value.grad.any() for value in network.parameters())
        assert network.eval()(torch.randn(1, 1, 16, 16, 4)).shape == (1, 2, 16, 16, 4)

    def test_a_patch_that_cannot_be_halved_has_one_level(self) -> None:
        spec = _spec((3, 3, 3), ISOTROPIC)
        assert spec.filters == (2,)
        assert build_network(spec)(torch.randn(1, 1, 3, 3, 3)).shape == (1, 2, 3, 3, 3)

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(ConfigError) as caught:
            build_network(_spec((16, 16, 4), TWO_PHOTON, options={"blocks": 2}))
        assert "blocks," in caught.value.got
