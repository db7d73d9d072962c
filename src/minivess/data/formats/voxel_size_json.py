"""Find the voxel size in a JSON file about a volume, under the keys that microscopy programs use."""

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
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
}


@dataclass(frozen=True)
class StatedSize:
    """A voxel size that was found in JSON.

    Attributes:
        key: Key of the three numbers; the first of the keys if there are three.
        spacing_um: Micrometres along X, Y, Z. The key gives the unit and the order of the axes, or another key gives
            the unit; without them, micrometres and X, Y, Z are assumed. None if the unit is unknown.
        certain: Whether nothing was assumed: true for "spacing_um", and for OME's PhysicalSizeX, Y and Z.
    """

    key: str
    spacing_um: Spacing | None
    certain: bool


def stated_size(facts: Any) -> StatedSize | None:
    """Find the voxel size anywhere in nested JSON.

    Two forms are recognised: three numbers under a key that contains "spacing", "voxel size" or "pixel size", such as
    "voxel_size_zyx" and "spacing_nm"; and OME's PhysicalSizeX, Y and Z with their units.

    Args:
        facts: Content of the JSON file.

    Returns:
        The first voxel size that is certain, otherwise the first one; None if there is none.
    """
    found = list(_find_sizes(facts))
    return next((size for size in found if size.certain), found[0] if found else None)


def _find_sizes(facts: Any) -> Iterator[StatedSize]:
    if isinstance(facts, list):
        for part in facts:
            yield from _find_sizes(part)
    if not isinstance(facts, dict):
        return
    plain = {_letters_only(key): (key, value) for key, value in facts.items()}
    for letters, (key, value) in plain.items():
        word = next((word for word in _WORDS if word in letters), None)
        if word and (sizes := _three_sizes(value)):
            neighbours = (
                plain.get(name, ("", ""))[1] for name in (f"{letters}unit", f"{letters}units", "unit", "units")
            )
            unit = next((unit for unit in neighbours if isinstance(unit, str)), "")
            yield _size_from_key(key, letters.partition(word)[2], sizes, unit)
    yield from _ome(plain)
    yield from _find_sizes([value for value in facts.values() if isinstance(value, (dict, list))])


def _size_from_key(key: str, tail: str, sizes: Spacing, other_unit: str) -> StatedSize:
    """Read unit and order of axes from the end of the key, ``tail``, such as "zyx", "nm" or "inmicrons"."""
    order = next((order for order in map("".join, permutations("xyz")) if order in tail), "")
    unit = tail.replace(order, "").removeprefix("in") or other_unit or "um"
    by_axis = dict(zip(order or "xyz", sizes, strict=True))
    return StatedSize(key, _in_um([by_axis[axis] for axis in "xyz"], [unit] * 3), key == "spacing_um")


def _ome(plain: Mapping[str, tuple[str, Any]]) -> Iterator[StatedSize]:
    """Find PhysicalSizeX, Y and Z, with PhysicalSizeXUnit, YUnit and ZUnit; OME's default unit is micrometre."""

    def ending(end: str) -> tuple[str, Any]:
        return next((found for letters, found in plain.items() if letters.endswith(end)), ("", None))

    keys, values = zip(*(ending(f"physicalsize{axis}") for axis in "xyz"), strict=True)
    if sizes := _three_sizes(list(values)):
        units = [str(ending(f"physicalsize{axis}unit")[1] or "µm") for axis in "xyz"]
        spacing = _in_um(sizes, units)
        yield StatedSize(keys[0], spacing, spacing is not None)


def in_um(size: float, unit: str) -> float | None:
    """Convert a length to micrometres; None if it is not above zero and finite, or if the unit is unknown."""
    length = size * _IN_UM.get(_letters_only(unit).removesuffix("s"), 0.0)
    return length if isfinite(length) and length > 0 else None


def _in_um(sizes: Spacing | list[float], units: list[str]) -> Spacing | None:
    x, y, z = (in_um(size, unit) for size, unit in zip(sizes, units, strict=True))
    return None if x is None or y is None or z is None else (x, y, z)


def _three_sizes(value: Any) -> Spacing | None:
    if not isinstance(value, list) or len(value) != 3:
        return None
    try:
        x, y, z = (float(size) for size in value)
    except (TypeError, ValueError):
        return None
    return (x, y, z) if all(isfinite(size) and size > 0 for size in (x, y, z)) else None


def _letters_only(text: str) -> str:
    """Keep the letters in lower case; write the micro sign and the Greek letter mu as the same character."""
    return "".join(filter(str.isalpha, text.lower())).replace("\N{GREEK SMALL LETTER MU}", "µ")
