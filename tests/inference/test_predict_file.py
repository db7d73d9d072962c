"""Segmentation of NIfTI files, and the command `minivess predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from minivess.cli.prediction import predict
from minivess.data.array_store import Store
from minivess.data.formats.nifti import read_header, read_volume, write_volume
from minivess.errors import DataError
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.run_folder import CellFolder
from minivess.inference.predict_file import predict_file, require_inputs, require_room
from minivess.inference.predict_volume import predict_volume
from minivess.json_files import write_state
from minivess.models.model_profile import NetworkSpec, build_network, load_model_profile
from minivess.models.weights import TrainedOn, load_network, read_saved, save_network
from minivess.planning.adaptive_profiles import compute_adaptive_profile
from minivess.planning.hardware import HardwareBudget
from minivess.planning.plan import PlanRequest
from minivess.text import GIB
from minivess.training.config import TrainingConfig


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    spec = NetworkSpec(
        model="dynunet",
        builder="minivess.models.dynunet:build",
        patches=((32, 32, 4),),
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
        kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
        filters=(2, 4, 4),
    )
    save_network(tmp_path / "weights", build_network(spec), spec)
    return tmp_path / "weights"


class TestPredictFile:
    def test_the_mask_has_the_grid_of_the_input(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        volume = phantoms / "raw/phantom01.nii.gz"
        target = predict_file(weights, volume, tmp_path / "out")
        assert target == tmp_path / "out/phantom01_y.nii.gz"
        assert set(np.unique(read_volume(target))) <= {0, 1}
        mask, image = read_header(target), read_header(volume)
        assert (mask.shape, mask.affine, mask.spacing_um) == (image.shape, image.affine, image.spacing_um)

    def test_probabilities_are_floats_between_0_and_1(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        target = predict_file(weights, phantoms / "raw/phantom01.nii.gz", tmp_path, probabilities=True)
        values = read_volume(target)
        assert values.dtype == np.float32
        assert 0 <= values.min() < values.max() <= 1

    def test_a_large_intercept_does_not_change_the_probabilities(
        self, weights: Path, phantoms: Path, tmp_path: Path
    ) -> None:
        base = phantoms / "raw/phantom01.nii.gz"
        image = nib.Nifti1Image(read_volume(base), np.eye(4))
        image.header.set_slope_inter(1, 1e9)
        nib.save(image, tmp_path / "shifted.nii.gz")
        first, second = (
            read_volume(predict_file(weights, volume, tmp_path / "out", probabilities=True))
            for volume in (base, tmp_path / "shifted.nii.gz")
        )
        np.testing.assert_allclose(first, second, atol=1e-5)

    def test_mirroring_changes_the_probabilities_a_little(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        volume = phantoms / "raw/phantom02.nii.gz"
        plain, mirrored = (
            read_volume(predict_file(weights, volume, tmp_path / str(mirror), mirror=mirror, probabilities=True))
            for mirror in (False, True)
        )
        assert 0 < np.abs(plain - mirrored).mean() < 0.5

    def test_a_volume_without_contrast_is_refused_and_nothing_is_written(self, weights: Path, tmp_path: Path) -> None:
        write_volume(tmp_path / "flat.nii.gz", np.full((32, 32, 4), 7, np.uint8), spacing_um=(1, 1, 1))
        with pytest.raises(DataError, match=r"flat\.nii\.gz"):
            predict_file(weights, tmp_path / "flat.nii.gz", tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestRequireInputs:
    def test_every_file_without_a_volume_is_named(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        (tmp_path / "a.nii.gz").write_bytes(b"no NIfTI")
        write_volume(tmp_path / "b.nii.gz", np.zeros((32, 32, 1), np.uint8), spacing_um=(1, 1, 1))
        with pytest.raises(DataError, match=r"damaged: a\.nii\.gz:(?s:.*)single_slice: b\.nii\.gz:"):
            require_inputs(weights, [phantoms / "raw/phantom01.nii.gz", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])

    def test_a_folder_without_weights_is_refused(self, phantoms: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"network\.json"):
            require_inputs(tmp_path, [phantoms / "raw/phantom01.nii.gz"])


class TestCommand:
    def test_a_volume_with_nan_is_named_and_the_others_are_predicted(self, weights: Path, tmp_path: Path) -> None:
        for name, first in (("a", 0.0), ("b", np.nan), ("c", 0.0)):
            voxels = np.random.default_rng(0).random((32, 32, 5), np.float32)
            voxels[0, 0, 0] = first
            write_volume(tmp_path / f"{name}.nii.gz", voxels, spacing_um=(1, 1, 5))
        paths = [str(tmp_path / f"{name}.nii.gz") for name in "abc"]
        result = CliRunner().invoke(predict, [str(weights), *paths, "-o", str(tmp_path / "out")])
        assert result.exit_code == 3
        first, summary = result.stderr.strip().rsplit("\n", 1)
        assert "b.nii.gz: 1 NaN" in first
        assert "2 of 3 volumes" in summary
        assert "b.nii.gz" in summary
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_y.nii.gz", "c_y.nii.gz"]

    @pytest.mark.parametrize(
        ("refusal", "reason"),
        [
            (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "CUDA out of memory"),
            (MemoryError(), "MemoryError"),
            (None, "can't allocate memory"),
        ],
    )
    def test_a_volume_that_does_not_fit_into_memory_is_skipped_with_a_cure(
        self, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception | None, reason: str
    ) -> None:
        def predict_small_volumes(
            network: torch.nn.Module, volume: np.ndarray, *rest: Any, **options: Any
        ) -> np.ndarray:
            if volume.shape[2] > 5:
                if refusal:
                    raise refusal
                torch.empty(2**55)  # raises torch's own error
            return predict_volume(network, volume, *rest, **options)

        monkeypatch.setattr("minivess.inference.predict_file.predict_volume", predict_small_volumes)
        for name, depth in (("a", 6), ("b", 5)):
            voxels = np.random.default_rng(0).random((32, 32, depth), np.float32)
            write_volume(tmp_path / f"{name}.nii.gz", voxels, spacing_um=(1, 1, 5))
        paths = [str(tmp_path / f"{name}.nii.gz") for name in "ab"]
        result = CliRunner().invoke(predict, [str(weights), *paths, "-o", str(tmp_path / "out")])
        assert result.exit_code == 3
        message = " ".join(result.stderr.split())
        assert "got a.nii.gz" in message
        assert reason in message
        assert ("CUDA_VISIBLE_DEVICES" in message) == ("CUDA" in reason)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["b_y.nii.gz"]

    def test_the_default_overlap_is_that_of_the_run_of_the_weights(
        self, weights: Path, tmp_path: Path, store: Store
    ) -> None:
        voxels = np.random.default_rng(0).random((80, 32, 5), np.float32)
        write_volume(tmp_path / "a.nii.gz", voxels, spacing_um=(1, 1, 5))

        def probabilities(name: str, path: Path, *options: str) -> np.ndarray:
            command = [str(path), str(tmp_path / "a.nii.gz"), "-o", str(tmp_path / name), "--probabilities", *options]
            assert CliRunner().invoke(predict, command).exit_code == 0
            return read_volume(tmp_path / name / "a_probability.nii.gz")

        assert np.array_equal(probabilities("alone", weights), probabilities("half", weights, "--overlap", "0.5"))
        write_cell(tmp_path, store, overlap=0.0)
        own = probabilities("none", weights, "--overlap", "0")
        assert not np.array_equal(own, probabilities("half again", weights, "--overlap", "0.5"))
        for number, path in enumerate((weights, tmp_path)):
            assert np.array_equal(probabilities(f"cell{number}", path), own)


def write_cell(folder: Path, store: Store, overlap: float) -> None:
    plan = compute_adaptive_profile(
        HardwareBudget.imagined(None, 8 * GIB),
        store.profile,
        load_model_profile("dynunet"),
        PlanRequest(patch_size=(16, 16, 4), overlap=overlap),
    )
    spec = CellSpec(
        method="dice_ce",
        fold=0,
        train=(),
        held_out=(),
        store=store.folder,
        plan=plan,
        training=TrainingConfig(),
        tolerance_um=2.0,
        loss_options={},
        seed=1,
    )
    write_state(CellFolder(folder).spec, spec)


class TestRequireRoom:
    def test_creates_the_output_folder(self, tmp_path: Path) -> None:
        require_room([Path("a.nii.gz"), Path("b.nii")], tmp_path / "masks", probabilities=False, replace=False)
        assert list((tmp_path / "masks").iterdir()) == []

    def test_two_volumes_with_the_same_name_are_refused(self, tmp_path: Path) -> None:
        stacks = [Path("mouse1/stack.nii.gz"), Path("mouse2/stack.nii.gz")]
        with pytest.raises(DataError) as caught:
            require_room(stacks, tmp_path / "masks", probabilities=False, replace=True)
        assert all(name in caught.value.got for name in (*map(str, stacks), "stack_y.nii.gz"))
        assert not (tmp_path / "masks").exists()

    def test_an_existing_label_is_only_replaced_on_request(self, tmp_path: Path) -> None:
        (tmp_path / "mv01_y.nii.gz").write_bytes(b"drawn by hand")
        with pytest.raises(DataError) as caught:
            require_room([Path("mv01.nii.gz")], tmp_path, probabilities=False, replace=False)
        assert str(tmp_path / "mv01_y.nii.gz") in caught.value.got
        assert "--force" in caught.value.cure
        require_room([Path("mv01.nii.gz")], tmp_path, probabilities=True, replace=False)
        require_room([Path("mv01.nii.gz")], tmp_path, probabilities=False, replace=True)


class TestTwoPredictionsIntoOneFolder:
    def test_the_second_is_refused_and_the_first_is_kept(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        volume = phantoms / "raw/phantom01.nii.gz"
        first = predict_file(weights, volume, tmp_path, replace=False)
        written = first.read_bytes()
        with pytest.raises(DataError, match="another process"):
            predict_file(weights, volume, tmp_path, probabilities=False, mirror=True, replace=False)
        assert first.read_bytes() == written
        assert [path.name for path in tmp_path.glob("*.nii.gz")] == [first.name]


class TestUnlikeTheTraining:
    """A volume of 20x20x100 µm for a network trained at 1x1x5 µm."""

    @pytest.fixture
    def trained(self, weights: Path) -> Path:
        saved = read_saved(weights)
        spacing = (1.0, 1.0, 5.0)
        trained_on = TrainedOn(
            volumes=1, spacing_min_um=spacing, spacing_max_um=spacing, intensity_min=0, intensity_max=1
        )
        save_network(weights, load_network(weights), saved.network, trained_on)
        return weights

    def test_is_refused_without_force_and_told_with_it(self, trained: Path, tmp_path: Path) -> None:
        voxels = np.random.default_rng(0).random((32, 32, 5), np.float32)
        write_volume(tmp_path / "far.nii.gz", voxels, spacing_um=(20, 20, 100))
        command = [str(trained), str(tmp_path / "far.nii.gz"), "-o", str(tmp_path / "out"), "--quiet"]
        refused = CliRunner().invoke(predict, command)
        assert isinstance(refused.exception, DataError)
        assert "20x20x100" in str(refused.exception)
        assert not (tmp_path / "out").exists()
        forced = CliRunner().invoke(predict, [*command, "--force"])
        assert forced.exit_code == 0
        assert "20x20x100" in forced.stderr

    def test_is_refused_from_python_too(self, trained: Path, tmp_path: Path) -> None:
        voxels = np.random.default_rng(0).random((32, 32, 5), np.float32)
        write_volume(tmp_path / "swapped.nii.gz", voxels, spacing_um=(5, 1, 1))
        with pytest.raises(DataError, match="order"):
            predict_file(trained, tmp_path / "swapped.nii.gz", tmp_path / "out")
