"""Images of predictions: a projection along Z that shows found, false, missed and unknown voxels."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from minivess.data.formats.nifti import read_volume
from minivess.data.label_values import LabelBlock
from minivess.data.profiler import VolumeStats
from minivess.errors import DataError
from minivess.evaluation.evaluate import CaseRow
from minivess.reporting.run_data import RunData

FOUND, FALSE, MISSED = (214, 214, 214), (240, 150, 20), (64, 156, 255)
"""Light grey, orange and blue: distinguishable with every kind of colour vision, and in greyscale."""
UNKNOWN = (120, 120, 120)
"""Grey of predicted voxels where the label is unknown: neither found nor an error."""
_VEIL = 48
"""Grey that is added to the darkened image along rays without any known voxel."""

_BUDGET_BYTES = 2_500_000
_WIDTHS = (512, 384, 256, 160)
_SMALL = 200 * 200

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Overlay:
    """Two pictures of one case under one loss.

    Attributes:
        rank: "worst", "median" or "best" of the loss by DSC; "only" if there is a single case.
        row: Scores of the case.
        stats: Shape and spacing of the volume.
        image: Data URI of the maximum intensity projection along Z.
        result: Data URI of the darkened projection with the found, false and missed voxels of the prediction.
        bar_um: Length of the scale bar, in micrometres.
        bar_percent: Length of the scale bar, in percent of the longer side of the picture.
    """

    rank: str
    row: CaseRow
    stats: VolumeStats
    image: str
    result: str
    bar_um: float
    bar_percent: float


@dataclass(frozen=True)
class _Pictures:
    rank: str
    row: CaseRow
    stats: VolumeStats
    image: Image.Image
    result: Image.Image


def make_overlays(facts: RunData) -> tuple[dict[str, list[Overlay]], list[str]]:
    """Draw the worst, median and best case of every loss by DSC, in the first repeat.

    The pictures are made smaller until all of them together have at most 2.5 MB, down to a width of 160 pixels.

    Args:
        facts: The run.

    Returns:
        The overlays of each loss, and a sentence for each overlay that could not be drawn because its files are missing
        or have changed.
    """
    drawn: list[_Pictures] = []
    notes: list[str] = []
    volumes = {volume.name: volume for volume in facts.profile.volumes}
    for method in facts.losses:
        for rank, row in _select_cases([row for row in facts.rows if (row.method, row.repeat) == (method, 1)]):
            try:
                drawn.append(_draw(rank, row, volumes[row.case], facts.prediction(row), facts.profile.ignore_value))
            except DataError as error:
                notes.append(f"{method} on {row.case} is not shown: {error.got}.")
    by_method: dict[str, list[Overlay]] = {}
    for overlay in _encode_all(drawn):
        by_method.setdefault(overlay.row.method, []).append(overlay)
    return by_method, notes


def _select_cases(rows: Sequence[CaseRow]) -> list[tuple[str, CaseRow]]:
    ordered = sorted(rows, key=lambda row: (row.metrics.dsc, row.case))
    if len(ordered) < 2:
        return [("only", row) for row in ordered]
    middle = [("median", ordered[len(ordered) // 2])] if len(ordered) > 2 else []
    return [("worst", ordered[0]), *middle, ("best", ordered[-1])]


def _draw(rank: str, row: CaseRow, stats: VolumeStats, prediction: Path, ignore_value: int | None) -> _Pictures:
    projected = project_image(read_volume(Path(stats.image), exact=stats.needs_float64))
    parts = LabelBlock.of(read_volume(Path(stats.label or "")), ignore_value)
    label, mask = parts.vessel, read_volume(prediction) != 0
    if not projected.shape == label.shape[:2] == mask.shape[:2]:
        shapes = f"shapes {projected.shape}, {label.shape} and {mask.shape}"
        raise DataError("the same shape for image, label and prediction", shapes, "restore the files of the run")
    if label.shape != mask.shape:
        raise DataError(
            "the same shape for prediction and label", f"{mask.shape} and {label.shape}", "restore the files"
        )
    pitch_um = min(stats.spacing_um[:2])
    size = (
        max(1, round(projected.shape[0] * stats.spacing_um[0] / pitch_um)),
        max(1, round(projected.shape[1] * stats.spacing_um[1] / pitch_um)),
    )
    coloured = project_masks(projected, mask, label, parts.unknown)
    return _Pictures(rank, row, stats, _picture(projected, size), _picture(coloured, size))


def project_image(volume: np.ndarray) -> Pixels:
    """Return the maximum intensity projection of a volume (X, Y, Z) along Z.

    Returns:
        Pixels (X, Y), uint8: the 1st to 99.7th percentiles are mapped to 0 to 255. NaN and infinity count as 0.
    """
    highest = volume.max(axis=2)
    # Only large integers and float64 lose grey values in float32.
    highest = highest.astype(np.float64 if highest.dtype.itemsize > 2 and highest.dtype != np.float32 else np.float32)
    highest = np.nan_to_num(highest, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(highest, (1, 99.7))
    return (255 * np.clip((highest - low) / ((high - low) or 1), 0, 1)).astype(np.uint8)


def project_masks(projected: Pixels, mask: np.ndarray, label: np.ndarray, unknown: np.ndarray | None = None) -> Pixels:
    """Colour the projection along Z by the found, false and missed voxels of a prediction.

    Args:
        projected: The image (X, Y), 0 to 255.
        mask: The prediction (X, Y, Z), bool.
        label: The reference (X, Y, Z), bool.
        unknown: Voxels of which the reference is unknown (X, Y, Z), bool; None if all are known.

    Returns:
        Pixels (X, Y, 3): the mean colour of the found, false and missed voxels along each ray. Rays without such voxels
        are grey if a voxel is predicted where the label is unknown; the others show the darkened image, under a grey veil
        if no voxel along the ray is known.
    """
    background = np.repeat(0.4 * projected[..., None], 3, axis=-1)
    if unknown is not None:
        background[unknown.all(2)] = 0.6 * background[unknown.all(2)] + _VEIL
        background[(mask & unknown).any(2)] = UNKNOWN
        mask = mask & ~unknown
    counts = np.stack([(mask & label).sum(2), (mask & ~label).sum(2), (~mask & label).sum(2)], axis=-1)
    vessel = counts.sum(-1, keepdims=True)
    colours = counts @ np.array([FOUND, FALSE, MISSED], float) / np.maximum(vessel, 1)
    return np.where(vessel > 0, colours, background).astype(np.uint8)


def _picture(pixels: Pixels, size: tuple[int, int]) -> Image.Image:
    """Convert pixels (X, Y) to a picture of the given size, with X to the right and Y down."""
    picture = Image.fromarray(np.ascontiguousarray(pixels.swapaxes(0, 1)))
    return picture if picture.size == size else picture.resize(size, Image.Resampling.NEAREST)


def _encode_all(drawn: Sequence[_Pictures]) -> list[Overlay]:
    overlays: list[Overlay] = []
    for width in _WIDTHS:
        overlays = [_overlay(pictures, width) for pictures in drawn]
        if sum(len(overlay.image) + len(overlay.result) for overlay in overlays) <= _BUDGET_BYTES:
            break
    return overlays


def _overlay(pictures: _Pictures, width: int) -> Overlay:
    stats = pictures.stats
    side_um = max(stats.shape[0] * stats.spacing_um[0], stats.shape[1] * stats.spacing_um[1])
    bar_um = scale_bar_um(side_um)
    return Overlay(
        rank=pictures.rank,
        row=pictures.row,
        stats=stats,
        image=as_data_uri(pictures.image, width),
        result=as_data_uri(pictures.result, width),
        bar_um=bar_um,
        bar_percent=100 * bar_um / side_um,
    )


def scale_bar_um(side_um: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is at most a quarter of ``side_um``, in micrometres."""
    most_um = side_um / 4 * (1 + 1e-9)
    power = 10.0 ** np.floor(np.log10(most_um))
    return float(max(step * power for step in (1, 2, 5) if step * power <= most_um))


def as_data_uri(picture: Image.Image, width: int) -> str:
    """Encode a picture: lossless PNG if it is small, otherwise WebP, or JPEG if Pillow does not support WebP."""
    if max(picture.size) > width:
        factor = width / max(picture.size)
        size = (max(1, round(factor * picture.width)), max(1, round(factor * picture.height)))
        picture = picture.resize(size, Image.Resampling.BOX)
    form = "png" if picture.width * picture.height <= _SMALL else "webp" if features.check("webp") else "jpeg"
    data = io.BytesIO()
    picture.save(data, form, **({"optimize": True} if form == "png" else {"quality": 80}))
    return f"data:image/{form};base64,{base64.b64encode(data.getvalue()).decode()}"
