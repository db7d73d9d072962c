"""Tests of the comparison of a volume with those that a network was trained on."""

from __future__ import annotations

import pytest

from minivess.data.profiler import VolumeStats
from minivess.geometry import Spacing
from minivess.inference.training_range import compare_with_training
from minivess.models.weights import TrainedOn

TRAINED_ON = TrainedOn(
    volumes=4, spacing_min_um=(0.62, 0.62, 5.0), spacing_max_um=(0.99, 0.99, 5.0), intensity_min=10, intensity_max=210
)


def _volume(spacing_um: Spacing, low: float | None = None, high: float | None = None) -> VolumeStats:
    return VolumeStats(
        name="new", image="new.nii", label=None, shape=(64, 64, 16), spacing_um=spacing_um, dtype="uint8",
        stored_bytes=1, cached_bytes=1, intensity_low=low, intensity_high=high,
    )  # fmt: skip


class TestSpacing:
    @pytest.mark.parametrize(
        ("spacing_um", "found"),
        [
            ((0.62, 0.62, 5.0), []),
            ((1.2, 1.2, 5.0), []),  # 1.21 times the largest
            ((0.4, 0.4, 5.0), [("warning", "spacing_range")]),  # 1.55 times below the smallest
            ((0.7, 0.7, 12.0), [("warning", "spacing_range")]),
            ((0.2, 0.2, 5.0), [("critical", "spacing_range")]),  # 3.1 times
            ((20.0, 20.0, 100.0), [("critical", "spacing_range")]),
            ((5.0, 0.8, 0.8), [("critical", "axes_order")]),
            ((0.8, 5.0, 0.8), [("critical", "axes_order")]),
        ],
    )
    def test_by_distance_from_the_training_volumes(self, spacing_um: Spacing, found: list[tuple[str, str]]) -> None:
        findings = compare_with_training(_volume(spacing_um), TRAINED_ON)
        assert [(finding.level, finding.check) for finding in findings] == found

    def test_weights_of_version_0_1_say_nothing(self) -> None:
        assert compare_with_training(_volume((20.0, 20.0, 100.0)), None) == []


class TestIntensities:
    @pytest.mark.parametrize(
        ("low", "high", "count"), [(0, 255, 0), (10, 900, 0), (10, 4000, 1), (-1000, 100, 1), (100, 101, 1)]
    )
    def test_far_from_the_training_volumes_is_a_warning(self, low: float, high: float, count: int) -> None:
        findings = compare_with_training(_volume((0.8, 0.8, 5.0), low, high), TRAINED_ON)
        assert [(finding.level, finding.check) for finding in findings] == [("warning", "intensity_range")] * count
