"""Tests of the worker that trains, predicts and scores one cell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from minivess.data.array_store import Store
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.run_folder import CellFolder
from minivess.json_files import write_state
from minivess.models.model_profile import load_model_profile
from minivess.models.weights import tensors_of
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest
from minivess.text import GIB
from minivess.training.config import TrainingConfig
from minivess.worker.cell_worker import run_cell, start_training

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def spec(store: Store, monkeypatch: pytest.MonkeyPatch) -> CellSpec:
    monkeypatch.syspath_prepend(EXAMPLES)
    model = load_model_profile("example_custom", filters=(4, 8), options={})
    request = PlanRequest(patch_size=(16, 16, 4))
    return CellSpec(
        method="dice_ce",
        fold=0,
        train=(),
        held_out=(),
        store=store.folder,
        plan=compute_adaptive_profile(HardwareBudget.imagined(None, 8 * GIB), store.profile, model, request),
        training=TrainingConfig(),
        tolerance_um=2.0,
        loss_options={},
        seed=1,
    )


def _trained(spec: CellSpec, **training: object) -> dict[str, torch.Tensor]:
    spec = spec.model_copy(update={"training": spec.training.model_copy(update=training)})
    state, step = start_training(spec, 2)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 16, 16, 4, generator=generator)
    for _ in range(2):
        step(state, (image, (image > 0).to(torch.uint8), torch.ones_like(image, dtype=torch.bool)))
    return tensors_of(state.network)


class TestStartTraining:
    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
    def test_compiled_network_gets_the_same_weights_under_the_same_names(self, spec: CellSpec) -> None:
        plain, compiled = _trained(spec), _trained(spec, compile=True)
        assert plain.keys() == compiled.keys()
        assert all(torch.allclose(plain[name], compiled[name], atol=1e-4) for name in plain)

    def test_losses_of_a_fold_start_from_the_same_weights(self, spec: CellSpec) -> None:
        first, _ = start_training(spec, 2)
        other, _ = start_training(spec.model_copy(update={"method": "cbdice"}), 1)
        another_fold, _ = start_training(spec.model_copy(update={"fold": 1}), 2)
        weights = [tensors_of(state.network) for state in (first, other, another_fold)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert not all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])


class TestRunCell:
    def test_missing_weights_are_trained_and_scored_again(self, spec: CellSpec, store: Store, tmp_path: Path) -> None:
        names = tuple(volume.name for volume in store.profile.volumes)
        training = TrainingConfig(max_epochs=1, steps_per_epoch=2, validate_every=0)
        spec = spec.model_copy(update={"train": names[1:], "held_out": names[:1], "training": training})
        cell = CellFolder(tmp_path)
        write_state(cell.spec, spec)
        scores = run_cell(cell).rows
        record = tmp_path / "cases" / f"{names[0]}.json"
        record.write_text(record.read_text().replace('"betti0_error": ', '"betti0_error": 9'))
        (cell.weights / "network.safetensors").unlink()
        assert run_cell(cell).rows == scores
        assert cell.trained
        assert cell.read_environment()["packages"]["torch"] == torch.__version__
