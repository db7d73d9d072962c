"""Voxel sizes in JSON; what is wrong between volumes is tested fault by fault in test_faults."""

from __future__ import annotations

from typing import Any

import pytest

from minivess.data.consistency import find_spacing


class TestFindSpacing:
    @pytest.mark.parametrize(
        "facts",
        [
            {"spacing_um": [0.99, 0.99, 5]},
            {"spacing": [0.99, 0.99, 5.0], "z_slices": 22},
            {"acquisition": {"Voxel size": ["0.99", "0.99", "5"]}},
            {"Pixels": [{"PhysicalSizeX": 0.99, "PhysicalSizeY": 0.99, "PhysicalSizeZ": 5}]},
            {"pixels_physical_size_x": 0.99, "pixels_physical_size_y": 0.99, "pixels_physical_size_z": 5},
        ],
    )
    def test_under_the_names_that_programs_use(self, facts: Any) -> None:
        assert find_spacing(facts) == (0.99, 0.99, 5.0)

    @pytest.mark.parametrize(
        "facts", [{}, [], 3, {"spacing": 5}, {"spacing": [1, 1]}, {"spacing": [0, 1, 1]}, {"PhysicalSizeX": 1}]
    )
    def test_none_where_none_is_given(self, facts: Any) -> None:
        assert find_spacing(facts) is None
