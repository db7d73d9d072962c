"""A data set of which only some voxels are labelled: checks, profile, store and patches."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minivess.data.array_store import Store, build_store
from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.known_runs import known_voxel
from minivess.data.label_values import UNKNOWN, LabelBlock
from minivess.data.profiler import DatasetProfile, load_profile, scan_dataset, scan_volume
from minivess.data.sampling.patch_sampler import PatchSampler
from minivess.json_files import write_state
from minivess.losses.skeleton_recall import VolumeTube, tube

NAMES = ("phantom01", "phantom02", "phantom03", "phantom04")


def hide(folder: Path, name: str, known: np.ndarray, value: int = 255, dtype: type = np.uint8) -> None:
    path = folder / "seg" / f"{name}_y.nii.gz"
    label = read_volume(path).astype(dtype)
    spacing = scan_volume(path).spacing_um
    write_volume(path, np.where(known, label, value).astype(dtype), spacing_um=spacing)


def every_third_slice(shape: tuple[int, ...]) -> np.ndarray:
    known = np.zeros(shape, bool)
    known[:, :, 1::3] = True
    return known


@pytest.fixture
def dense(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


@pytest.fixture
def sparse(dense: Path) -> Path:
    """Four phantoms: every third slice of the first three is labelled; a corner of the last."""
    for name in NAMES[:3]:
        hide(dense, name, every_third_slice(read_volume(dense / f"raw/{name}.nii.gz").shape))
    shape = read_volume(dense / "raw/phantom04.nii.gz").shape
    corner = np.zeros(shape, bool)
    corner[-9:, -9:, -3:] = True
    hide(dense, "phantom04", corner)
    return dense


@pytest.fixture
def profile(sparse: Path) -> DatasetProfile:
    return scan_dataset(sparse, voxels=True, ignore_value=255)


@pytest.fixture
def store(profile: DatasetProfile, tmp_path: Path) -> Store:
    return build_store(profile, tmp_path / "store")


def checks(profile: DatasetProfile, level: str = "critical") -> dict[str, str]:
    return {finding.check: finding.cure for finding in profile.findings if finding.level == level}


class TestProfile:
    def test_says_how_much_of_each_volume_is_labelled(self, sparse: Path, profile: DatasetProfile) -> None:
        first = profile.volumes[0]
        label = read_volume(sparse / "seg/phantom01_y.nii.gz")
        assert first.labelled_slices == len(range(1, first.shape[2], 3))
        assert first.known_voxels == first.labelled_slices * first.shape[0] * first.shape[1]
        assert first.foreground_fraction == pytest.approx((label == 1).sum() / first.known_voxels)
        assert first.label_artefacts is None
        assert profile.volumes[3].known_voxels == 9 * 9 * 3
        known = sum(volume.known_voxels or 0 for volume in profile.volumes)
        assert profile.summary()["known_fraction"] == known / sum(volume.voxels for volume in profile.volumes)
        assert "label_sparse" in checks(profile, "info")

    def test_without_the_key_the_message_names_it(self, sparse: Path) -> None:
        assert "data.ignore_value to 255" in checks(scan_dataset(sparse, voxels=True))["label_values"]

    def test_the_value_that_cannot_be_vessel_is_suggested(self, dense: Path) -> None:
        shape = read_volume(dense / "raw/phantom01.nii.gz").shape
        hide(dense, "phantom01", every_third_slice(shape), -1, np.int16)
        assert "data.ignore_value to -1" in checks(scan_dataset(dense, voxels=True))["label_values"]
        assert not checks(scan_dataset(dense, voxels=True, ignore_value=-1))

    def test_a_volume_without_a_known_voxel_is_refused_by_name(self, dense: Path) -> None:
        hide(dense, "phantom02", np.array(False))
        (found,) = (f for f in scan_dataset(dense, voxels=True, ignore_value=255).findings if f.level == "critical")
        assert (found.check, found.what) == ("label_unknown", "phantom02")

    def test_a_value_that_is_vessel_in_all_labels_is_refused(self, dense: Path) -> None:
        assert "label_no_vessel" in checks(scan_dataset(dense, voxels=True, ignore_value=1))

    def test_a_label_in_float_with_a_scaling_is_read_alike(self) -> None:
        values = np.array([0, 1, 255 * (1 + 1e-7)], np.float32)
        parts = LabelBlock.of(values, 255)
        assert parts.unknown is not None
        assert parts.unknown.tolist() == [False, False, True]
        assert parts.stored().tolist() == [0, 1, UNKNOWN]

    def test_labels_with_other_unknown_voxels_are_not_identical(self, dense: Path) -> None:
        shape = read_volume(dense / "raw/phantom01.nii.gz").shape
        before = scan_dataset(dense, voxels=True, ignore_value=255).volumes[0].label_checksum
        known = np.ones(shape, bool)
        known[0, 0, 0] = read_volume(dense / "seg/phantom01_y.nii.gz")[0, 0, 0] != 0
        hide(dense, "phantom01", known)
        assert scan_dataset(dense, voxels=True, ignore_value=255).volumes[0].label_checksum != before

    def test_a_saved_profile_with_another_value_is_not_used(self, sparse: Path, profile: DatasetProfile) -> None:
        saved = sparse / "profile.json"
        write_state(saved, profile)
        assert load_profile(saved, sparse, ignore_value=255) == profile
        assert load_profile(saved, sparse) is None


class TestNnUNet:
    def describe(self, folder: Path, ignore: object) -> None:
        labels = {"background": 0, "vessel": 1, "ignore": ignore}
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))

    def test_its_label_named_ignore_is_used(self, dense: Path) -> None:
        shape = read_volume(dense / "raw/phantom01.nii.gz").shape
        hide(dense, "phantom01", every_third_slice(shape), 2)
        self.describe(dense, 2)
        profile = scan_dataset(dense, voxels=True)
        assert profile.ignore_value == 2
        assert profile.volumes[0].has_unknown
        assert not {"dataset_json", *checks(profile)} & {finding.check for finding in profile.findings}

    @pytest.mark.parametrize("ignore", ["2", True, 0, -1, 1.5, [2], None])
    def test_another_value_of_it_is_reported(self, dense: Path, ignore: object) -> None:
        self.describe(dense, ignore)
        profile = scan_dataset(dense, voxels=True)
        assert profile.ignore_value is None
        assert "dataset_json" in checks(profile, "warning")


class TestStore:
    def test_a_data_set_without_the_key_has_the_name_and_the_bytes_that_it_had(
        self, dense: Path, tmp_path: Path
    ) -> None:
        profile = scan_dataset(dense, voxels=True)
        plain = build_store(profile, tmp_path / "store")
        assert plain.folder.name == f"{profile.content_hash}-2"
        keyed = build_store(scan_dataset(dense, voxels=True, ignore_value=255), tmp_path / "store")
        assert keyed.folder.name == f"{profile.content_hash}-ignore255-2"
        assert not list(plain.folder.glob("*.known.npy"))
        for path in plain.folder.glob("*.npy"):
            assert path.read_bytes() == (keyed.folder / path.name).read_bytes()

    @pytest.mark.parametrize("name", NAMES)
    def test_label_foreground_and_known_voxels(self, store: Store, sparse: Path, name: str) -> None:
        case, label = store.case(name), read_volume(sparse / f"seg/{name}_y.nii.gz")
        np.testing.assert_array_equal(case.label, label)
        np.testing.assert_array_equal(case.foreground, np.flatnonzero(label.ravel(order="F") == 1))
        known = [known_voxel(case.known, number) for number in range(case.stats.known_voxels or 0)]
        np.testing.assert_array_equal(known, np.flatnonzero(label.ravel(order="F") != 255))

    def test_blocks_that_cut_a_run_of_known_voxels_change_nothing(
        self, store: Store, profile: DatasetProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from minivess.data.formats.nifti import read_blocks

        monkeypatch.setattr(
            "minivess.data.array_store.read_blocks",
            lambda path, header: (part for block in read_blocks(path, header) for part in np.array_split(block, 7)),
        )
        monkeypatch.setattr("minivess.data.array_store.choose_processes", lambda *facts: 1)
        again = build_store(profile, tmp_path / "again")
        for name in NAMES:
            np.testing.assert_array_equal(again.case(name).known, store.case(name).known)

    def test_a_mark_is_drawn_from_the_known_vessel(self, store: Store) -> None:
        plain, marked = store.case("phantom02").label, store.case("phantom02", VolumeTube()).label
        np.testing.assert_array_equal(marked == UNKNOWN, plain == UNKNOWN)
        np.testing.assert_array_equal(marked == 2, tube(plain == 1))


class TestPatches:
    def sampler(self, store: Store, *names: str, fraction: float = 0.0, augment: bool = True) -> PatchSampler:
        patch = (16, 16, 2)
        return PatchSampler(store, names, [patch], batch=4, foreground_fraction=fraction, augment=augment)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("fraction", [0.0, 1.0])
    def test_every_patch_has_a_known_voxel(self, store: Store, name: str, fraction: float) -> None:
        sampler = self.sampler(store, name, fraction=fraction)
        for step in range(60):
            _, label, mask = sampler.batch(step)
            assert mask.any(axis=(1, 2, 3, 4)).all()
            assert label.max() <= 1
            assert not label[~mask].any()

    def test_mask_and_label_are_those_of_the_file(self, store: Store) -> None:
        """Every voxel of a patch without augmentation has a place in the volume where image, label and mask agree."""
        case = store.case("phantom03")
        image, label, mask = (part[:, 0] for part in self.sampler(store, "phantom03", augment=False).batch(3))
        values = case.stats.normalise(case.image)
        for number in range(4):
            places = [
                (x, y, z)
                for x, y, z in zip(*np.nonzero(values == image[number, 0, 0, 0]), strict=True)
                if np.array_equal(values[x : x + 16, y : y + 16, z : z + 2], image[number])
            ]
            ((x, y, z),) = places
            part = case.label[x : x + 16, y : y + 16, z : z + 2]
            np.testing.assert_array_equal(mask[number], part != UNKNOWN)
            np.testing.assert_array_equal(label[number], part == 1)

    def test_label_and_mask_are_turned_and_mirrored_alike(self, store: Store) -> None:
        """A known box that is all vessel: wherever it is in the patch, vessel and known voxels are the same."""
        case = store.case("phantom03")
        label = np.full_like(case.label, UNKNOWN)
        label[20:50, 30:70, 2:6] = 1
        case = replace(case, label=label, foreground=np.flatnonzero(label.ravel(order="F") == 1))
        sampler, shares = self.sampler(store, "phantom03", fraction=1.0), set()
        for index in range(60):
            _, vessel, known = sampler._sample(case, (16, 16, 2), index)
            np.testing.assert_array_equal(vessel == 1, known)
            shares.add(known.mean())
        assert len(shares) > 20

    @pytest.mark.parametrize("fraction", [0.0, 1.0])
    def test_the_labelled_slice_is_at_every_depth_of_the_patch(self, store: Store, fraction: float) -> None:
        """At a fixed depth, such as the centre, the network would learn to segment only there."""
        sampler = PatchSampler(store, ["phantom03"], [(16, 16, 4)], batch=4, foreground_fraction=fraction)
        counts = sum(sampler.batch(step)[2].any(axis=(2, 3)).sum(axis=(0, 1)) for step in range(60))
        assert counts.min() > 0.6 * counts.max()

    def test_random_centres_are_spread_over_the_known_voxels(self, store: Store) -> None:
        """A patch of one voxel is its own centre."""
        sampler = PatchSampler(store, ["phantom02"], [(1, 1, 1)], batch=4, foreground_fraction=0.0, augment=False)
        assert all(sampler.batch(step)[2].all() for step in range(100))

    def test_a_volume_without_known_vessel_gives_random_known_patches(self, sparse: Path, tmp_path: Path) -> None:
        label = read_volume(sparse / "seg/phantom02_y.nii.gz")
        hide(sparse, "phantom02", (label != UNKNOWN) & (label != 1))
        store = build_store(scan_dataset(sparse, voxels=True, ignore_value=255), tmp_path / "empty")
        _, label, mask = self.sampler(store, "phantom02", fraction=1.0).batch(0)
        assert mask.any(axis=(1, 2, 3, 4)).all()
        assert not label.any()

    def test_padding_and_unknown_voxels_are_masked(self, store: Store) -> None:
        sampler = PatchSampler(store, ["phantom01"], [(32, 32, 8)], batch=4, foreground_fraction=0.5)
        _, _, mask = sampler.batch(0)
        slices = mask.any(axis=(0, 1, 2, 3))
        assert 0 < slices.sum() < 5
