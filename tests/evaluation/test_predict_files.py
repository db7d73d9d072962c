"""Weights and a file become a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minivess.data.nifti import read_header, read_volume, write_volume
from minivess.errors import DataError
from minivess.evaluation.predict_files import predict_file, require_room
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
