"""Voxel sizes in JSON; what is wrong between volumes is tested fault by fault in test_faults."""

from __future__ import annotations

from typing import Any

import pytest

from minivess.data.formats.voxel_size_json import stated_size


def ome(x: float, y: float, z: float, *units: str) -> dict[str, Any]:
    sizes = {f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (x, y, z), strict=True)}
    return sizes | {f"PhysicalSize{axis}Unit": unit for axis, unit in zip("XYZ", units, strict=False)}


class TestStatedSize:
    @pytest.mark.parametrize(
        "facts",
        [
            {"spacing_um": [0.99, 0.99, 5]},
            {"spacing": [0.99, 0.99, 5.0], "z_slices": 22},
            {"acquisition": {"Voxel size": ["0.99", "0.99", "5"]}},
            {"Pixels": [ome(0.99, 0.99, 5)]},
            {"pixels_physical_size_x": 0.99, "pixels_physical_size_y": 0.99, "pixels_physical_size_z": 5},
            {"voxel_size_zyx": [5, 0.99, 0.99]},
            {"voxel_size_zyx_in_microns": [5, 0.99, 0.99]},
            {"spacing_nm": [990, 990, 5000]},
            {"pixelSizeMm": [0.00099, 0.00099, 0.005]},
            {"spacing": [990, 990, 5000], "spacing_unit": "nm"},
            ome(990, 990, 5, "nm", "nm", "\N{GREEK SMALL LETTER MU}m"),
        ],
    )
    def test_under_the_names_and_in_the_units_that_programs_use(self, facts: Any) -> None:
        found = stated_size(facts)
        assert found is not None
        assert found.spacing_um == pytest.approx((0.99, 0.99, 5.0))

    @pytest.mark.parametrize(
        "facts", [{}, [], 3, {"spacing": 5}, {"spacing": [1, 1]}, {"spacing": [0, 1, 1]}, {"PhysicalSizeX": 1}]
    )
    def test_none_where_none_is_given(self, facts: Any) -> None:
        assert stated_size(facts) is None

    @pytest.mark.parametrize("facts", [{"spacing_px": [1, 1, 5]}, ome(1, 1, 5, "pixel"), ome(1, 1, 5, "m", "m", "m")])
    def test_an_unknown_unit_is_no_micrometre(self, facts: Any) -> None:
        found = stated_size(facts)
        assert found is not None
        assert (found.spacing_um, found.certain) == (None, False)

    def test_what_leaves_nothing_to_guess_comes_first(self) -> None:
        found = stated_size({"voxel_size": [5, 1, 1], "more": {"spacing_um": [1, 1, 5]}})
        assert found is not None
        assert (found.key, found.spacing_um, found.certain) == ("spacing_um", (1, 1, 5), True)
