"""Facts of volumes and of a data set, as they are saved, compared and planned with."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from minivess.errors import DataError
from minivess.findings import Finding
from minivess.geometry import Shape, Spacing, plan_strides, round_down

OUTLIER_FACTOR = 2.0
"""A spacing this many times coarser or finer than the data set's median is an outlier (as is SPEC's mv10 at 2.48)."""


class VolumeStats(BaseModel):
    """One volume and its label. Intensities, foreground, checksums and digest are None until the voxels were read.

    Attributes:
        dtype: Numpy name of the stored type.
        stored_bytes: Size of the files.
        cached_bytes: Size in the store: the image as it is read, and one byte a voxel for the label.
        intensity_mean: Of the voxels clipped to the 0.5 and 99.5 percentiles, as the network sees them; so a hot voxel has no say.
        intensity_std: Of the same.
        intensity_low: The 0.5 percentile.
        intensity_high: The 99.5 percentile.
        image_checksum: CRC-32 of the image's voxels.
        label_checksum: CRC-32 of the label's voxels.
        digest: Of both files as stored.
    """

    # Run folders and stores of older versions have a key more.
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    image: str
    label: str | None
    shape: Shape
    spacing_um: Spacing
    dtype: str
    stored_bytes: int
    cached_bytes: int
    intensity_mean: float | None = None
    intensity_std: float | None = None
    intensity_low: float | None = None
    intensity_high: float | None = None
    intensity_min: float | None = None
    intensity_max: float | None = None
    foreground_fraction: float | None = None
    image_checksum: int | None = None
    label_checksum: int | None = None
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
        """Clip intensities to the volume's 0.5 and 99.5 percentiles, subtract mean and divide by deviation of what that leaves; float32.

        Raises:
            DataError: The volume was scanned without its voxels.
        """
        if self.intensity_low is None or self.intensity_high is None:
            raise DataError("a profile with intensities", f"none for {self.name}", "scan the data set with its voxels")
        values: np.ndarray = np.clip(block, self.intensity_low, self.intensity_high, dtype=np.float32)
        values -= np.float32(self.intensity_mean)  # in place: of a turned patch each copy is four times its size
        values /= np.float32(max(self.intensity_std or 0.0, 1e-6))
        return values


class DatasetProfile(BaseModel):
    """The data set as a whole; computed values derive from ``volumes``, so that nothing in it can disagree.

    Attributes:
        folder: Where the data set lies.
        volumes: Every volume whose header could be read, by name.
        problems: What is wrong beyond single volumes, and why a file is none.
        stamp: Digest of names, sizes and times of all files, by which ``load_profile`` sees whether they changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    volumes: tuple[VolumeStats, ...]
    problems: tuple[Finding, ...] = ()
    stamp: str = ""

    def some(self, count: int | None) -> DatasetProfile:
        """The data set with so many of its volumes, evenly chosen from the smallest to the largest; None is all."""
        if count is None or count >= len(self.volumes):
            return self
        by_size = sorted(self.volumes, key=lambda volume: (volume.voxels, volume.name))
        chosen = {by_size[round(place)].name for place in np.linspace(0, len(by_size) - 1, count)}
        return self.model_copy(update={"volumes": tuple(volume for volume in self.volumes if volume.name in chosen)})

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
        x, y, z = (float(median(volume.spacing_um[axis] for volume in self._readable)) for axis in range(3))
        return x, y, z

    @property
    def spacings_um(self) -> dict[Spacing, int]:
        """Number of volumes of each spacing, the most frequent first."""
        return dict(Counter(volume.spacing_um for volume in self.volumes).most_common())

    @property
    def anisotropy(self) -> float:
        """Coarsest over finest axis of the median spacing."""
        return max(self.median_spacing_um) / min(self.median_spacing_um)

    @property
    def spacing_differs(self) -> bool:
        """Whether any axis differs more than twofold between volumes."""
        axes = zip(*(volume.spacing_um for volume in self.volumes), strict=True)
        return any(max(sizes) > 2 * min(sizes) for sizes in axes)

    @property
    def stored_bytes(self) -> int:
        return sum(volume.stored_bytes for volume in self.volumes)

    @property
    def cached_bytes(self) -> int:
        """Size in the store: each image in its own type, each label in one byte a voxel."""
        return sum(volume.cached_bytes for volume in self.volumes)

    @property
    def float32_bytes(self) -> int:
        """Size as float32 tensors of images and labels, as caches of transformed volumes hold them."""
        return sum(map(_float32_bytes, self.volumes))

    def resampled_bytes(self, spacing_um: Spacing) -> dict[str, int]:
        """Size of each volume and its label as float32, were they resampled to one spacing, as others do and minivess does not."""
        grown = {
            volume.name: math.prod(old / new for old, new in zip(volume.spacing_um, spacing_um, strict=True))
            for volume in self.volumes
        }
        return {volume.name: round(_float32_bytes(volume) * grown[volume.name]) for volume in self.volumes}

    @property
    def foreground_fraction(self) -> float | None:
        """Share of vessel in all labelled voxels; None until they were read."""
        counted = [(volume.foreground_fraction, volume.voxels) for volume in self.volumes]
        known = [(fraction * voxels, voxels) for fraction, voxels in counted if fraction is not None]
        return sum(vessel for vessel, _ in known) / sum(voxels for _, voxels in known) if known else None

    @property
    def content_hash(self) -> str | None:
        """Digest over the names and bytes of all files; None until all were read."""
        if any(volume.digest is None for volume in self.volumes):
            return None
        text = "\n".join(f"{volume.name} {volume.digest}" for volume in self.volumes)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def outliers(self) -> dict[str, str]:
        """Name of each volume whose spacing stands out, with the reason."""
        reasons: dict[str, str] = {}
        usual_um = self.median_spacing_um if self.volumes else ()
        for volume in self.volumes:
            for letter, usual, spacing in zip("XYZ", usual_um, volume.spacing_um, strict=True):
                if max(spacing / usual, usual / spacing) > OUTLIER_FACTOR:
                    reasons[volume.name] = f"spacing {spacing:g} µm along {letter}, the median is {usual:g} µm"
                    break
        return reasons

    @property
    def findings(self) -> list[Finding]:
        """Every problem of files, volumes and data set, the gravest first."""
        cure = "check the header; the run uses it as it is"
        found = [*self.problems, *(finding for volume in self.volumes for finding in volume.findings)]
        found += [
            Finding("warning", "spacing_outlier", name, "a spacing like the others'", reason, cure)
            for name, reason in self.outliers.items()
        ]
        return sorted(found, key=lambda finding: ("critical", "warning", "info").index(finding.level))

    def summary(self) -> dict[str, Any]:
        """The data set in numbers, as plain values for JSON."""
        shapes = {"min": self.min_shape, "median": self.median_shape, "max": self.max_shape}
        return {
            "volumes": len(self.volumes),
            "shape": {name: list(shape) for name, shape in shapes.items()},
            "median_spacing_um": list(self.median_spacing_um),
            "spacings_um": [{"spacing_um": list(key), "volumes": count} for key, count in self.spacings_um.items()],
            "anisotropy": self.anisotropy,
            "spacing_differs": self.spacing_differs,
            "stored_bytes": self.stored_bytes,
            "cached_bytes": self.cached_bytes,
            "float32_bytes": self.float32_bytes,
            "resampled_bytes": self.resampled_bytes(self.median_spacing_um),
            "foreground_fraction": self.foreground_fraction,
            "content_hash": self.content_hash,
            "outliers": self.outliers,
            "safe_patches": {model: list(patch) for model, patch in compute_safe_patch_sizes(self).items()},
        }

    @model_serializer(mode="wrap")
    def _with_summary(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """For whoever reads the file; what derives from ``volumes`` is not read back."""
        return {**serialise(self), "summary": self.summary() if self.volumes else None}

    @model_validator(mode="before")
    @classmethod
    def _without_summary(cls, values: Any) -> Any:
        return {key: value for key, value in values.items() if key != "summary"} if isinstance(values, dict) else values

    @property
    def _readable(self) -> tuple[VolumeStats, ...]:
        if not self.volumes:
            cure = "`minivess profile` names what is wrong with each file"
            raise DataError("a readable volume", f"none in {self.folder}", cure)
        return self.volumes

    def _shape(self, choose: Callable[[Any], float]) -> Shape:
        x, y, z = (int(choose([volume.shape[axis] for volume in self._readable])) for axis in range(3))
        return x, y, z


def _float32_bytes(volume: VolumeStats) -> int:
    return 4 * volume.voxels * (1 + (volume.label is not None))


_VISTA3D_DIVISOR = 16


def compute_safe_patch_sizes(
    profile: DatasetProfile, *, cap: Sequence[int] = (512, 512, 512), levels: int = 4
) -> dict[str, Shape]:
    """The largest patch that fits every volume, for each model family with ``levels`` levels.

    DynUNet and SegResNet plan their strides axis by axis (``minivess.geometry``); VISTA-3D halves every axis four times. An
    axis shorter than that divisor gets one divisor: the volume must be padded.
    """
    x, y, z = (min(size, most) for size, most in zip(profile.min_shape, cap, strict=True))
    planned = round_down((x, y, z), plan_strides((x, y, z), profile.median_spacing_um, levels).divisor)
    return {"dynunet": planned, "segresnet": planned, "vista3d": round_down((x, y, z), (_VISTA3D_DIVISOR,) * 3)}
