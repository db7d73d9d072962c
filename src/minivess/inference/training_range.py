"""Compare a volume with those that a network was trained on: voxel size, order of the axes, intensities."""

from __future__ import annotations

from itertools import permutations

from minivess.data.profiler import VolumeStats
from minivess.findings import Finding
from minivess.geometry import Spacing
from minivess.models.weights import TrainedOn

_NEAR, _FAR = 1.25, 3.0
"""A voxel size outside the training's range by more than the first factor is a warning, by more than the second critical."""
_INTENSITY_FACTOR = 4.0
_AXES = "XYZ"


def compare_with_training(volume: VolumeStats, trained_on: TrainedOn | None) -> list[Finding]:
    """Return findings about a volume that is unlike those that the network was trained on.

    Args:
        volume: Statistics of the volume. Its intensities are compared if its voxels were read.
        trained_on: What network.json says; None if version 0.1 wrote it, and nothing is compared.

    Returns:
        Findings with the checks ``axes_order`` (critical), ``spacing_range`` (a warning, or critical if the network
        cannot have learned vessels of this size in voxels) and ``intensity_range`` (a warning).
    """
    if trained_on is None:
        return []
    return [*_spacing(volume, trained_on), *_intensities(volume, trained_on)]


def _spacing(volume: VolumeStats, trained_on: TrainedOn) -> list[Finding]:
    factor = _factor_outside(volume.spacing_um, trained_on)
    if factor <= _NEAR:
        return []
    expected = f"{_range(trained_on)}, as in the {trained_on.volumes} training {trained_on.kind}"
    got = f"{_um(volume.spacing_um)}"
    for order in permutations(range(3)):
        x, y, z = (volume.spacing_um[axis] for axis in order)
        if _factor_outside((x, y, z), trained_on) <= _NEAR:
            names = ", ".join(_AXES[axis] for axis in order)
            cure = f"write the axes in the order {names} of this file, or pass --force to predict it as it is"
            return [Finding("critical", "axes_order", volume.name, expected, f"{got}: axes in another order", cure)]
    if factor > _FAR:
        cure = "use a network trained at this voxel size, resample the volume, or pass --force to predict it as it is"
        return [Finding("critical", "spacing_range", volume.name, expected, got, cure)]
    cure = "compare a few slices with their mask before you use it"
    return [Finding("warning", "spacing_range", volume.name, expected, got, cure)]


def _intensities(volume: VolumeStats, trained_on: TrainedOn) -> list[Finding]:
    low, high = volume.intensity_low, volume.intensity_high
    if low is None or high is None or trained_on.intensity_min is None or trained_on.intensity_max is None:
        return []
    width = trained_on.intensity_max - trained_on.intensity_min
    least, most = (
        trained_on.intensity_min - _INTENSITY_FACTOR * width,
        trained_on.intensity_max + _INTENSITY_FACTOR * width,
    )
    if least <= low and high <= most and high - low >= width / 100:
        return []
    expected = (
        f"intensities near those of the training volumes, {trained_on.intensity_min:g} to {trained_on.intensity_max:g}"
    )
    cure = "check that it is the same channel; each volume is normalised by its own intensities, so another scale is no fault"
    return [Finding("warning", "intensity_range", volume.name, expected, f"{low:g} to {high:g}", cure)]


def _factor_outside(spacing_um: Spacing, trained_on: TrainedOn) -> float:
    """Return the largest factor by which a voxel size is outside the range of its axis; 1 if none is."""
    ranges = zip(spacing_um, trained_on.spacing_min_um, trained_on.spacing_max_um, strict=True)
    return max(max(least / size, size / most, 1.0) for size, least, most in ranges)


def _range(trained_on: TrainedOn) -> str:
    least, most = trained_on.spacing_min_um, trained_on.spacing_max_um
    return f"a voxel size of {_um(least)}" if least == most else f"a voxel size of {_um(least)} to {_um(most)}"


def _um(spacing_um: Spacing) -> str:
    return f"{'x'.join(f'{size:g}' for size in spacing_um)} µm"
