"""What a cell gives to its sampler, step, predictor and scoring: one real run of a tiny cell, observed from outside.

Every setting of the spec differs from its default, so that a setting that is not passed on changes what is observed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from minivess.data.array_store import Store, StoredCase, build_store
from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.profiler import DatasetProfile, scan_volume
from minivess.data.sampling.patch_sampler import PatchSampler
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.cell_spec import CellResult, CellSpec, Retry
from minivess.experiments.run_folder import CellFolder
from minivess.inference.predict_volume import predict_volume
from minivess.json_files import write_state
from minivess.losses.skeleton_recall import VolumeTube
from minivess.metrics.case import score_case
from minivess.metrics.overlap import dsc
from minivess.models.model_profile import ModelProfile, build_network
from minivess.models.sliding_window import slab_spans
from minivess.models.weights import load_network, tensors_of
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest
from minivess.supervision.limits import Limits
from minivess.supervision.supervisor import ORDER_FILE, SupervisorSpec
from minivess.text import GIB
from minivess.training.config import TrainingConfig
from minivess.training.learning_rate import learning_rate
from minivess.training.state import TrainState
from minivess.training.step import NanLossError, Step
from minivess.worker.cell_worker import device_of, predictor, run_cell, start_training

TRAIN, HELD_OUT = ("phantom02", "phantom03"), ("phantom04", "phantom01")
NETWORK = """\
import torch

def build(spec):
    layers = torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.Dropout(0.2), torch.nn.Conv3d(4, 2, 3, padding=1)
    return torch.nn.Sequential(*layers)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelProfile]:
    """A network of two convolutions and a dropout, so that the seed of a step matters."""
    folder = tmp_path_factory.mktemp("network")
    (folder / "two_layers.py").write_text(NETWORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)  # only code from there is trusted
        yield ModelProfile(name="two_layers", builder="two_layers:build", strides="planned", filters=(4, 4))


@pytest.fixture(scope="module")
def spec(store: Store, model: ModelProfile) -> CellSpec:
    request = PlanRequest(
        patch_size=(16, 16, 4), batch=3, micro_batch=2, precision="bf16", overlap=0.25, workers=1, cache_rate=0.4
    )
    return CellSpec(
        method="skeleton_recall",
        fold=1,
        train=TRAIN,
        held_out=HELD_OUT,
        store=store.folder,
        plan=compute_adaptive_profile(HardwareBudget.imagined(None, 8 * GIB), store.profile, model, request),
        training=TrainingConfig(
            max_epochs=2,
            steps_per_epoch=3,
            learning_rate=0.03,
            weight_decay=0.05,
            ema_decay=0.15,
            foreground_fraction=0.9,
            augment=False,
            validate_every=1,
            checkpoint_minutes=60,
        ),
        tolerance_um=3.5,
        loss_options={"smooth": 5.0, "tube": "volume"},
        seed=7,
    )


@dataclass
class Seen:
    """What the cell did: everything is recorded while the real functions run."""

    result: CellResult
    cell: CellFolder
    steps: list[Step] = field(default_factory=list)
    batches: list[tuple[torch.Tensor, ...]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    read_ahead: list[float] = field(default_factory=list)
    passes: list[tuple[bool, int, torch.dtype | None]] = field(default_factory=list)

    def mask(self, name: str) -> np.ndarray:
        return read_volume(self.cell.predictions / f"{name}.nii.gz")

    def checkpoint(self, part: str) -> dict[str, torch.Tensor]:
        (last,) = self.cell.checkpoints.glob("step-*")
        tensors = load_file(last / "tensors.safetensors")
        return {name.removeprefix(f"{part}/"): value for name, value in tensors.items() if name.startswith(f"{part}/")}


@pytest.fixture(scope="module")
def seen(spec: CellSpec, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    cell = CellFolder(tmp_path_factory.mktemp("cell"))
    write_state(cell.spec, spec)
    seen = Seen(None, cell)  # type: ignore[arg-type]
    sample, step, read_ahead = PatchSampler._sample, Step.__call__, Store.read_ahead

    def seen_sample(self: PatchSampler, case: StoredCase, *place: Any) -> Any:
        seen.cut.append(case.stats.name)
        return sample(self, case, *place)

    def seen_step(self: Step, state: TrainState, batch: Any) -> float:
        seen.steps.append(self)
        seen.batches.append(batch)
        loss = step(self, state, batch)
        seen.rates.append(state.optimizer.param_groups[0]["lr"])
        return loss

    def seen_read_ahead(self: Store, share: float) -> None:
        seen.read_ahead.append(share)
        read_ahead(self, share)

    def before_pass(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(layer, torch.nn.Sequential):
            dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
            seen.passes.append((layer.training, len(inputs[0]), dtype))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatchSampler, "_sample", seen_sample)
        patch.setattr(Step, "__call__", seen_step)
        patch.setattr(Store, "read_ahead", seen_read_ahead)
        hook = torch.nn.modules.module.register_module_forward_pre_hook(before_pass)
        seen.result = run_cell(cell)
        hook.remove()
    return seen


def _by_hand(network: torch.nn.Module, case: StoredCase, patch: tuple[int, int, int], overlap: float) -> np.ndarray:
    """Predict a case with the normalisation written out."""
    stats, image = case.stats, np.asarray(case.image, np.float64)
    values = (np.clip(image, stats.intensity_low, stats.intensity_high) - stats.intensity_mean) / stats.intensity_std
    return predict_volume(network, values, patch, overlap, precision=torch.autocast("cpu", torch.bfloat16))


class TestTraining:
    def test_only_training_cases_are_cut(self, seen: Seen) -> None:
        assert sorted(set(seen.cut)) == sorted(TRAIN)
        assert len(seen.cut) == 6 * 3

    def test_batches_are_those_of_the_seed_and_the_settings(self, seen: Seen, spec: CellSpec, store: Store) -> None:
        sampler = PatchSampler(
            store,
            TRAIN,
            [(16, 16, 4)],
            batch=3,
            foreground_fraction=0.9,
            seed=spec.seed,
            augment=False,
            mark=VolumeTube(),
        )
        assert all((label == 2).any() for _, label, _ in seen.batches)
        for number, batch in enumerate(seen.batches):
            for part, expected in zip(batch, sampler.batch(number), strict=True):
                np.testing.assert_array_equal(part, expected)

    def test_the_cached_share_is_that_of_the_plan(self, seen: Seen) -> None:
        assert seen.read_ahead == [0.4]

    def test_forward_passes_have_the_micro_batch_and_the_precision_of_the_plan(self, seen: Seen) -> None:
        training = [(size, dtype) for is_training, size, dtype in seen.passes if is_training]
        assert training == 6 * [(2, torch.bfloat16), (1, torch.bfloat16)]

    def test_the_step_has_seed_loss_and_options_of_the_cell(self, seen: Seen, spec: CellSpec) -> None:
        step = seen.steps[0]
        assert (step.seed, step.micro_batch, step.precision, step.config) == (7, 2, "bf16", spec.training)
        assert len(step.loss.terms) == 3  # type: ignore[arg-type]
        assert step.loss.terms[2][1].keywords == {"smooth": 5.0, "tube_of": "volume", "skeleton": "complete"}  # type: ignore[index, union-attr]

    def test_every_step_has_the_rate_of_the_schedule(self, seen: Seen, spec: CellSpec) -> None:
        assert seen.rates == [learning_rate(number, spec.training) for number in range(6)]
        assert seen.rates[0] > seen.rates[-1] > 0
        assert [line["learning_rate"] for line in seen.cell.read_journal()] == [seen.rates[2], seen.rates[5]]

    def test_every_epoch_measures_a_held_out_case_with_the_averaged_weights(
        self, seen: Seen, spec: CellSpec, store: Store
    ) -> None:
        lines = seen.cell.read_journal()
        assert [(line["step"], line["case"]) for line in lines] == [(3, "phantom01"), (6, "phantom01")]
        mask = _by_hand(load_network(seen.cell.weights), store.case("phantom01"), spec.plan.patch, 0.25)
        assert lines[-1]["dsc"] == dsc(mask != 0, store.case("phantom01").label != 0)
        assert lines[-1]["dsc"] != lines[0]["dsc"]


class TestWeights:
    def test_the_saved_weights_are_the_averaged_ones(self, seen: Seen) -> None:
        saved, average, raw = (
            tensors_of(load_network(seen.cell.weights)),
            seen.checkpoint("average"),
            seen.checkpoint("network"),
        )
        assert all(torch.equal(saved[name], average[name]) for name in average)
        assert not any(torch.equal(saved[name], raw[name]) for name in raw)

    def test_the_average_has_the_decay_of_the_configuration(self, seen: Seen, spec: CellSpec) -> None:
        """The same six steps by hand: decays (1 + n) / (10 + n), at most 0.15."""
        state, step = start_training(spec, 2)
        average = {name: value.clone() for name, value in tensors_of(state.network).items()}
        for number, batch in enumerate(seen.batches):
            step(state, batch)
            decay = min(0.15, (1 + number) / (10 + number))
            average = {
                name: decay * average[name] + (1 - decay) * value for name, value in tensors_of(state.network).items()
            }
        for name, value in seen.checkpoint("average").items():
            torch.testing.assert_close(value, average[name])

    def test_initial_weights_depend_on_seed_and_fold_alone(self, spec: CellSpec) -> None:
        def first_weights(**changes: object) -> torch.Tensor:
            return start_training(spec.model_copy(update=changes), 2)[0].network[0].weight  # type: ignore[index, return-value]

        torch.manual_seed(99)
        assert torch.equal(first_weights(), first_weights(method="dice_ce", loss_options={}))
        for change in ({"seed": 8}, {"fold": 0}):
            assert not torch.equal(first_weights(), first_weights(**change))

    def test_the_average_starts_as_a_copy_of_the_network(self, spec: CellSpec) -> None:
        state, _ = start_training(spec, 2)
        assert torch.equal(state.network[0].weight, state.average[0].weight)  # type: ignore[index, arg-type]
        assert not state.average.training
        assert (state.optimizer.defaults["lr"], state.optimizer.defaults["weight_decay"]) == (0.03, 0.05)


class TestPrediction:
    def test_masks_are_those_of_the_saved_weights_by_hand(self, seen: Seen, spec: CellSpec, store: Store) -> None:
        """With another overlap, the mask would be another one."""
        network = load_network(seen.cell.weights)
        for name in HELD_OUT:
            by_hand = _by_hand(network, store.case(name), spec.plan.patch, 0.25)
            np.testing.assert_array_equal(seen.mask(name), by_hand)
            assert 0 < by_hand.mean() < 1
        assert (by_hand != _by_hand(network, store.case(name), spec.plan.patch, 0.5)).any()

    def test_predictions_have_the_precision_of_the_plan_and_no_dropout(self, seen: Seen) -> None:
        assert {dtype for training, _, dtype in seen.passes if not training} == {torch.bfloat16}

    def test_overlap_decides_the_number_of_windows(self, spec: CellSpec, store: Store) -> None:
        """Of 96 x 96 x 5 voxels, patches of 16 x 16 x 4 with an overlap of 0.5 start every 8 x 8 x 2 voxels."""
        for overlap, per_axis in ((0.0, 6), (0.5, 11)):
            windows = []
            network = build_network(spec.plan.network)
            network.register_forward_pre_hook(lambda layer, inputs, seen=windows: seen.append(len(inputs[0])))
            plan = spec.plan.model_copy(update={"overlap": overlap})
            predictor(network, plan, lambda *beat: None)(store.case("phantom01"))
            assert sum(windows) == per_axis**2 * len(slab_spans(5, 4, overlap)) == per_axis**2 * 2

    def test_a_volume_in_another_unit_has_the_same_mask(self, seen: Seen, spec: CellSpec, tmp_path: Path) -> None:
        """Three times the intensities plus 100 are the same image for the network."""
        volume = Store(spec.store).stats("phantom01")
        other = tmp_path / "phantom01.nii.gz"
        write_volume(other, 3 * read_volume(Path(volume.image)).astype(np.uint16) + 100, spacing_um=volume.spacing_um)
        scaled = scan_volume(other, Path(volume.label or ""), voxels=True)
        case = build_store(DatasetProfile(folder="", volumes=(scaled,)), tmp_path / "store").case(scaled.name)
        mask = predictor(load_network(seen.cell.weights), spec.plan, lambda *beat: None)(case)
        assert (mask != seen.mask("phantom01")).mean() < 1e-3

    def test_a_deep_volume_is_predicted_with_its_own_patch(self, spec: CellSpec, store: Store) -> None:
        """Of the patches 16 x 16 x 4 and 16 x 16 x 8, the five slices of phantom01 take the first."""
        shapes = set()
        network = build_network(spec.plan.network)
        network.register_forward_pre_hook(lambda layer, inputs: shapes.add(tuple(inputs[0].shape[2:])))
        patches = ((16, 16, 4), (16, 16, 8))
        plan = spec.plan.model_copy(update={"network": spec.plan.network.model_copy(update={"patches": patches})})
        for name, patch in (("phantom01", patches[0]), ("phantom03", patches[1])):
            shapes.clear()
            predictor(network, plan, lambda *beat: None)(store.case(name))
            assert shapes == {patch}


class TestScores:
    def test_scores_are_those_of_the_masks_with_spacing_and_tolerance(self, seen: Seen, store: Store) -> None:
        assert [row.case for row in seen.result.rows] == list(HELD_OUT)
        for row in seen.result.rows:
            case = store.case(row.case)
            assert row.metrics == score_case(seen.mask(row.case), case.label, case.stats.spacing_um, 3.5)
            assert len(set(case.stats.spacing_um)) > 1

    def test_the_result_names_the_cell(self, seen: Seen) -> None:
        result = seen.cell.read_result()
        assert result == seen.result
        assert (result.method, result.fold, result.steps, result.micro_batch) == ("skeleton_recall", 1, 6, 2)
        assert {(row.method, row.fold) for row in result.rows} == {("skeleton_recall", 1)}
        assert json.loads((seen.cell.path / "heartbeat").read_text()) == {"stage": "score", "done": 2, "total": 2}


class TestRetry:
    def test_fewer_patches_per_pass_replace_those_of_the_plan(
        self, spec: CellSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cell = CellFolder(tmp_path)
        short = spec.training.model_copy(update={"max_epochs": 1, "steps_per_epoch": 1})
        write_state(cell.spec, spec.model_copy(update={"held_out": HELD_OUT[1:], "training": short}))
        write_state(cell.retry, Retry(micro_batch=1))
        sizes = []
        step = Step.__call__
        monkeypatch.setattr(Step, "__call__", lambda self, *data: sizes.append(self.micro_batch) or step(self, *data))
        result = run_cell(cell)
        assert (result.micro_batch, sizes) == (1, [1])
        assert "1 patches per forward pass instead of 2" in result.note


class TestResumedCell:
    """A cell with the checkpoint of its sixth and last step, and without weights."""

    @pytest.fixture
    def cell(self, seen: Seen, tmp_path: Path) -> CellFolder:
        for name in ("cell.json", "checkpoints", "metrics.jsonl"):
            path = seen.cell.path / name
            shutil.copytree(path, tmp_path / name) if path.is_dir() else shutil.copy(path, tmp_path)
        return CellFolder(tmp_path)

    def test_no_step_is_trained_twice(self, seen: Seen, cell: CellFolder, monkeypatch: pytest.MonkeyPatch) -> None:
        steps = []
        monkeypatch.setattr(Step, "__call__", lambda self, *data: steps.append(data))
        assert run_cell(cell).rows == seen.result.rows
        assert steps == []
        assert cell.read_journal() == seen.cell.read_journal()

    def test_weights_that_are_not_finite_are_refused(
        self, cell: CellFolder, spec: CellSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        longer = spec.training.model_copy(update={"steps_per_epoch": 4, "validate_every": 0})
        write_state(cell.spec, spec.model_copy(update={"training": longer}))

        def break_weights(self: Step, state: TrainState, batch: Any) -> float:
            state.step += 1
            next(state.average.parameters()).data.fill_(torch.nan)
            return 0.5

        monkeypatch.setattr(Step, "__call__", break_weights)
        with pytest.raises(NanLossError):
            run_cell(cell)
        assert not cell.trained


class TestStartTraining:
    def test_fp16_has_loss_scaling(self, spec: CellSpec) -> None:
        for precision, scaled in (("fp16", True), ("bf16", False), ("fp32", False)):
            plan = spec.plan.model_copy(update={"precision": precision})
            state, _ = start_training(spec.model_copy(update={"plan": plan}), 2)
            assert state.scaler.is_enabled() == scaled

    def test_deterministic_training_uses_deterministic_algorithms(self, spec: CellSpec) -> None:
        before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        training = spec.training.model_copy(update={"deterministic": True})
        try:
            start_training(spec.model_copy(update={"training": training}), 2)
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.backends.cudnn.benchmark
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.backends.cudnn.benchmark = before[1]


class TestDevice:
    def test_torch_is_capped_at_the_gpu_limit_of_the_supervisor(
        self, spec: CellSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caps: list[int | None] = []
        monkeypatch.setattr("minivess.worker.cell_worker.cap_gpu_memory", caps.append)
        write_state(tmp_path / ORDER_FILE, SupervisorSpec(("true",), tmp_path, Limits(gpu_limit_bytes=7 * GIB)))
        assert device_of(spec.plan.model_copy(update={"device": "cuda"}), tmp_path).type == "cuda"
        assert device_of(spec.plan, tmp_path).type == "cpu"
        assert caps == [7 * GIB]


class TestBaseline:
    def test_the_level_is_chosen_on_the_training_cases(self, spec: CellSpec, store: Store, tmp_path: Path) -> None:
        cell = CellFolder(tmp_path)
        write_state(cell.spec, spec.model_copy(update={"method": "threshold", "loss_options": {}}))
        result = run_cell(cell)
        baseline, nothing = BASELINES["threshold"], lambda *beat: None
        level = baseline.choose_level([store.case(name) for name in TRAIN], nothing)
        assert level != baseline.choose_level([store.case(name) for name in HELD_OUT], nothing)
        expected = baseline.mask(store.case("phantom01"), level, nothing)
        np.testing.assert_array_equal(read_volume(cell.predictions / "phantom01.nii.gz"), expected)
        assert (result.steps, result.note.split(":")[0]) == (0, f"cut at {level:.3g}")
