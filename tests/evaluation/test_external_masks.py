"""Tests of the rules for masks of other tools: names, grid and values."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile

from minivess.data.dataset_profile import VolumeStats
from minivess.data.formats.nifti import write_volume
from minivess.data.profiler import scan_volume
from minivess.errors import DataError
from minivess.evaluation.external_masks import check_masks, find_masks, read_mask

SHAPE, SPACING = (6, 5, 4), (1.0, 1.0, 5.0)


def _touch(folder: Path, *names: str) -> str:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return str(folder)


@pytest.fixture
def volume(tmp_path: Path) -> VolumeStats:
    """A volume with the affine diag(1, 1, 5)."""
    image = np.arange(120, dtype=np.uint8).reshape(SHAPE)
    write_volume(tmp_path / "image.nii.gz", image, spacing_um=SPACING)
    return scan_volume(tmp_path / "image.nii.gz", name="a")


def _mask(path: Path, values: np.ndarray | None = None, affine: np.ndarray | None = None, unit: str = "micron") -> Path:
    values = np.eye(6, 20, dtype=np.uint8).reshape(SHAPE) if values is None else values
    image = nib.Nifti1Image(values, np.diag([*SPACING, 1]) if affine is None else affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


class TestNames:
    def test_a_mask_has_the_name_of_its_case_or_an_ending(self, tmp_path: Path) -> None:
        masks = _touch(tmp_path / "m", "a.nii.gz", "b_0000.nii", "c_y.NII.GZ", "d.ome.tif", "plans.json", ".e.tif")
        found = find_masks([masks], ["a", "b", "c", "d"])
        assert {case: path.name[0] for case, path in found.items()} == {name: name for name in "abcd"}

    def test_the_exact_name_comes_before_one_with_an_ending(self, tmp_path: Path) -> None:
        masks = _touch(tmp_path / "m", "a.nii.gz", "a_0000.nii.gz")
        found = find_masks([masks], ["a", "a_0000"])
        assert [path.name for path in found.values()] == ["a.nii.gz", "a_0000.nii.gz"]

    def test_patterns_and_files_are_read_like_folders(self, tmp_path: Path) -> None:
        one, two = _touch(tmp_path / "fold_0", "a.nii.gz"), _touch(tmp_path / "fold_1", "b.nii.gz")
        found = find_masks([f"{tmp_path}/fold_*"], ["a", "b"])
        assert found == {"a": Path(one, "a.nii.gz"), "b": Path(two, "b.nii.gz")}
        assert find_masks([f"{one}/a.nii.gz", two], ["a", "b"]) == found

    def test_every_missing_case_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            find_masks([_touch(tmp_path / "m", "a.nii.gz", "x.nii.gz")], ["a", "b1", "b2"])
        assert "b1, b2" in caught.value.got
        assert "x" in caught.value.got

    def test_two_masks_of_a_case_and_a_wrong_path_are_errors(self, tmp_path: Path) -> None:
        folders = [_touch(tmp_path / name, "a.nii.gz") for name in ("m", "n")]
        with pytest.raises(DataError, match="one mask of every case"):
            find_masks(folders, ["a"])
        with pytest.raises(DataError, match="nothing at"):
            find_masks([str(tmp_path / "o")], ["a"])


class TestGrid:
    def test_the_same_grid_in_other_units_is_accepted(self, tmp_path: Path, volume: VolumeStats) -> None:
        """SimpleITK, with which nnU-Net writes, stores micrometres as thousandths of a millimetre."""
        in_mm = _mask(tmp_path / "a.nii", affine=np.diag([0.001, 0.001, 0.005, 1]), unit="mm")
        check_masks({"a": in_mm}, {"a": volume})

    @pytest.mark.parametrize(
        ("affine", "fault"),
        [
            (np.diag([2, 1, 5, 1]), "voxel size"),
            (np.diag([1, 1, 1, 1]), "voxel size"),
            (np.diag([-1, 1, 5, 1]), "5 voxels away|10 voxels away"),
            (np.array([[1, 0, 0, 0.6], [0, 1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]]), "0.6 voxels away"),
            (np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]]), "voxels away"),
        ],
        ids=["size", "identity", "mirrored", "shifted", "axes"],
    )
    def test_another_grid_is_refused(self, affine: np.ndarray, fault: str, tmp_path: Path, volume: VolumeStats) -> None:
        with pytest.raises(DataError, match=fault):
            check_masks({"a": _mask(tmp_path / "a.nii", affine=affine)}, {"a": volume})

    def test_a_shift_below_half_a_voxel_is_accepted(self, tmp_path: Path, volume: VolumeStats) -> None:
        affine = np.array([[1, 0, 0, 0.4], [0, 1, 0, 0], [0, 0, 5, -2.4], [0, 0, 0, 1]])
        check_masks({"a": _mask(tmp_path / "a.nii", affine=affine)}, {"a": volume})

    def test_without_an_orientation_only_the_voxel_size_counts(self, tmp_path: Path, volume: VolumeStats) -> None:
        path = _mask(tmp_path / "a.nii", affine=np.diag([-1, -1, 5, 1]))
        image = nib.load(path)
        image.header["sform_code"] = image.header["qform_code"] = 0
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
        check_masks({"a": path}, {"a": volume})

    def test_a_tiff_stack_is_matched_by_index(self, tmp_path: Path, volume: VolumeStats) -> None:
        mask = np.zeros(SHAPE, np.uint8)
        mask[5, 0, 3] = 255
        tifffile.imwrite(tmp_path / "a.tif", mask.T, photometric="minisblack")
        check_masks({"a": tmp_path / "a.tif"}, {"a": volume})
        assert read_mask(tmp_path / "a.tif")[5, 0, 3] == 1
        tifffile.imwrite(tmp_path / "a.tif", mask, photometric="minisblack")
        with pytest.raises(DataError, match="6 x 5 x 4"):
            check_masks({"a": tmp_path / "a.tif"}, {"a": volume})

    def test_all_faults_are_listed(self, tmp_path: Path, volume: VolumeStats) -> None:
        bad = {name: _mask(tmp_path / f"{name}.nii", np.zeros((6, 5, size))) for name, size in (("b", 3), ("c", 2))}
        (tmp_path / "d.nii").write_bytes(b"no")
        with pytest.raises(DataError) as caught:
            check_masks({**bad, "d": tmp_path / "d.nii"}, dict.fromkeys("bcd", volume))
        assert all(text in caught.value.got for text in ("6 x 5 x 3", "6 x 5 x 2", "d.nii is damaged"))


class TestValues:
    @pytest.mark.parametrize("values", [(0, 1), (0, 255), (0,), (1,)])
    def test_masks_of_two_values_become_0_and_1(self, values: tuple[int, ...], tmp_path: Path) -> None:
        voxels = np.resize(np.array(values, np.float32), SHAPE)
        found = read_mask(_mask(tmp_path / "a.nii", voxels))
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, voxels > 0)

    @pytest.mark.parametrize(
        ("values", "found"),
        [
            ((0, 2), "2 beside 0"),
            ((0, 1, 255), "1, 255 beside 0"),
            ((0, 0.5, 1), "0.5, 1 beside 0"),
            ((0, 1, np.nan), "40 voxels that are NaN"),
            ((0, 1, -np.inf), "40 voxels that are NaN or infinite"),
        ],
    )
    def test_other_values_are_refused(
        self, values: tuple[float, ...], found: str, tmp_path: Path, volume: VolumeStats
    ) -> None:
        path = _mask(tmp_path / "a.nii", np.resize(np.array(values, np.float32), SHAPE))
        with pytest.raises(DataError, match=found):
            check_masks({"a": path}, {"a": volume})
