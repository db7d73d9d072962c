"""Ensembles: the mean probability of their networks, in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from minivess.errors import DataError
from minivess.models.ensemble import Ensemble, digest_of_model, load_model, read_model, write_ensemble
from minivess.models.model_profile import NetworkSpec, build_network
from minivess.models.weights import TrainedOn, load_network, save_network

SPEC = NetworkSpec(
    model="dynunet", builder="minivess.models.dynunet:build", patches=((16, 16, 4),),
    strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)), kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)), filters=(2, 4, 4),
)  # fmt: skip


class Constant(nn.Module):
    def __init__(self, vessel: float) -> None:
        super().__init__()
        self.logits = torch.tensor([1 - vessel, vessel]).log().view(1, 2, 1, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(image), 2, *image.shape[2:])


def test_the_softmax_of_an_ensemble_is_the_mean_probability() -> None:
    image = torch.zeros(1, 1, 2, 2, 2)
    found = Ensemble([Constant(0.9), Constant(0.2), Constant(0.4)])(image).softmax(1)
    torch.testing.assert_close(found[0, 1], torch.full((2, 2, 2), 0.5))


def test_a_certain_network_gives_finite_logits() -> None:
    assert Ensemble([Constant(1.0)])(torch.zeros(1, 1, 2, 2, 2)).isfinite().all()


@pytest.fixture
def members(tmp_path: Path) -> dict[str, Path]:
    """Two networks with different weights and training volumes."""
    found = {}
    for seed, spacing in ((0, 0.5), (1, 1.0)):
        torch.manual_seed(seed)
        trained_on = TrainedOn(
            volumes=3,
            spacing_min_um=(spacing, 1, 5),
            spacing_max_um=(spacing, 1, 5),
            intensity_min=seed,
            intensity_max=9,
        )
        save_network(tmp_path / f"cell{seed}", build_network(SPEC), SPEC, trained_on)
        found[f"dice_ce-fold{seed}"] = tmp_path / f"cell{seed}"
    return found


class TestFolder:
    def test_it_averages_its_networks(self, members: dict[str, Path], tmp_path: Path) -> None:
        write_ensemble(tmp_path / "model", members)
        image = torch.rand(1, 1, 16, 16, 4)
        with torch.inference_mode():
            each = [load_network(path)(image).softmax(1) for path in members.values()]
            found = load_model(tmp_path / "model")(image).softmax(1)
        torch.testing.assert_close(found, (each[0] + each[1]) / 2)
        assert not torch.equal(each[0], each[1])

    def test_it_knows_the_training_volumes_of_all(self, members: dict[str, Path], tmp_path: Path) -> None:
        write_ensemble(tmp_path / "model", members)
        trained_on = read_model(tmp_path / "model").trained_on
        assert trained_on is not None
        assert (trained_on.spacing_min_um[0], trained_on.spacing_max_um[0], trained_on.intensity_min) == (0.5, 1.0, 0.0)

    def test_it_is_written_once_and_again_if_a_network_changed(self, members: dict[str, Path], tmp_path: Path) -> None:
        folder = tmp_path / "model"
        write_ensemble(folder, members)
        before, first = digest_of_model(folder), folder.stat().st_ino
        write_ensemble(folder, members)
        assert folder.stat().st_ino == first
        save_network(members["dice_ce-fold0"], build_network(SPEC), SPEC)
        assert digest_of_model(folder) == before  # a link to the former file
        load_model(folder)
        write_ensemble(folder, members)
        assert digest_of_model(folder) != before
        assert {path.name for path in tmp_path.iterdir()} == {"cell0", "cell1", "model"}

    def test_damaged_or_missing_weights_are_refused(self, members: dict[str, Path], tmp_path: Path) -> None:
        write_ensemble(tmp_path / "model", members)
        path = tmp_path / "model" / "dice_ce-fold1" / "network.safetensors"
        content = path.read_bytes()
        path.unlink()
        with pytest.raises(DataError, match="no weights in"):
            load_model(tmp_path / "model")
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(DataError, match="other weights in"):
            load_model(tmp_path / "model")
        (members["dice_ce-fold0"] / "network.safetensors").unlink()
        with pytest.raises(DataError, match=r"no file .*network\.safetensors"):
            write_ensemble(tmp_path / "other", members)
