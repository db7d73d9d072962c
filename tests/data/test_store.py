"""The store of decompressed volumes."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.nifti import read_volume
from minivess.data.profiler import DatasetProfile, scan_dataset, scan_volume
from minivess.data.store import Store, build_store
from minivess.errors import DataError


class TestStore:
    def test_holds_what_the_files_hold(self, store: Store, phantoms: Path) -> None:
        case = store.case("phantom01")
        np.testing.assert_array_equal(case.image, read_volume(phantoms / "raw/phantom01.nii.gz"))
        np.testing.assert_array_equal(case.label, read_volume(phantoms / "seg/phantom01_y.nii.gz"))
        assert not case.image.flags.writeable
        assert case.image.flags.f_contiguous

    def test_foreground_lists_every_vessel_voxel(self, store: Store) -> None:
        case = store.case("phantom02")
        np.testing.assert_array_equal(case.foreground, np.flatnonzero(case.label.ravel(order="F")))

    def test_a_dropped_case_gives_its_memory_back(self, store: Store) -> None:
        before = _mappings()
        case = store.case("phantom03")
        assert case.image.sum() > 0
        assert len(_mappings() - before) == 3
        del case
        assert _mappings() == before

    def test_numbers_that_the_header_scales_are_stored_as_their_values(
        self, profile: DatasetProfile, tmp_path: Path
    ) -> None:
        image = nib.Nifti1Image(read_volume(Path(profile.volumes[0].image)), np.eye(4))
        image.header.set_slope_inter(0.5, 10)
        nib.save(image, tmp_path / "scaled.nii")
        scaled = scan_volume(tmp_path / "scaled.nii", Path(profile.volumes[0].label or ""), voxels=True)
        case = build_store(DatasetProfile(folder="", volumes=(scaled,)), tmp_path / "store").case("scaled")
        assert case.image.dtype == np.float32
        np.testing.assert_array_equal(case.image, read_volume(tmp_path / "scaled.nii"))

    def test_is_built_once(self, profile: DatasetProfile, store: Store) -> None:
        before = (store.folder / "phantom01.image.npy").stat().st_mtime_ns
        again = build_store(profile, store.folder.parent)
        assert again.folder == store.folder
        assert (again.folder / "phantom01.image.npy").stat().st_mtime_ns == before

    def test_knows_where_a_data_set_was_moved(self, phantoms: Path, tmp_path: Path) -> None:
        shutil.copytree(phantoms, tmp_path / "before")
        build_store(scan_dataset(tmp_path / "before", voxels=True), tmp_path / "store")
        (tmp_path / "before").rename(tmp_path / "after")
        case = build_store(scan_dataset(tmp_path / "after", voxels=True), tmp_path / "store").case("phantom01")
        assert case.stats.image == str(tmp_path / "after/raw/phantom01.nii.gz")
        assert len(list((tmp_path / "store").iterdir())) == 1

    def test_a_failure_leaves_nothing(self, profile: DatasetProfile, tmp_path: Path) -> None:
        gone = profile.volumes[0].model_copy(update={"image": str(tmp_path / "gone.nii.gz")})
        with pytest.raises(DataError, match="no file at"):
            build_store(DatasetProfile(folder="", volumes=(gone,)), tmp_path / "store")
        assert list((tmp_path / "store").iterdir()) == []

    def test_header_facts_are_not_enough(self, phantoms: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="content hash"):
            build_store(scan_dataset(phantoms), tmp_path)

    def test_an_unfinished_folder_is_no_store(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="a finished store"):
            Store(tmp_path)


def _mappings() -> set[str]:
    """Store files that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.endswith(".npy")}
