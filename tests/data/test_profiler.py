"""Tests of the data set profile."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from minivess.data.array_store import Store
from minivess.data.formats.nifti import read_volume, write_volume
from minivess.data.formats.nifti_file import open_volume
from minivess.data.profiler import (
    DatasetProfile,
    VolumeStats,
    compute_safe_patch_sizes,
    load_profile,
    scan_dataset,
    scan_volume,
)
from minivess.errors import DataError
from minivess.metrics.betti import betti_numbers

Spacing = tuple[float, float, float]


def _write_case(folder: Path, name: str, shape: tuple[int, int, int], spacing: Spacing = (0.99, 0.99, 5.0)) -> None:
    image = np.random.default_rng(0).integers(0, 200, shape, np.uint8)
    write_volume(folder / "raw" / f"{name}.nii.gz", image, spacing_um=spacing)
    write_volume(folder / "seg" / f"{name}_y.nii.gz", (image > 180).astype(np.uint8), spacing_um=spacing)


def _profile(*shapes: tuple[int, int, int], spacing: Spacing = (1.0, 1.0, 1.0)) -> DatasetProfile:
    volumes = (
        VolumeStats(
            name=str(number),
            image="",
            label=None,
            shape=shape,
            spacing_um=spacing,
            dtype="uint8",
            stored_bytes=1,
            cached_bytes=1,
        )
        for number, shape in enumerate(shapes)
    )
    return DatasetProfile(folder="", volumes=tuple(volumes))


class TestVolumeScanner:
    def test_scan_single_volume_returns_stats(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (16, 12, 5))
        stats = scan_volume(tmp_path / "raw/mv01.nii.gz", tmp_path / "seg/mv01_y.nii.gz")
        assert (stats.name, stats.shape, stats.spacing_um, stats.dtype) == (
            "mv01",
            (16, 12, 5),
            (0.99, 0.99, 5.0),
            "uint8",
        )
        assert stats.foreground_fraction is None

    def test_scan_dataset_computes_min_max_shape(self, tmp_path: Path) -> None:
        for name, depth in (("mv01", 5), ("mv02", 22), ("mv03", 43)):
            _write_case(tmp_path, name, (16, 16, depth))
        profile = scan_dataset(tmp_path)
        assert (profile.min_shape[2], profile.median_shape[2], profile.max_shape[2]) == (5, 22, 43)

    def test_anisotropy_detected(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (8, 8, 4), (0.5, 0.5, 5.0))
        _write_case(tmp_path, "mv02", (8, 8, 4), (2.0, 2.0, 5.0))
        profile = scan_dataset(tmp_path)
        assert [volume.anisotropy for volume in profile.volumes] == [10.0, 2.5]
        assert profile.spacing_differs

    def test_safe_patch_z_lte_min_z(self, profile: DatasetProfile) -> None:
        assert compute_safe_patch_sizes(profile)["dynunet"][2] <= profile.min_shape[2]

    def test_outlier_spacing_flagged(self, tmp_path: Path) -> None:
        for name in ("mv01", "mv03", "mv04"):
            _write_case(tmp_path, name, (8, 8, 4))
        _write_case(tmp_path, "mv02", (8, 8, 4), (4.97, 4.97, 5.0))
        _write_case(tmp_path, "mv10", (8, 8, 4), (2.48, 2.48, 5.0))
        outliers = scan_dataset(tmp_path).outliers
        assert list(outliers) == ["mv02", "mv10"]
        assert all(text in outliers["mv02"] for text in ("4.97 µm", "X", "0.99 µm"))
        assert all(text in outliers["mv10"] for text in ("2.48 µm", "X", "0.99 µm"))

    def test_total_size_gb_accurate(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (64, 64, 8))
        _write_case(tmp_path, "mv02", (32, 64, 8))
        profile = scan_dataset(tmp_path)
        assert profile.stored_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.nii.gz"))
        assert profile.cached_bytes == 2 * (64 + 32) * 64 * 8  # image and label, a byte a voxel each

    def test_voxels_give_intensity_foreground_and_digest(self, profile: DatasetProfile, phantoms: Path) -> None:
        first = profile.volumes[0]
        assert first.foreground_fraction is not None
        assert 0.02 < first.foreground_fraction < 0.2
        assert profile.content_hash == scan_dataset(phantoms, voxels=True).content_hash

    def test_normalise_clips_and_centres(self) -> None:
        (stats,) = _profile((4, 4, 4)).volumes
        stats = stats.model_copy(
            update={"intensity_low": 0.0, "intensity_high": 10.0, "intensity_mean": 4.0, "intensity_std": 2.0}
        )
        assert stats.normalise(np.array([4, 8, 200], np.uint8)).tolist() == [0.0, 2.0, 3.0]

    def test_intensities_equal_numpy_statistics_of_the_stored_voxels(
        self, profile: DatasetProfile, store: Store
    ) -> None:
        for volume in profile.volumes:
            image = store.case(volume.name).image
            low, high = np.percentile(image, (0.5, 99.5))
            assert (volume.intensity_low, volume.intensity_high) == pytest.approx((low, high))
            clipped = np.clip(image, low, high, dtype=np.float64)
            assert (volume.intensity_mean, volume.intensity_std) == pytest.approx((clipped.mean(), clipped.std()))

    @pytest.mark.parametrize(("dtype", "hot"), [(np.int16, 32767), (np.float32, 1e6), (np.float32, 1e30)])
    def test_one_very_bright_voxel_does_not_change_the_normalisation(
        self, tmp_path: Path, dtype: type, hot: float
    ) -> None:
        image = np.random.default_rng(0).normal(100, 20, (32, 32, 8)).astype(dtype)
        image[3, 3, 3] = hot
        write_volume(tmp_path / "v.nii.gz", image, spacing_um=(1, 1, 1))
        normalised = scan_volume(tmp_path / "v.nii.gz", voxels=True).normalise(image)
        assert (normalised.mean(), normalised.std()) == pytest.approx((0, 1), abs=1e-4)


BASE = np.random.default_rng(0).integers(0, 200, (32, 32, 8), np.uint8)
SAME_CONTRAST: dict[str, tuple[np.ndarray, tuple[float, float]]] = {
    "2^24 as int32": (BASE.astype(np.int32) + 2**24, (1, 0)),
    "2^26 as int32": (BASE.astype(np.int32) + 2**26, (1, 0)),
    "1e9 as float64": (BASE + 1e9, (1, 0)),
    "2^36 as int64": (BASE.astype(np.int64) + 2**36, (1, 0)),
    "intercept 1e9": (BASE, (1, 1e9)),
    "slope 1e-12": (BASE, (1e-12, 0)),
    "times 1e-12": (BASE.astype(np.float32) * np.float32(1e-12), (1, 0)),
    "times 1e-50": (BASE * 1e-50, (1, 0)),
    "times 1e12": (BASE * 1e12, (1, 0)),
}


def _write_scaled(path: Path, array: np.ndarray, scaling: tuple[float, float]) -> None:
    image = nib.Nifti1Image(array, np.diag([1, 1, 5, 1]), dtype=array.dtype)
    image.header.set_slope_inter(*scaling)
    nib.save(image, path)


class TestNormaliseKeepsContrast:
    @pytest.mark.parametrize("change", SAME_CONTRAST)
    @pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
    def test_an_added_or_multiplied_constant_changes_nothing(self, tmp_path: Path, change: str, suffix: str) -> None:
        array, scaling = SAME_CONTRAST[change]
        _write_scaled(tmp_path / f"v{suffix}", array, scaling)
        stats = scan_volume(tmp_path / f"v{suffix}", voxels=True)
        found = stats.normalise(open_volume(tmp_path / f"v{suffix}", exact=stats.needs_float64))
        low, high = np.percentile(BASE, (0.5, 99.5))
        clipped = np.clip(BASE.astype(np.float64), low, high)
        np.testing.assert_allclose(found, (clipped - clipped.mean()) / clipped.std(), atol=1e-6)
        assert found.dtype == np.float32

    def test_voxels_with_a_usual_range_stay_in_float32(self, tmp_path: Path) -> None:
        for number, array in enumerate([BASE, BASE.astype(np.uint16) + 5000, BASE * 0.25]):
            write_volume(tmp_path / f"{number}.nii", array, spacing_um=(1, 1, 5))
            assert not scan_volume(tmp_path / f"{number}.nii", voxels=True).needs_float64

    def test_a_large_block_is_normalised_without_a_copy_in_float64(self, tmp_path: Path) -> None:
        block = np.resize(BASE, (256, 256, 64)).astype(np.int32) + 2**26
        write_volume(tmp_path / "v.nii", block, spacing_um=(1, 1, 5))
        stats = scan_volume(tmp_path / "v.nii", voxels=True)
        tracemalloc.start()
        stats.normalise(block)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 1.2 * 4 * block.size


class TestFullScan:
    @pytest.mark.parametrize("dtype", [np.uint8, np.float32])
    def test_voxels_are_streamed_in_less_memory_than_the_volume(self, tmp_path: Path, dtype: type) -> None:
        image = np.resize(np.arange(251, dtype=dtype), (256, 256, 256))
        write_volume(tmp_path / "raw/mv01.nii", image, spacing_um=(1, 1, 1))
        write_volume(tmp_path / "seg/mv01_y.nii", (image > 240).astype(np.uint8), spacing_um=(1, 1, 1))
        _write_case(tmp_path / "small", "mv01", (8, 8, 4))
        scan_dataset(tmp_path / "small", voxels=True)  # imports the libraries and compiles
        tracemalloc.start()
        scan_dataset(tmp_path, voxels=True)
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak_bytes < 2**24 <= image.nbytes  # the label alone is as large

    def test_two_processes_give_the_same_profile(self, phantoms: Path, profile: DatasetProfile) -> None:
        names: list[str] = []
        assert scan_dataset(phantoms, voxels=True, processes=2, progress=names.append) == profile
        assert sorted(names) == [volume.name for volume in profile.volumes]

    def test_content_hash_depends_on_the_content_of_files_not_on_their_times(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (8, 8, 4))
        before = scan_dataset(tmp_path, voxels=True)
        (tmp_path / "raw/mv01.nii.gz").touch()
        assert scan_dataset(tmp_path, voxels=True).content_hash == before.content_hash
        _write_case(tmp_path, "mv01", (8, 8, 4), (1.0, 1.0, 5.0))
        assert scan_dataset(tmp_path, voxels=True).content_hash not in {before.content_hash, None}

    def test_statistics_of_scaled_voxels_are_those_of_their_values(self, tmp_path: Path) -> None:
        image = nib.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.diag([1, 1, 5, 1]))
        image.header.set_slope_inter(0.5, 3)
        nib.save(image, tmp_path / "v.nii.gz")
        stats = scan_volume(tmp_path / "v.nii.gz", voxels=True)
        assert (stats.intensity_min, stats.intensity_max, stats.cached_bytes) == (3.0, 502.5, 4000)


class TestHeaderScan:
    def test_a_thousand_volumes_take_less_than_three_seconds(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv0", (8, 8, 4))
        for number in range(1, 1000):
            os.link(tmp_path / "raw/mv0.nii.gz", tmp_path / f"raw/mv{number}.nii.gz")
            os.link(tmp_path / "seg/mv0_y.nii.gz", tmp_path / f"seg/mv{number}_y.nii.gz")
        start = time.process_time()
        assert len(scan_dataset(tmp_path).volumes) == 1000
        assert time.process_time() - start < 3


class TestDatasetProfile:
    def test_spacings_are_counted(self) -> None:
        volumes = (*_profile((8, 8, 8), (8, 8, 9)).volumes, *_profile((8, 8, 8), spacing=(0.5, 0.5, 5.0)).volumes)
        profile = DatasetProfile(folder="", volumes=volumes)
        assert profile.spacings_um == {(1.0, 1.0, 1.0): 2, (0.5, 0.5, 5.0): 1}

    def test_some_chooses_evenly_from_the_smallest_to_the_largest(self) -> None:
        profile = _profile(*((8, 8, depth) for depth in (9, 5, 7, 6, 8)))
        assert [volume.shape[2] for volume in profile.some(3).volumes] == [9, 5, 7]  # in the order of the data set
        assert profile.some(None) == profile.some(5) == profile

    def test_float32_bytes_count_image_and_label_tensors(self, profile: DatasetProfile) -> None:
        assert profile.float32_bytes == 8 * sum(volume.voxels for volume in profile.volumes)
        assert profile.cached_bytes == profile.float32_bytes / 4

    def test_mv02_resampled_to_one_micrometre_takes_eight_gigabytes(self) -> None:
        profile = _profile((512, 512, 61), spacing=(4.97, 4.97, 5.0))
        assert profile.resampled_bytes((1.0, 1.0, 1.0))["0"] == pytest.approx(4 * 2545 * 2545 * 305, rel=1e-3)

    def test_json_contains_the_summary_and_is_read_back(self, profile: DatasetProfile) -> None:
        text = profile.model_dump_json()
        assert json.loads(text)["summary"] == profile.summary()
        assert profile.summary()["safe_patches"]["vista3d"][2] == 16
        assert DatasetProfile.model_validate_json(text) == profile

    def test_summary_is_json(self, profile: DatasetProfile) -> None:
        summary = json.loads(json.dumps(profile.summary()))
        assert (summary["volumes"], summary["shape"]["min"][2]) == (4, 5)

    def test_a_data_set_without_a_readable_volume_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/mv01.nii.gz").touch()
        profile = scan_dataset(tmp_path)
        assert [finding.check for finding in profile.findings] == ["damaged", "no_labels"]
        with pytest.raises(DataError) as caught:
            compute_safe_patch_sizes(profile)
        assert str(tmp_path) in caught.value.got


class TestProfileOfADataSet:
    def test_finer_and_coarser_spacings_are_outliers(self) -> None:
        """Of 1 µm in four of six volumes, 2 µm is not more than twice as much; 2.1 and 0.4 µm are."""
        profile = _profile(*((8, 8, 8) for _ in range(6)))
        spacings = (1.0, 1.0, 1.0, 2.0, 2.1, 0.4)
        volumes = (
            v.model_copy(update={"spacing_um": (s, s, 1.0)}) for v, s in zip(profile.volumes, spacings, strict=True)
        )
        changed = profile.model_copy(update={"volumes": tuple(volumes)})
        assert list(changed.outliers) == ["4", "5"]
        assert changed.median_spacing_um == (1.0, 1.0, 1.0)

    def test_the_vessel_share_is_that_of_all_voxels(self) -> None:
        """Half of 100 voxels and none of 300 are an eighth of 400."""
        small, large = _profile((10, 10, 1), (10, 10, 3)).volumes
        volumes = (
            small.model_copy(update={"foreground_fraction": 0.5}),
            large.model_copy(update={"foreground_fraction": 0.0}),
        )
        assert DatasetProfile(folder="", volumes=volumes).foreground_fraction == 0.125


class TestSavedProfile:
    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        _write_case(tmp_path, "mv01", (8, 8, 4))
        _write_case(tmp_path, "mv02", (8, 8, 5))
        (tmp_path / "profile.json").write_text(scan_dataset(tmp_path, voxels=True).model_dump_json())
        return tmp_path / "profile.json"

    def test_is_loaded_if_no_file_has_changed(self, saved: Path) -> None:
        assert load_profile(saved, saved.parent) == scan_dataset(saved.parent, voxels=True)

    def test_a_profile_with_an_extra_key_is_loaded(self, saved: Path) -> None:
        saved.write_text(saved.read_text().replace('"name":', '"modified_ns":0,"name":'))
        assert load_profile(saved, saved.parent) == scan_dataset(saved.parent, voxels=True)

    @pytest.mark.parametrize(
        "change",
        [
            lambda folder: _write_case(folder, "mv03", (8, 8, 4)),
            lambda folder: (folder / "raw/mv01.nii.gz").unlink(),
            lambda folder: (folder / "seg/mv01_y.nii.gz").touch(),
            lambda folder: os.utime(folder / "raw/mv01.nii.gz", (0, 0)),
            lambda folder: (folder / "splits_final.json").write_text("[]"),
            lambda folder: (folder / "raw/mv03.nrrd").touch(),
        ],
        ids=[
            "new case",
            "deleted image",
            "touched label",
            "older image",
            "new splits file",
            "new file of another format",
        ],
    )
    def test_is_not_loaded_after_a_change(self, saved: Path, change: Callable[[Path], object]) -> None:
        change(saved.parent)
        assert load_profile(saved, saved.parent) is None

    def test_an_invalid_profile_is_not_loaded(self, saved: Path) -> None:
        saved.write_text("{}")
        assert load_profile(saved, saved.parent) is None


class TestSafePatchComputation:
    def test_dynunet_patch_divisible_by_8(self) -> None:
        assert compute_safe_patch_sizes(_profile((101, 99, 35)))["dynunet"] == (96, 96, 32)

    def test_segresnet_patch_divisible_by_8(self) -> None:
        patches = compute_safe_patch_sizes(_profile((101, 99, 35)))
        assert patches["segresnet"] == (96, 96, 32)

    def test_vista3d_patch_divisible_by_16_on_every_axis(self) -> None:
        patches = compute_safe_patch_sizes(_profile((101, 127, 5), spacing=(0.99, 0.99, 5)))
        assert patches["vista3d"] == (96, 112, 16)  # five slices are padded to 16

    def test_patch_reduced_for_small_z(self) -> None:
        profile = _profile((512, 512, 5), (512, 512, 110), spacing=(0.99, 0.99, 5))
        assert compute_safe_patch_sizes(profile)["dynunet"] == (512, 512, 4)

    def test_patch_xy_unconstrained_for_512(self) -> None:
        patch = compute_safe_patch_sizes(_profile((512, 512, 43)), cap=(96, 96, 24))["dynunet"]
        assert patch == (96, 96, 24)


class TestRealVolumes:
    def test_shapes_and_outliers_of_vesselnn(self, real_data: Path) -> None:
        profile = scan_dataset(real_data)
        assert (profile.min_shape, profile.max_shape) == ((320, 320, 10), (512, 512, 26))
        assert list(profile.outliers) == ["vnn07"]
        full = scan_dataset(real_data, voxels=True)
        assert profile.findings == [found for found in full.findings if not found.check.startswith("label_")]

    def test_artefacts_of_the_labels_of_vesselnn(self, real_data: Path) -> None:
        label = real_data / "seg/vnn05_y.nii.gz"
        found = scan_volume(real_data / "raw/vnn05.nii.gz", label, voxels=True).label_artefacts
        assert found is not None
        assert (found.pieces, found.tunnels, found.cavities) == betti_numbers(read_volume(label) > 0)
        assert (found.small_pieces, found.lost_pieces, found.pinholes, found.bridges) == (108, 8, 10, 1)
        assert not found.is_staircase
