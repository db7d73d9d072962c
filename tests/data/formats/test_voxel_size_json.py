"""Tests of finding voxel sizes in JSON."""

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
    def test_keys_and_units_of_microscopy_programs_are_recognised(self, facts: Any) -> None:
        found = stated_size(facts)
        assert found is not None
        assert found.spacing_um == pytest.approx((0.99, 0.99, 5.0))

    @pytest.mark.parametrize(
        "facts", [{}, [], 3, {"spacing": 5}, {"spacing": [1, 1]}, {"spacing": [0, 1, 1]}, {"PhysicalSizeX": 1}]
    )
    def test_no_voxel_size_gives_none(self, facts: Any) -> None:
        assert stated_size(facts) is None

    @pytest.mark.parametrize("facts", [{"spacing_px": [1, 1, 5]}, ome(1, 1, 5, "pixel"), ome(1, 1, 5, "m", "m", "m")])
    def test_an_unknown_unit_gives_no_spacing(self, facts: Any) -> None:
        found = stated_size(facts)
        assert found is not None
        assert (found.spacing_um, found.certain) == (None, False)

    def test_a_certain_voxel_size_is_preferred(self) -> None:
        found = stated_size({"voxel_size": [5, 1, 1], "more": {"spacing_um": [1, 1, 5]}})
        assert found is not None
        assert (found.key, found.spacing_um, found.certain) == ("spacing_um", (1, 1, 5), True)
