"""VISTA-3D as a vessel network, and the strides and patches of an isotropic model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import ConfigError, DataError, PlanError
from minivess.geometry import Shape
from minivess.inference.predict_volume import predict_volume
from minivess.models.model_profile import ModelProfile, NetworkSpec, build_network, load_model_profile
from minivess.planning.validation import validate_patch
from minivess.trusted_code import TRUST_VARIABLE

TINY = (8, 16, 32, 64, 128)


def _spec(patch: Shape = (32, 16, 16), **changes: object) -> NetworkSpec:
    model = load_model_profile("vista3d", **{"filters": TINY, **changes})
    return model.spec((patch,), model.plan_strides(patch, (0.99, 0.99, 5.0)))


@pytest.fixture(scope="module")
def monai() -> torch.nn.Module:
    from monai.networks.nets import vista3d132

    return vista3d132(encoder_embed_dim=8).eval()


class TestVista3D:
    def test_the_gradient_reaches_every_weight(self) -> None:
        network = build_network(_spec())
        logits = network(torch.randn(2, 1, 32, 16, 16))
        assert logits.shape == (2, 2, 32, 16, 16)
        torch.nn.functional.cross_entropy(logits, torch.randint(2, (2, 32, 16, 16))).backward()
        assert all(value.grad is not None and value.grad.any() for value in network.parameters())

    def test_prediction_keeps_five_slices(self) -> None:
        network = build_network(_spec())
        assert predict_volume(network, np.ones((32, 20, 5)), (32, 16, 16)).shape == (32, 20, 5)

    def test_filters_that_vista_does_not_have_are_refused(self) -> None:
        with pytest.raises(ConfigError) as caught:
            build_network(_spec(filters=(8, 16, 32)))
        assert "[8, 16, 32, 64, 128]" in caught.value.expected
        assert "[8, 16, 32]" in caught.value.got

    def test_a_patch_of_one_voxel_at_the_coarsest_level_is_refused(self) -> None:
        with pytest.raises(PlanError) as caught:
            build_network(_spec((16, 16, 16)))
        assert "(16, 16, 16)" in caught.value.got


class TestWeights:
    @pytest.mark.parametrize(("suffix", "prefix"), [("safetensors", ""), ("pt", "module.")])
    def test_probability_with_the_same_weights_equals_monai(
        self, monai: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, prefix: str
    ) -> None:
        monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path))
        path = tmp_path / f"model.{suffix}"
        tensors = {prefix + name: value for name, value in monai.state_dict().items()}
        save_file(tensors, path) if suffix == "safetensors" else torch.save({"model": tensors}, path)
        network = build_network(_spec(options={"weights": str(path), "prompt": 6})).eval()
        image = torch.randn(1, 1, 32, 16, 16)
        with torch.no_grad():
            theirs = monai(image, class_vector=torch.tensor([[6]])).sigmoid()
            torch.testing.assert_close(network(image).softmax(1)[:, 1:], theirs)

    def test_a_pickle_is_not_opened_unless_it_is_trusted(self, monai: torch.nn.Module, tmp_path: Path) -> None:
        torch.save({"model": monai.state_dict()}, tmp_path / "model.pt")
        with pytest.raises(DataError, match="--trust-code"):
            build_network(_spec(options={"weights": str(tmp_path / "model.pt")}))

    def test_missing_and_misshapen_tensors_are_named(self, monai: torch.nn.Module, tmp_path: Path) -> None:
        tensors = dict(monai.state_dict())
        del tensors["class_head.mlp.0.bias"]
        tensors["image_encoder.encoder.conv_init.weight"] = torch.zeros(48, 1, 3, 3, 3)
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(DataError) as caught:
            build_network(_spec(options={"weights": str(tmp_path / "model.safetensors")}))
        missing, misshapen = caught.value.got.split(";")
        assert missing.endswith(" class_head.mlp.0.bias")
        assert "conv_init.weight (48, 1, 3, 3, 3)" in misshapen

    @pytest.mark.parametrize("name", ["none.pt", "damaged.pt", "damaged.safetensors", "code.pt", "list.pt"])
    def test_a_file_without_valid_weights_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setenv(TRUST_VARIABLE, str(tmp_path))
        path = tmp_path / name
        if name.startswith("damaged"):
            path.write_bytes(b"weights")
        elif name != "none.pt":
            torch.save(Path if name == "code.pt" else [1, 2], path)
        with pytest.raises(DataError, match=name):
            build_network(_spec(options={"weights": str(path)}))

    def test_weights_are_not_read_if_pretrained_is_false(self, tmp_path: Path) -> None:
        spec = _spec(options={"weights": str(tmp_path / "gone.pt")})
        assert build_network(spec, pretrained=False)(torch.zeros(1, 1, 32, 16, 16)).shape == (1, 2, 32, 16, 16)


class TestIsotropicStrides:
    @pytest.mark.parametrize("patch", [(512, 512, 5), (96, 96, 96), (1, 1, 1)])
    def test_every_axis_is_halved_at_every_level(self, patch: Shape) -> None:
        strides = load_model_profile("vista3d").plan_strides(patch, (0.99, 0.99, 5.0))
        assert strides.divisor == (16, 16, 16)
        assert len(strides.kernels) == 5

    def test_the_divisor_follows_from_the_levels(self) -> None:
        model = ModelProfile(name="mine", builder="a:b", strides="isotropic", filters=(8, 16, 32, 64))
        assert model.plan_strides((96, 96, 5), (1, 1, 1)).divisor == (8, 8, 8)

    def test_five_slices_need_padding(self) -> None:
        facts = {"image": "", "label": None, "dtype": "uint8", "stored_bytes": 1, "cached_bytes": 1}
        volume = VolumeStats(name="mv02", shape=(512, 512, 5), spacing_um=(0.99, 0.99, 5.0), **facts)
        profile = DatasetProfile(folder="", volumes=(volume,))
        (finding,) = validate_patch((96, 96, 16), _spec().divisor, profile, "min_volume")
        assert finding.level == "critical"
        assert "patch_policy: pad" in finding.cure
        assert validate_patch((96, 96, 16), _spec().divisor, profile, "pad") == []
