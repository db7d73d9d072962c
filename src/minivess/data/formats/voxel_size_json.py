"""The voxel size that a JSON beside a volume states, under the names that microscopy programs use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from math import isfinite
from typing import Any

from minivess.geometry import Spacing

_WORDS = ("spacing", "voxelsize", "pixelsize")
_IN_UM = {
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("um", "µm", "micron", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
}


@dataclass(frozen=True)
class StatedSize:
    """Three numbers that a JSON calls a voxel size.

    Attributes:
        key: Under which they stand; of three keys the first.
        spacing_um: Micrometre along X, Y, Z, by the unit and order of axes that the key names; where it names none,
            micrometre and X, Y, Z are taken for granted. None where the unit is none that is known.
        certain: Whether nothing was taken for granted: "spacing_um", or OME's PhysicalSizeX, Y and Z.
    """

    key: str
    spacing_um: Spacing | None
    certain: bool


def stated_size(facts: Any) -> StatedSize | None:
    """The voxel size somewhere in nested JSON, a certain one if there is one; None without any.

    Known are three numbers under a key that speaks of spacing, voxel size or pixel size, as "voxel_size_zyx" and
    "spacing_nm" do, and OME's PhysicalSizeX, Y and Z with their units.
    """
    found = list(_stated(facts))
    return next((size for size in found if size.certain), found[0] if found else None)


def _stated(facts: Any) -> Iterator[StatedSize]:
    if isinstance(facts, list):
        for part in facts:
            yield from _stated(part)
    if not isinstance(facts, dict):
        return
    plain = {_letters(key): (key, value) for key, value in facts.items()}
    for letters, (key, value) in plain.items():
        word = next((word for word in _WORDS if word in letters), None)
        if word and (sizes := _three_sizes(value)):
            beside = (plain.get(name, ("", ""))[1] for name in (f"{letters}unit", f"{letters}units", "unit", "units"))
            unit = next((unit for unit in beside if isinstance(unit, str)), "")
            yield _named(key, letters.partition(word)[2], sizes, unit)
    yield from _ome(plain)
    yield from _stated([value for value in facts.values() if isinstance(value, (dict, list))])


def _named(key: str, tail: str, sizes: Spacing, unit_beside: str) -> StatedSize:
    """Of a key that ends in ``tail``, such as "zyx", "nm" or "inmicrons"."""
    order = next((order for order in map("".join, permutations("xyz")) if order in tail), "")
    unit = tail.replace(order, "").removeprefix("in") or unit_beside or "um"
    by_axis = dict(zip(order or "xyz", sizes, strict=True))
    return StatedSize(key, _in_um([by_axis[axis] for axis in "xyz"], [unit] * 3), key == "spacing_um")


def _ome(plain: Mapping[str, tuple[str, Any]]) -> Iterator[StatedSize]:
    """PhysicalSizeX, Y and Z with PhysicalSizeXUnit and so on, which OME has in micrometre where they are not given."""

    def ending(end: str) -> tuple[str, Any]:
        return next((found for letters, found in plain.items() if letters.endswith(end)), ("", None))

    keys, values = zip(*(ending(f"physicalsize{axis}") for axis in "xyz"), strict=True)
    if sizes := _three_sizes(list(values)):
        units = [str(ending(f"physicalsize{axis}unit")[1] or "µm") for axis in "xyz"]
        spacing = _in_um(sizes, units)
        yield StatedSize(keys[0], spacing, spacing is not None)


def _in_um(sizes: Spacing | list[float], units: list[str]) -> Spacing | None:
    factors = [_IN_UM.get(_letters(unit).removesuffix("s"), 0.0) for unit in units]
    x, y, z = (size * factor for size, factor in zip(sizes, factors, strict=True))
    return (x, y, z) if min(x, y, z) > 0 else None


def _three_sizes(value: Any) -> Spacing | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    try:
        x, y, z = (float(size) for size in value)
    except (TypeError, ValueError):
        return None
    return (x, y, z) if all(isfinite(size) and size > 0 for size in (x, y, z)) else None


def _letters(text: str) -> str:
    """Lower case, with one of the two signs for micro."""
    return "".join(filter(str.isalpha, text.lower())).replace("\N{GREEK SMALL LETTER MU}", "µ")
