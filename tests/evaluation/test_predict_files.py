"""Weights and a file become a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from minivess.cli.predict import predict
from minivess.data.nifti import read_header, read_volume, write_volume
from minivess.errors import DataError
from minivess.evaluation.predict_files import predict_file, require_inputs, require_room
from minivess.models.registry import NetworkSpec, build_network
from minivess.models.weights import save_network


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
    def test_the_mask_lies_on_the_grid_of_the_input(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
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

    def test_mirroring_changes_the_probabilities_a_little(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        volume = phantoms / "raw/phantom02.nii.gz"
        plain, mirrored = (
            read_volume(predict_file(weights, volume, tmp_path / str(mirror), mirror=mirror, probabilities=True))
            for mirror in (False, True)
        )
        assert 0 < np.abs(plain - mirrored).mean() < 0.5

    def test_a_flat_volume_is_refused_and_nothing_written(self, weights: Path, tmp_path: Path) -> None:
        write_volume(tmp_path / "flat.nii.gz", np.full((32, 32, 4), 7, np.uint8), spacing_um=(1, 1, 1))
        with pytest.raises(DataError, match="contrast"):
            predict_file(weights, tmp_path / "flat.nii.gz", tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestRequireInputs:
    def test_every_file_that_holds_no_volume_is_named(self, weights: Path, phantoms: Path, tmp_path: Path) -> None:
        (tmp_path / "a.nii.gz").write_bytes(b"no NIfTI")
        write_volume(tmp_path / "b.nii.gz", np.zeros((32, 32, 1), np.uint8), spacing_um=(1, 1, 1))
        with pytest.raises(DataError, match=r"damaged: a\.nii\.gz:(?s:.*)single_slice: b\.nii\.gz:"):
            require_inputs(weights, [phantoms / "raw/phantom01.nii.gz", tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"])

    def test_weights_that_are_none_are_refused(self, phantoms: Path, tmp_path: Path) -> None:
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
        assert "got b.nii.gz: 1 NaN" in result.stderr
        assert f"2 of 3 volumes are predicted in {tmp_path}/out; not so b.nii.gz" in result.stderr
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_y.nii.gz", "c_y.nii.gz"]


class TestRequireRoom:
    def test_makes_the_folder_for_masks_to_come(self, tmp_path: Path) -> None:
        require_room([Path("a.nii.gz"), Path("b.nii")], tmp_path / "masks", probabilities=False, replace=False)
        assert list((tmp_path / "masks").iterdir()) == []

    def test_two_volumes_of_one_name_are_refused(self, tmp_path: Path) -> None:
        stacks = [Path("mouse1/stack.nii.gz"), Path("mouse2/stack.nii.gz")]
        with pytest.raises(DataError, match=r"mouse1/stack.* and .*mouse2/stack.*stack_y.nii.gz"):
            require_room(stacks, tmp_path / "masks", probabilities=False, replace=True)
        assert not (tmp_path / "masks").exists()

    def test_a_label_is_not_replaced_unless_that_is_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "mv01_y.nii.gz").write_bytes(b"drawn by hand")
        with pytest.raises(DataError, match=r"which is there already.*--force"):
            require_room([Path("mv01.nii.gz")], tmp_path, probabilities=False, replace=False)
        require_room([Path("mv01.nii.gz")], tmp_path, probabilities=True, replace=False)
        require_room([Path("mv01.nii.gz")], tmp_path, probabilities=False, replace=True)
