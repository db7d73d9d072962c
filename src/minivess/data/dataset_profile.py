"""Profile of a data set: the statistics of its volumes, which are saved, compared and used for planning."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer, model_validator

from minivess.data.checks.label_artefacts import LabelArtefacts
from minivess.errors import DataError
from minivess.findings import Finding
from minivess.geometry import Shape, Spacing, plan_strides, round_down

_LARGEST_OFFSET = 256.0
"""Largest intensity in standard deviations up to which voxels are normalised in float32: the error is 3e-5 of one."""

_SMALLEST_FLOAT32 = 1e-30
"""Intensities below it are kept in float64. From 1e-38 on, float32 has fewer digits."""

_FLOAT64_VOXELS = 2**16

OUTLIER_FACTOR = 2.0
"""A spacing that differs from the median by more than this factor is an outlier, such as MiniVess's mv10 (2.48 µm)."""


class VolumeStats(BaseModel):
    """Statistics of one volume and its label.

    Intensities, foreground fraction, checksums and digest are None if the voxels were not read.

    Attributes:
        name: Name of the case.
        image: Path of the image file.
        label: Path of the label file; None if there is no label.
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z in micrometres.
        dtype: Numpy name of the stored type.
        stored_bytes: Size of the image file and the label file in bytes.
        cached_bytes: Size in the store in bytes: the image in the type in which it is read, and a label of one byte per
            voxel.
        intensity_mean: Mean of the voxels clipped to the 0.5 and 99.5 percentiles, as the network sees them. Because of
            the clipping, a few very bright voxels do not change it.
        intensity_std: Standard deviation of those clipped voxels.
        intensity_low: The 0.5 percentile.
        intensity_high: The 99.5 percentile.
        intensity_min: Smallest finite value before clipping.
        intensity_max: Largest finite value before clipping.
        foreground_fraction: Fraction of the label's known voxels that are vessel, 0 to 1.
        known_voxels: Number of known voxels of the label; None if no value means unknown.
        labelled_slices: Number of slices along Z with a known voxel; None if no value means unknown.
        label_artefacts: Topology of the label, and what in it biases topology numbers; None without a label whose
            voxels were read and are valid, and None with unknown voxels, which cut vessels into pieces.
        image_checksum: CRC-32 of the image's voxels.
        label_checksum: CRC-32 of the label's voxels.
        digest: Digest of the bytes of both files as stored.
        findings: What is wrong with this volume and its label.
    """

    # extra="ignore" because run folders and stores of older versions have one more key.
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
    known_voxels: int | None = None
    labelled_slices: int | None = None
    label_artefacts: LabelArtefacts | None = None
    image_checksum: int | None = None
    label_checksum: int | None = None
    digest: str | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def anisotropy(self) -> float:
        """Coarsest spacing divided by finest spacing; 1 for cubic voxels."""
        return max(self.spacing_um) / min(self.spacing_um)

    @property
    def voxels(self) -> int:
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def has_unknown(self) -> bool:
        """Whether some voxels of the label are unknown."""
        return self.known_voxels is not None and self.known_voxels < self.voxels

    @property
    def known_fraction(self) -> float:
        """Fraction of the label's voxels that are known, 0 to 1; 1 if no value means unknown."""
        return 1.0 if self.known_voxels is None else self.known_voxels / self.voxels

    @property
    def vessel_voxels(self) -> float:
        """Number of known vessel voxels, up to rounding; 0 if the label was not read."""
        return (self.foreground_fraction or 0.0) * self.voxels * self.known_fraction

    @property
    def needs_float64(self) -> bool:
        """Whether float32 is too coarse for the differences between voxels.

        This is the case if a large number was added to all voxels, and if they are near the smallest number of float32.
        False if the voxels were not read.
        """
        if self.intensity_low is None or self.intensity_high is None:
            return False
        largest = max(abs(self.intensity_low), abs(self.intensity_high))
        return largest > _LARGEST_OFFSET * (self.intensity_std or 0.0) or largest < _SMALLEST_FLOAT32

    def normalise(self, block: np.ndarray) -> np.ndarray:
        """Clip intensities to the volume's 0.5 and 99.5 percentiles, subtract the mean and divide by the deviation.

        Mean and standard deviation are those of the clipped voxels of the whole volume. Adding a constant to all voxels,
        or multiplying them by a positive one, therefore does not change the result.

        Args:
            block: Voxels of this volume, any shape.

        Returns:
            float32 array with the same shape.

        Raises:
            DataError: The volume was scanned without its voxels.
        """
        if self.intensity_low is None or self.intensity_high is None:
            raise DataError("a profile with intensities", f"none for {self.name}", "scan the data set with voxels=True")
        deviation = self.intensity_std or 1.0
        if self.needs_float64:
            return self._normalise_in_float64(block, deviation)
        values: np.ndarray = np.clip(block, self.intensity_low, self.intensity_high, dtype=np.float32)
        # In place, because the block of a rotated patch can be four times as large as the patch.
        values -= np.float32(self.intensity_mean)
        values /= np.float32(deviation)
        return values

    def _normalise_in_float64(self, block: np.ndarray, deviation: float) -> np.ndarray:
        """Normalise a few slices at a time, because a copy of the block in float64 can be large."""
        values = np.empty_like(block, np.float32, subok=False)
        step = max(1, _FLOAT64_VOXELS * block.shape[-1] // max(block.size, 1))
        for first in range(0, block.shape[-1], step):
            part = block[..., first : first + step]
            clipped = np.clip(part, self.intensity_low, self.intensity_high, dtype=np.float64)
            values[..., first : first + step] = (clipped - (self.intensity_mean or 0.0)) / deviation
        return values


class DatasetProfile(BaseModel):
    """Profile of a whole data set. All other values are computed from ``volumes``, so that they always agree with them.

    Attributes:
        folder: Folder of the data set.
        volumes: Every volume whose header could be read, sorted by name.
        problems: Findings that do not belong to one readable volume, such as a file that is not a volume.
        stamp: Digest of names, sizes and modification times of all files; ``load_profile`` uses it to detect changes.
        ignore_value: Value of unknown voxels in the labels; None if every voxel is known.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    volumes: tuple[VolumeStats, ...]
    problems: tuple[Finding, ...] = ()
    stamp: str = ""
    ignore_value: int | None = None

    def some(self, count: int | None) -> DatasetProfile:
        """Return the profile of ``count`` volumes, chosen evenly from the smallest to the largest; None keeps all."""
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
        """Number of volumes with each spacing, the most frequent first."""
        return dict(Counter(volume.spacing_um for volume in self.volumes).most_common())

    @property
    def anisotropy(self) -> float:
        """Coarsest axis of the median spacing divided by its finest axis."""
        return max(self.median_spacing_um) / min(self.median_spacing_um)

    @property
    def spacing_differs(self) -> bool:
        """Whether the spacing along any axis differs between volumes by more than a factor of two."""
        axes = zip(*(volume.spacing_um for volume in self.volumes), strict=True)
        return any(max(sizes) > 2 * min(sizes) for sizes in axes)

    @property
    def stored_bytes(self) -> int:
        return sum(volume.stored_bytes for volume in self.volumes)

    @property
    def cached_bytes(self) -> int:
        """Size in the store: each image in the type in which it is read, each label with one byte per voxel."""
        return sum(volume.cached_bytes for volume in self.volumes)

    @property
    def float32_bytes(self) -> int:
        """Size of images and labels as float32 tensors, which is what a cache of transformed volumes takes."""
        return sum(map(_float32_bytes, self.volumes))

    def resampled_bytes(self, spacing_um: Spacing) -> dict[str, int]:
        """Bytes that each volume and its label would take as float32 after resampling to one spacing.

        Other tools resample; minivess does not.
        """
        grown = {
            volume.name: math.prod(old / new for old, new in zip(volume.spacing_um, spacing_um, strict=True))
            for volume in self.volumes
        }
        return {volume.name: round(_float32_bytes(volume) * grown[volume.name]) for volume in self.volumes}

    @property
    def foreground_fraction(self) -> float | None:
        """Fraction of all known voxels that are vessel; None if no label was read, or if no voxel is known."""
        measured = [volume for volume in self.volumes if volume.foreground_fraction is not None]
        known = sum(volume.voxels * volume.known_fraction for volume in measured)
        return sum(volume.vessel_voxels for volume in measured) / known if known else None

    @property
    def known_fraction(self) -> float | None:
        """Fraction of all voxels of the labels that are known; None if no value means unknown, or no label was read."""
        counted = [volume for volume in self.volumes if volume.known_voxels is not None]
        voxels = sum(volume.voxels for volume in counted)
        return sum(volume.known_voxels or 0 for volume in counted) / voxels if voxels else None

    @property
    def content_hash(self) -> str | None:
        """Digest of the names and bytes of all files; None if any file was not read."""
        if any(volume.digest is None for volume in self.volumes):
            return None
        text = "\n".join(f"{volume.name} {volume.digest}" for volume in self.volumes)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def store_key(self) -> str:
        """Name of the content as it is read: the content hash, and the value of unknown voxels if there is one."""
        return f"{self.content_hash}" if self.ignore_value is None else f"{self.content_hash}-ignore{self.ignore_value}"

    @property
    def outliers(self) -> dict[str, str]:
        """Names of the volumes whose spacing is an outlier, each with the reason."""
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
        """All findings about files, volumes and the data set, the most severe first."""
        cure = "check the voxel size in the header, because the run uses it"
        found = [*self.problems, *(finding for volume in self.volumes for finding in volume.findings)]
        found += [
            Finding("warning", "spacing_outlier", name, "a spacing near the median of the data set", reason, cure)
            for name, reason in self.outliers.items()
        ]
        return sorted(found, key=lambda finding: ("critical", "warning", "info").index(finding.level))

    def summary(self) -> dict[str, Any]:
        """The numbers that describe the data set, as plain values for JSON."""
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
            **({} if self.known_fraction is None else {"known_fraction": self.known_fraction}),
            "outliers": self.outliers,
            "safe_patches": {model: list(patch) for model, patch in compute_safe_patch_sizes(self).items()},
        }

    @model_serializer(mode="wrap")
    def _with_summary(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Add the summary for readers of the file; ``_without_summary`` drops it when the profile is read back."""
        return {**serialise(self), "summary": self.summary() if self.volumes else None}

    @model_validator(mode="before")
    @classmethod
    def _without_summary(cls, values: Any) -> Any:
        return {key: value for key, value in values.items() if key != "summary"} if isinstance(values, dict) else values

    @property
    def _readable(self) -> tuple[VolumeStats, ...]:
        if not self.volumes:
            cure = "run `minivess profile` to see what is wrong with each file, and fix the files"
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
    """Compute, for each model family, the largest patch that fits in every volume.

    DynUNet and SegResNet plan their strides axis by axis (``minivess.geometry``). VISTA-3D halves every axis four
    times, so its divisor is 16. If an axis is shorter than the divisor, the patch size along it is one divisor, and the
    volume must be padded.

    Args:
        profile: The data set.
        cap: Largest patch size along X, Y, Z in voxels.
        levels: Number of resolution levels of DynUNet and SegResNet.

    Returns:
        Patch size along X, Y, Z in voxels, by model name.

    Raises:
        DataError: The data set has no readable volume.
    """
    x, y, z = (min(size, most) for size, most in zip(profile.min_shape, cap, strict=True))
    planned = round_down((x, y, z), plan_strides((x, y, z), profile.median_spacing_um, levels).divisor)
    return {"dynunet": planned, "segresnet": planned, "vista3d": round_down((x, y, z), (_VISTA3D_DIVISOR,) * 3)}
