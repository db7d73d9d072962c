from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minivess.errors import DataError
from minivess.metrics.reference import Reference


class TestReference:
    def test_parts_are_in_the_coordinates_of_the_whole_volume(self):
        mask = np.zeros((9, 9, 9), np.uint8)
        mask[4:7, 5, 6] = 1
        reference = Reference.of(mask, (1, 1, 5))
        assert reference.voxels == 3
        assert reference.betti == (1, 0, 0)
        assert reference.border.tolist() == [[4, 5, 6], [5, 5, 6], [6, 5, 6]]
        for line in (reference.centreline, reference.skeleton):
            assert len(line) >= 1
            assert set(map(tuple, line)) <= set(map(tuple, reference.border))

    def test_an_empty_label_has_no_parts(self):
        reference = Reference.of(np.zeros((4, 4, 4), bool), (1, 1, 1))
        parts = (reference.border, reference.centreline, reference.skeleton)
        assert (reference.voxels, *map(len, parts)) == (0, 0, 0, 0)
        assert reference.betti == (0, 0, 0)

    def test_arrays_restore_it(self):
        mask = np.zeros((9, 9, 9), bool)
        mask[1:8, 2:4, 5:7] = True
        reference = Reference.of(mask, (1, 1, 5))
        restored = Reference.from_arrays(mask, (1, 1, 5), reference.as_arrays())
        for part in ("voxels", "centreline", "skeleton", "border", "betti", "spacing_um"):
            np.testing.assert_array_equal(getattr(restored, part), getattr(reference, part))

    def test_arrays_of_another_spacing_version_or_without_a_part_are_not_used(self):
        mask = np.ones((4, 4, 4), bool)
        arrays = Reference.of(mask, (1, 1, 5)).as_arrays()
        for change, spacing in (({"version": np.array(0)}, (1, 1, 5)), ({}, (1, 1, 4))):
            with pytest.raises(ValueError, match="another version"):
                Reference.from_arrays(mask, spacing, arrays | change)
        del arrays["version"]
        with pytest.raises(KeyError):
            Reference.from_arrays(mask, (1, 1, 5), arrays)

    def test_probabilities_are_refused(self):
        with pytest.raises(DataError) as caught:
            Reference.of(np.zeros((4, 4, 4), np.float32), (1, 1, 1))
        assert "float32" in caught.value.got

    def test_a_channel_axis_is_refused(self):
        with pytest.raises(DataError) as caught:
            Reference.of(np.zeros((1, 4, 4, 4), bool), (1, 1, 1))
        assert "(1, 4, 4, 4)" in caught.value.got

    @pytest.mark.parametrize(
        "spacing", [(1, 1), (1, 1, 0), (1, 1, float("nan")), (1, 1, float("inf")), 5.0, (1, 1, None)]
    )
    def test_an_invalid_spacing_is_refused(self, spacing: Any):
        with pytest.raises(DataError) as caught:
            Reference.of(np.ones((4, 4, 4), bool), spacing)
        assert caught.value.got == str(spacing)
