"""Tests of the store of decompressed volumes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data import store_digests
from minivess.data.array_store import Store, build_store
from minivess.data.formats.nifti import read_blocks, read_volume, write_volume
from minivess.data.formats.nifti_header import Header
from minivess.data.profiler import DatasetProfile, scan_dataset, scan_volume
from minivess.errors import DataError

_BUILD_AND = """
import os, signal, sys, time
from pathlib import Path
from minivess.data.dataset_profile import DatasetProfile
from minivess.data.array_store import build_store

folder = Path(sys.argv[1])
profile = DatasetProfile.model_validate_json((folder / "profile.json").read_bytes())
build_store(profile, folder / "store", lambda volume: exec(sys.argv[2]))
"""


class TestStore:
    def test_image_and_label_equal_the_files(self, store: Store, phantoms: Path) -> None:
        case = store.case("phantom01")
        np.testing.assert_array_equal(case.image, read_volume(phantoms / "raw/phantom01.nii.gz"))
        np.testing.assert_array_equal(case.label, read_volume(phantoms / "seg/phantom01_y.nii.gz"))
        assert not case.image.flags.writeable
        assert case.image.flags.f_contiguous

    def test_foreground_lists_every_vessel_voxel(self, store: Store) -> None:
        case = store.case("phantom02")
        np.testing.assert_array_equal(case.foreground, np.flatnonzero(case.label.ravel(order="F")))

    def test_a_label_that_is_read_in_several_blocks_has_the_same_foreground(
        self, profile: DatasetProfile, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def in_blocks(path: Path, header: Header) -> Iterator[np.ndarray]:
            return (part for block in read_blocks(path, header) for part in np.array_split(block, 7))

        monkeypatch.setattr("minivess.data.array_store.read_blocks", in_blocks)
        monkeypatch.setattr("minivess.data.array_store.choose_processes", lambda *facts: 1)
        again = build_store(profile, tmp_path)
        for name in ("phantom01", "phantom02"):
            np.testing.assert_array_equal(again.case(name).foreground, store.case(name).foreground)
            np.testing.assert_array_equal(again.case(name).image, store.case(name).image)

    def test_another_data_set_has_another_store(self, profile: DatasetProfile, store: Store, tmp_path: Path) -> None:
        part = profile.model_copy(update={"volumes": profile.volumes[:2]})
        folders = {build_store(data, tmp_path).folder for data in (profile, part, profile)}
        assert len(folders) == 2

    def test_a_dropped_case_is_unmapped(self, store: Store) -> None:
        before = _mappings()
        case = store.case("phantom03")
        assert case.image.sum() > 0
        assert len(_mappings() - before) == 3
        del case
        assert _mappings() == before

    def test_slope_and_intercept_are_applied_in_the_store(self, profile: DatasetProfile, tmp_path: Path) -> None:
        image = nib.Nifti1Image(read_volume(Path(profile.volumes[0].image)), np.eye(4))
        image.header.set_slope_inter(0.5, 10)
        nib.save(image, tmp_path / "scaled.nii")
        scaled = scan_volume(tmp_path / "scaled.nii", Path(profile.volumes[0].label or ""), voxels=True)
        case = build_store(DatasetProfile(folder="", volumes=(scaled,)), tmp_path / "store").case("scaled")
        assert case.image.dtype == np.float32
        np.testing.assert_array_equal(case.image, read_volume(tmp_path / "scaled.nii"))

    def test_a_large_intercept_keeps_the_contrast_in_the_store(self, profile: DatasetProfile, tmp_path: Path) -> None:
        voxels = read_volume(Path(profile.volumes[0].image))
        image = nib.Nifti1Image(voxels, np.eye(4))
        image.header.set_slope_inter(1, 1e9)
        nib.save(image, tmp_path / "scaled.nii")
        scaled = scan_volume(tmp_path / "scaled.nii", Path(profile.volumes[0].label or ""), voxels=True)
        case = build_store(DatasetProfile(folder="", volumes=(scaled,)), tmp_path / "store").case("scaled")
        np.testing.assert_array_equal(case.image - 1e9, voxels)
        assert sorted(path.name[-2:] for path in (tmp_path / "store").glob("*-*")) == ["-3"]  # -2 had float32
        assert scaled.cached_bytes == case.image.nbytes + case.label.nbytes

    def test_a_label_of_0_and_255_is_stored_as_0_and_1(self, profile: DatasetProfile, tmp_path: Path) -> None:
        first, label = profile.volumes[0], read_volume(Path(profile.volumes[0].label or ""))
        write_volume(tmp_path / "l.nii", 255 * label, spacing_um=first.spacing_um)
        stats = scan_volume(Path(first.image), tmp_path / "l.nii", voxels=True)
        case = build_store(DatasetProfile(folder="", volumes=(stats,)), tmp_path / "store").case(stats.name)
        np.testing.assert_array_equal(case.label, label)

    @pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.25, 3), (1.0, 12)])
    def test_the_share_decides_how_many_files_are_read_ahead(
        self, store: Store, share: float, count: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Four volumes have twelve files."""
        asked: list[str] = []
        monkeypatch.setattr(os, "posix_fadvise", lambda file, *_: asked.append(os.readlink(f"/proc/self/fd/{file}")))
        store.read_ahead(share)
        for thread in threading.enumerate():
            if thread.daemon and thread.name.endswith("(_prefetch)"):
                thread.join()
        assert asked == [str(path) for path in sorted(store.folder.glob("*.npy"))[:count]]

    def test_an_existing_store_is_reused(self, profile: DatasetProfile, store: Store) -> None:
        before = (store.folder / "phantom01.image.npy").stat().st_mtime_ns
        again = build_store(profile, store.folder.parent)
        assert again.folder == store.folder
        assert (again.folder / "phantom01.image.npy").stat().st_mtime_ns == before

    def test_a_moved_data_set_reuses_the_store_with_new_paths(self, phantoms: Path, tmp_path: Path) -> None:
        shutil.copytree(phantoms, tmp_path / "before")
        build_store(scan_dataset(tmp_path / "before", voxels=True), tmp_path / "store")
        (tmp_path / "before").rename(tmp_path / "after")
        case = build_store(scan_dataset(tmp_path / "after", voxels=True), tmp_path / "store").case("phantom01")
        assert case.stats.image == str(tmp_path / "after/raw/phantom01.nii.gz")
        assert len(list((tmp_path / "store").glob("*-*"))) == 1

    @pytest.mark.parametrize("file", ["phantom02.label.npy", "phantom03.image.npy", "digests.json"])
    def test_a_flipped_bit_is_seen_and_the_store_is_written_again(
        self, profile: DatasetProfile, tmp_path: Path, file: str
    ) -> None:
        folder = build_store(profile, tmp_path).folder
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
        build_store(profile, tmp_path)
        case = Store(folder).case("phantom02")
        assert np.flatnonzero(case.label.ravel(order="F")).tolist() == case.foreground.tolist()
        assert file == "digests.json" or (folder / file).read_bytes() == whole

    def test_files_are_read_again_only_if_their_state_has_changed(
        self, profile: DatasetProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = build_store(profile, tmp_path).folder
        read: list[str] = []
        original = store_digests.digest_of_file
        monkeypatch.setattr(store_digests, "digest_of_file", lambda path: read.append(path.name) or original(path))
        build_store(profile, tmp_path)
        assert read == []
        os.utime(folder / "phantom01.label.npy")
        build_store(profile, tmp_path)
        build_store(profile, tmp_path)
        assert set(read) == {"phantom01.label.npy"}

    def test_a_failed_build_leaves_no_files(self, profile: DatasetProfile, tmp_path: Path) -> None:
        gone = profile.volumes[0].model_copy(update={"image": str(tmp_path / "gone.nii.gz")})
        with pytest.raises(DataError) as caught:
            build_store(DatasetProfile(folder="", volumes=(gone,)), tmp_path / "store")
        assert str(tmp_path / "gone.nii.gz") in caught.value.got
        assert [path.name for path in (tmp_path / "store").iterdir()] == [".lock"]

    def test_the_next_build_deletes_the_files_of_a_killed_build(self, profile: DatasetProfile, tmp_path: Path) -> None:
        (tmp_path / "profile.json").write_text(profile.model_dump_json())
        command = [sys.executable, "-c", _BUILD_AND, str(tmp_path), "os.kill(os.getpid(), signal.SIGKILL)"]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        (orphan,) = (tmp_path / "store").glob(".tmp-*")
        assert (orphan / "phantom01.image.npy").is_file()
        build_store(profile, tmp_path / "store")
        assert not orphan.exists()

    def test_a_second_build_waits_and_reuses_the_store(self, profile: DatasetProfile, tmp_path: Path) -> None:
        (tmp_path / "profile.json").write_text(profile.model_dump_json())
        command = [sys.executable, "-c", _BUILD_AND, str(tmp_path), "print('storing', flush=True); time.sleep(0.2)"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            stored: list[str] = []
            ours = build_store(profile, tmp_path / "store", lambda volume: stored.append(volume.name))
        assert other.returncode == 0
        assert stored == []
        assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".lock", ours.folder.name]

    def test_a_profile_of_headers_alone_is_refused(self, phantoms: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            build_store(scan_dataset(phantoms), tmp_path)
        assert "voxels=True" in caught.value.cure
        assert list(tmp_path.iterdir()) == []

    def test_an_unfinished_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            Store(tmp_path)
        assert str(tmp_path) in caught.value.got


class LowerHalf:
    """A mark of all voxels in the lower half of Y, in the background too; it counts how often it is drawn."""

    name = "lower-half"

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, label: np.ndarray) -> np.ndarray:
        self.drawn += 1
        marked = np.zeros_like(label)
        marked[:, : label.shape[1] // 2] = True
        return marked


class TestMarkedLabel:
    @pytest.fixture
    def own(self, profile: DatasetProfile, tmp_path: Path) -> Store:
        return build_store(profile, tmp_path)

    def test_marked_vessel_voxels_are_2(self, own: Store) -> None:
        plain, marked = own.case("phantom01"), own.case("phantom01", LowerHalf())
        half = plain.label.shape[1] // 2
        np.testing.assert_array_equal(marked.label[:, :half], 2 * plain.label[:, :half])
        np.testing.assert_array_equal(marked.label[:, half:], plain.label[:, half:])
        assert marked.label.dtype == np.uint8
        assert marked.label.flags.f_contiguous

    def test_is_drawn_once_for_all_threads_and_later_processes(self, own: Store) -> None:
        mark = LowerHalf()
        threads = [threading.Thread(target=own.case, args=("phantom01", mark)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        Store(own.folder).case("phantom01", mark)
        assert mark.drawn == 1

    def test_a_damaged_one_is_drawn_again(self, own: Store, profile: DatasetProfile) -> None:
        mark = LowerHalf()
        expected = own.case("phantom01", mark).label.copy()
        (path,) = own.folder.glob("*lower-half.npy")
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        np.testing.assert_array_equal(Store(own.folder).case("phantom01", mark).label, expected)
        assert mark.drawn == 2
        assert build_store(profile, own.folder.parent).folder == own.folder  # the store itself is not damaged


def _mappings() -> set[str]:
    """Paths of the store files that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if line.endswith(".npy")}
