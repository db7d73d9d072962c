from __future__ import annotations

import numpy as np
import pytest

from minivess.data.checks.label_statistics import count_label


class TestCountLabel:
    @pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
    def test_a_valid_label_of_any_type(self, dtype: type) -> None:
        counts = count_label(np.array([[0, 1, 0], [1, 1, 0]], dtype))
        assert (counts.voxels, counts.foreground, counts.fraction, counts.values) == (6, 3, 0.5, (1,))

    def test_values_are_listed_up_to_six(self) -> None:
        assert count_label([np.array([0, 255, 1], np.uint8)]).values == (1, 255)
        assert count_label([np.array([0, 1], np.uint8), np.array([255, 0], np.uint8)]).values == (1, 255)
        assert count_label([np.arange(-3, 9, dtype=np.int16)]).values == (-3, -2, -1, 1, 2, 3)

    def test_nan_is_neither_background_nor_vessel(self) -> None:
        counts = count_label([np.array([0, np.nan, 1, 0.5], np.float32)])
        assert (counts.nan, counts.foreground, counts.values) == (1, 2, (0.5, 1))

    def test_equal_foreground_in_another_type_and_value_has_the_same_checksum(self) -> None:
        label = np.array([0, 1, 1, 0], np.uint8)
        assert count_label([label]).checksum == count_label([255 * label.astype(np.float64)]).checksum

    def test_different_labels_have_different_checksums(self) -> None:
        first, second = np.array([0, 1], np.uint8), np.array([1, 0], np.uint8)
        assert count_label([first]).checksum == count_label([first[:1], first[1:]]).checksum
        assert count_label([first]).checksum != count_label([second]).checksum
