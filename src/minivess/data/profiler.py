"""What a data set is made of: shapes and spacings from the headers alone, voxels streamed only when asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from minivess.data.importers import Case, find_cases
from minivess.data.nifti import Header, read_header, read_volume
from minivess.errors import DataError
from minivess.findings import Finding
from minivess.strides import Shape, Spacing, plan_strides, round_down

OUTLIER_FACTOR = 2.0
"""A spacing this many times coarser or finer than the data set's median is an outlier (as is SPEC's mv10 at 2.48)."""

CLIP_PERCENTILES = (0.5, 99.5)


class VolumeStats(BaseModel):
    """One volume and its label. Intensities and foreground are None until the voxels were read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    image: str
    label: str | None
    shape: Shape
    spacing_um: Spacing
    dtype: str
    stored_bytes: int
    cached_bytes: int
    modified_ns: int
    intensity_mean: float | None = None
    intensity_std: float | None = None
    intensity_low: float | None = None
    intensity_high: float | None = None
    foreground_fraction: float | None = None
    digest: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def anisotropy(self) -> float:
        """Coarsest over finest spacing; 1 for cubic voxels."""
        return max(self.spacing_um) / min(self.spacing_um)

    @property
    def voxels(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    def normalise(self, block: np.ndarray) -> np.ndarray:
        """Clip intensities to the volume's 0.5 and 99.5 percentiles, subtract its mean, divide by its deviation; float32.

        Raises:
            DataError: The volume was scanned without its voxels.
        """
        if self.intensity_low is None or self.intensity_high is None:
            raise DataError("a profile with intensities", f"none for {self.name}", "scan the data set with its voxels")
        clipped = np.clip(block, self.intensity_low, self.intensity_high, dtype=np.float32)
        return (clipped - np.float32(self.intensity_mean)) / np.float32(max(self.intensity_std or 0.0, 1e-6))


class DatasetProfile(BaseModel):
    """The data set as a whole; computed values derive from ``volumes``, so nothing in it can disagree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    volumes: tuple[VolumeStats, ...]

    @property
    def min_shape(self) -> Shape:
        return self._shape(min)

    @property
    def median_shape(self) -> Shape:
        return self._shape(median)

    @property
    def max_shape(self) -> Shape:
        return self._shape(max)

    @property
    def median_spacing_um(self) -> Spacing:
        x, y, z = (float(median(volume.spacing_um[axis] for volume in self.volumes)) for axis in range(3))
        return x, y, z

    @property
    def anisotropy(self) -> float:
        """Coarsest over finest axis of the median spacing."""
        return max(self.median_spacing_um) / min(self.median_spacing_um)

    @property
    def spacing_differs(self) -> bool:
        """Whether any axis differs more than twofold between volumes."""
        return any(
            max(volume.spacing_um[axis] for volume in self.volumes)
            > 2 * min(volume.spacing_um[axis] for volume in self.volumes)
            for axis in range(3)
        )

    @property
    def stored_bytes(self) -> int:
        return sum(volume.stored_bytes for volume in self.volumes)

    @property
    def cached_bytes(self) -> int:
        """Size in the store: each image in its own type, each label in one byte a voxel."""
        return sum(volume.cached_bytes for volume in self.volumes)

    @property
    def content_hash(self) -> str | None:
        """Digest over the names and bytes of all files; None until the files were read."""
        if any(volume.digest is None for volume in self.volumes):
            return None
        text = "\n".join(f"{volume.name} {volume.digest}" for volume in self.volumes)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def outliers(self) -> dict[str, str]:
        """Name of each volume whose spacing stands out, with the reason."""
        reasons = {}
        for volume in self.volumes:
            for axis, letter in enumerate("XYZ"):
                usual, spacing = self.median_spacing_um[axis], volume.spacing_um[axis]
                if max(spacing / usual, usual / spacing) > OUTLIER_FACTOR:
                    reasons[volume.name] = f"spacing {spacing:g} um along {letter}, the median is {usual:g} um"
                    break
        return reasons

    @property
    def findings(self) -> list[Finding]:
        """Every problem of every volume, and the outliers as warnings."""
        found = [finding for volume in self.volumes for finding in volume.findings]
        found += [
            Finding(
                "warning",
                "spacing_outlier",
                name,
                "a spacing like the others'",
                reason,
                "check the header; the run uses it as it is",
            )
            for name, reason in self.outliers.items()
        ]
        return found

    def _shape(self, choose: Callable[[Any], float]) -> Shape:
        x, y, z = (int(choose([volume.shape[axis] for volume in self.volumes])) for axis in range(3))
        return x, y, z


def scan_volume(path: Path, label: Path | None = None, *, name: str | None = None, voxels: bool = False) -> VolumeStats:
    """Describe one volume; with ``voxels`` also its intensities, its foreground and its faults.

    Raises:
        DataError: The image's header cannot be read.
    """
    header = read_header(path)
    findings = [*_pair_findings(name or path.name, header, label)]
    measured: dict[str, Any] = {}
    if voxels and not findings:
        measured, faults = _measure(name or path.name, path, label)
        findings += faults
    files = [path] if label is None else [path, label]
    return VolumeStats(
        name=name or path.name.removesuffix(".gz").removesuffix(".nii"),
        image=str(path),
        label=None if label is None else str(label),
        shape=header.shape,
        spacing_um=header.spacing_um,
        dtype=header.dtype,
        stored_bytes=sum(file.stat().st_size for file in files),
        cached_bytes=header.voxels * (min(np.dtype(header.dtype).itemsize, 4) + (label is not None)),
        modified_ns=max(file.stat().st_mtime_ns for file in files),
        findings=tuple(findings),
        **measured,
    )


def scan_dataset(
    folder: Path, *, voxels: bool = False, progress: Callable[[VolumeStats], None] | None = None
) -> DatasetProfile:
    """Describe every case of a folder (layouts: see ``find_cases``).

    Raises:
        DataError: The folder follows no known layout or a header cannot be read.
    """
    volumes = []
    for case in find_cases(folder):
        volumes.append(_scan_case(case, voxels))
        if progress is not None:
            progress(volumes[-1])
    return DatasetProfile(folder=str(folder), volumes=tuple(volumes))


def load_profile(path: Path, folder: Path) -> DatasetProfile | None:
    """The profile saved at ``path``, or None where it is missing, of another version, or the files have changed since."""
    try:
        profile = DatasetProfile.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None
    now = [(case.name, *_stamp(case)) for case in find_cases(folder)]
    then = [(volume.name, volume.stored_bytes, volume.modified_ns) for volume in profile.volumes]
    return profile if now == then else None


def compute_safe_patch_sizes(
    profile: DatasetProfile, *, cap: Sequence[int] = (512, 512, 512), levels: int = 4, fixed_divisor: int = 8
) -> dict[str, Shape]:
    """The largest patch that fits every volume, for each model family.

    DynUNet plans its strides axis by axis (``minivess.strides``); SegResNet and VISTA-3D halve every axis ``levels - 1``
    times and so need multiples of ``fixed_divisor``. An axis shorter than the divisor gets one divisor: the volume must be padded.
    """
    x, y, z = (min(size, most) for size, most in zip(profile.min_shape, cap, strict=True))
    planned = plan_strides((x, y, z), profile.median_spacing_um, levels)
    fixed = round_down((x, y, z), (fixed_divisor,) * 3)
    return {"dynunet": round_down((x, y, z), planned.divisor), "segresnet": fixed, "vista3d": fixed}


def _scan_case(case: Case, voxels: bool) -> VolumeStats:
    return scan_volume(case.image, case.label, name=case.name, voxels=voxels)


def _stamp(case: Case) -> tuple[int, int]:
    stats = [file.stat() for file in (case.image, case.label) if file is not None]
    return sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)


def _pair_findings(name: str, header: Header, label: Path | None) -> list[Finding]:
    if label is None:
        return []
    other = read_header(label)
    found = []
    if other.shape != header.shape:
        expected, got = f"the image's shape {header.shape}", f"label shape {other.shape}"
        found.append(
            Finding("critical", "pair_shape", name, expected, got, f"export the label {label.name} on the image's grid")
        )
    if not np.allclose(other.affine, header.affine, atol=1e-3):
        cure = "check that label and image belong together; voxels are matched by index"
        found.append(Finding("warning", "pair_affine", name, "the image's affine", f"another in {label.name}", cure))
    return found


def _measure(name: str, path: Path, label: Path | None) -> tuple[dict[str, Any], list[Finding]]:
    """Intensities, foreground and digest of one case; never more than one volume and one label in memory."""
    digest = hashlib.blake2b(digest_size=16)
    image = read_volume(path)
    digest.update(path.read_bytes())
    found = []
    if not np.isfinite(image).all():
        found.append(
            Finding(
                "critical", "finite", name, "finite intensities", "NaN or infinity", "mend the volume or take it out"
            )
        )
        image = np.nan_to_num(image, posinf=0, neginf=0)
    low, high = (float(value) for value in np.percentile(image, CLIP_PERCENTILES))
    if low == high:
        found.append(
            Finding("critical", "contrast", name, "an image with contrast", f"constant {low:g}", "take the volume out")
        )
    values: dict[str, Any] = {
        "intensity_mean": float(image.mean(dtype=np.float64)),
        "intensity_std": float(image.std(dtype=np.float64)),
        "intensity_low": low,
        "intensity_high": high,
    }
    if label is not None:
        fraction, faults = _measure_label(name, label)
        values["foreground_fraction"] = fraction
        found += faults
        digest.update(label.read_bytes())
    values["digest"] = digest.hexdigest()
    return values, found


def _measure_label(name: str, path: Path) -> tuple[float, list[Finding]]:
    label = read_volume(path)
    values = np.unique(label)
    fraction = float(np.count_nonzero(label)) / label.size
    if not set(values.tolist()) <= {0, 1}:
        got = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        return fraction, [
            Finding("critical", "label_values", name, "label values 0 and 1", got, f"make {path.name} binary")
        ]
    if fraction == 0:
        return fraction, [
            Finding(
                "warning", "label_empty", name, "some vessel", "an empty label", "check the label; the case is kept"
            )
        ]
    return fraction, []
