"""The data set profile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from minivess.data.nifti import write_volume
from minivess.data.profiler import (
    DatasetProfile,
    VolumeStats,
    compute_safe_patch_sizes,
    load_profile,
    scan_dataset,
    scan_volume,
)

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
            modified_ns=0,
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
        assert scan_dataset(tmp_path).outliers == {
            "mv02": "spacing 4.97 um along X, the median is 0.99 um",
            "mv10": "spacing 2.48 um along X, the median is 0.99 um",
        }

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


class TestFaults:
    def test_label_of_another_shape_is_critical(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (16, 16, 5))
        write_volume(tmp_path / "seg/mv01_y.nii.gz", np.zeros((16, 16, 4), np.uint8), spacing_um=(0.99, 0.99, 5))
        (finding,) = scan_dataset(tmp_path).findings
        assert (finding.level, finding.check, finding.what) == ("critical", "pair_shape", "mv01")

    @pytest.mark.parametrize(("value", "check"), [(2, "label_values"), (0, "label_empty")])
    def test_label_values(self, tmp_path: Path, value: int, check: str) -> None:
        _write_case(tmp_path, "mv01", (16, 16, 5))
        write_volume(tmp_path / "seg/mv01_y.nii.gz", np.full((16, 16, 5), value, np.uint8), spacing_um=(0.99, 0.99, 5))
        assert [finding.check for finding in scan_dataset(tmp_path, voxels=True).findings] == [check]

    def test_nan_and_flat_images(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (16, 16, 5))
        write_volume(tmp_path / "raw/mv01.nii.gz", np.full((16, 16, 5), np.nan, np.float32), spacing_um=(0.99, 0.99, 5))
        checks = [finding.check for finding in scan_dataset(tmp_path, voxels=True).findings]
        assert checks == ["finite", "contrast"]


class TestSavedProfile:
    def test_is_taken_while_files_are_unchanged(self, tmp_path: Path) -> None:
        _write_case(tmp_path, "mv01", (8, 8, 4))
        saved = tmp_path / "profile.json"
        saved.write_text(scan_dataset(tmp_path).model_dump_json())
        assert load_profile(saved, tmp_path) == scan_dataset(tmp_path)
        _write_case(tmp_path, "mv02", (8, 8, 4))
        assert load_profile(saved, tmp_path) is None


class TestSafePatchComputation:
    def test_dynunet_patch_divisible_by_8(self) -> None:
        assert compute_safe_patch_sizes(_profile((101, 99, 35)))["dynunet"] == (96, 96, 32)

    def test_segresnet_patch_divisible_by_8(self) -> None:
        assert compute_safe_patch_sizes(_profile((101, 99, 35), spacing=(0.99, 0.99, 5)))["segresnet"] == (96, 96, 32)

    def test_patch_reduced_for_small_z(self) -> None:
        profile = _profile((512, 512, 5), (512, 512, 110), spacing=(0.99, 0.99, 5))
        assert compute_safe_patch_sizes(profile)["dynunet"] == (512, 512, 4)

    def test_patch_xy_unconstrained_for_512(self) -> None:
        patch = compute_safe_patch_sizes(_profile((512, 512, 43)), cap=(96, 96, 24))["dynunet"]
        assert patch == (96, 96, 24)


class TestRealVolumes:
    def test_facts_of_vesselnn(self, real_data: Path) -> None:
        profile = scan_dataset(real_data)
        assert (profile.min_shape, profile.max_shape) == ((320, 320, 10), (512, 512, 26))
        assert list(profile.outliers) == ["vnn07"]
