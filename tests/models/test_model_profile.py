"""Model profiles and the networks they describe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minivess.errors import ConfigError
from minivess.models.model_profile import NetworkSpec, build_network, load_model_profile


class TestModelProfile:
    def test_changes_replace_values_of_the_file(self) -> None:
        assert load_model_profile("dynunet", filters=(8, 16)).filters == (8, 16)

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_model_profile("dynunett")
        assert all(name in caught.value.expected for name in ("dynunet", "segresnet", "vista3d"))
        assert "'dynunett'" in caught.value.got
        assert "'dynunet'" in caught.value.cure

    def test_a_profile_is_loaded_from_a_path(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("name: mine\nbuilder: lab.nets:build\nstrides: planned\nfilters: [8]\n")
        assert load_model_profile(str(path)).builder == "lab.nets:build"

    def test_an_unknown_key_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("name: mine\nbuilder: a:b\nstrides: planned\nfilters: [8]\ndepth: 3\n")
        with pytest.raises(ConfigError) as caught:
            load_model_profile(str(path))
        assert "'depth'" in caught.value.got
        assert str(path) in caught.value.got

    def test_an_unknown_key_in_a_list_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("name: mine\nbuilder: a:b\nstrides: planned\nfilters: [8]\nmeasured: [{note: mine}]\n")
        with pytest.raises(ConfigError) as caught:
            load_model_profile(str(path))
        assert "'measured.0.note'" in caught.value.got

    def test_a_wrong_value_is_reported_with_key_and_file(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_model_profile("dynunet", filters=("many",))
        assert "filters.0" in caught.value.expected
        assert "whole number" in caught.value.expected
        assert "'many'" in caught.value.got
        assert "dynunet.yaml" in caught.value.got


class TestBuildNetwork:
    @pytest.mark.parametrize("builder", ["no_such_package:build", "minivess.models.dynunet:nothing", "nonsense"])
    def test_a_builder_that_cannot_be_imported_is_named(self, spec: NetworkSpec, builder: str) -> None:
        with pytest.raises(ConfigError) as caught:
            build_network(spec.model_copy(update={"builder": builder}))
        assert repr(builder) in caught.value.got

    def test_dynunet_runs_forward_and_backward_at_z_4(self, four_levels: NetworkSpec) -> None:
        assert four_levels.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2))
        assert four_levels.divisor == (8, 8, 2)
        network = build_network(four_levels)
        logits = network(torch.randn(1, 1, 32, 32, 4))
        assert logits.shape == (1, 2, 32, 32, 4)
        logits.square().mean().backward()
        assert all(value.grad is not None and value.grad.any() for value in network.parameters())

    def test_deep_supervision_gives_a_list_only_while_training(self, spec: NetworkSpec) -> None:
        deep = {"strides": ((1, 1, 1), *((2, 2, 1),) * 3), "kernels": ((3, 3, 1),) * 4, "filters": (2, 4, 4, 4)}
        network = build_network(spec.model_copy(update={**deep, "deep_supervision": 2}))
        outputs = network(torch.randn(1, 1, 16, 16, 4))
        assert [output.shape for output in outputs] == [(1, 2, 16, 16, 4)] * 3
        assert network.eval()(torch.randn(1, 1, 16, 16, 4)).shape == (1, 2, 16, 16, 4)
