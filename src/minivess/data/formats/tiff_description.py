"""Read what a TIFF file says about itself: the lengths of its axes and its voxel size, as each program writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn
from xml.etree import ElementTree

import tifffile

from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.voxel_size_json import in_um, stated_size

Sizes = tuple[float | None, float | None, float | None]

_RESAVE = "open it in Fiji and save the one channel with File > Save As > Tiff"
_IMAGEJ_AXES = {"C": "channels", "Z": "slices", "T": "frames"}
# Letters of axes: C channel, Z slice, T time, R position; I and Q stand for an axis without a meaning.
_MICRO_MANAGER_AXES = {"C": "Channels", "Z": "Slices", "T": "Frames", "R": "Positions"}
_MICRO_MANAGER_TAG = 51123


@dataclass(frozen=True)
class Description:
    """What one program wrote into the file.

    Attributes:
        source: Name of the program or format.
        axes: Length of each axis by its letter; X and Y only where the program states them.
        sizes_um: Voxel size along X, Y, Z in micrometres; None along an axis without a size of known unit.
        sizes_text: The voxel size as the file has it, such as "0.5 um x 0.5 um x ?"; empty if there is none.
    """

    source: str
    axes: dict[str, int]
    sizes_um: Sizes = (None, None, None)
    sizes_text: str = ""


def read_descriptions(tiff: tifffile.TiffFile, page: tifffile.TiffPage, pages: int) -> list[Description]:
    """Read all descriptions of a file; a plain TIFF file has none.

    Args:
        tiff: The open file.
        page: Its first page.
        pages: Number of its pages.

    Raises:
        VolumeError: A description names several images or files, or an order of pages that is not that of the file.
    """
    found = []
    if page.tags.get(_MICRO_MANAGER_TAG) is not None:
        found += _micro_manager(tiff)
    for text in (page.description, page.description1):
        if "<OME" in text[:2000]:
            found.append(_ome(text))
        elif text.startswith(("ImageJ=", "SCIFIO=")):
            found.append(_imagej(text, page))
        elif text.startswith("shape=") or (text.startswith("{") and '"shape":' in text):
            found.append(_tifffile(text, page))
    if page.is_scanimage:
        found.append(_scanimage(page.software, pages))
    return found


def _imagej(text: str, page: tifffile.TiffPage) -> Description:
    lines = (line.partition("=") for line in text.replace("\\u00B5", "µ").splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    axes = {axis: int(facts.get(key, 1)) for axis, key in _IMAGEJ_AXES.items()}
    images = int(facts.get("images", prod(axes.values())))
    if prod(axes.values()) == 1:
        axes = {"I": images} if "images" in facts else {}
    elif images != prod(axes.values()):
        _refuse("tiff_pages", f"{images} images, as ImageJ's description says", f"{axes} in the same description")
    # ImageJ stores a negative spacing if the user went down. Between frames, spacing is no length.
    depth = abs(float(facts.get("spacing", 0))) if axes.get("T", 1) == 1 else 0.0
    lengths = (_length(page, 282), _length(page, 283), depth)
    units = [facts.get(key, facts.get("unit", "")) for key in ("unit", "yunit", "zunit")]
    return _described("ImageJ", axes, lengths, units)


def _described(source: str, axes: dict[str, int], lengths: Sequence[float], units: Sequence[str]) -> Description:
    """Combine the axes with the lengths of a voxel along X, Y, Z, where 0 means unknown, and their units."""
    pairs = list(zip(lengths, units, strict=True))
    x, y, z = (in_um(length, unit) for length, unit in pairs)
    words = [f"{length:g} {unit or '(no unit)'}" if length else "?" for length, unit in pairs]
    return Description(source, axes, (x, y, z), " x ".join(words) if any(lengths) else "")


def _length(page: tifffile.TiffPage, tag: int) -> float:
    """Length of a voxel from the tag XResolution or YResolution, which has voxels per unit of length; 0 if unknown."""
    voxels, units = page.tags.valueof(tag, (0, 0))
    return units / voxels if voxels > 0 else 0.0


def _ome(text: str) -> Description:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        _refuse("damaged", "OME-XML", f"{error}")
    images = [element for image in _named(root, "Image") for element in _named(image, "Pixels")]
    if len(images) != 1:
        _refuse("tiff_pages", "one image in the OME-XML", f"{len(images)}", "save each image as a file of its own")
    pixels = images[0]
    axes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "XYZCT"}
    _check_ome_planes(root, pixels, axes["Z"] * axes["C"] * axes["T"])
    lengths = [float(pixels.get(f"PhysicalSize{axis}", 0)) for axis in "XYZ"]
    lengths[2] *= axes["T"] == 1
    return _described("OME", axes, lengths, [pixels.get(f"PhysicalSize{axis}Unit", "µm") for axis in "XYZ"])


def _check_ome_planes(root: ElementTree.Element, pixels: ElementTree.Element, planes: int) -> None:
    """Check that the planes are the pages of this file in their order, as long as one axis is longer than 1."""
    blocks = _named(pixels, "TiffData")
    files = {uuid.text for block in blocks for uuid in _named(block, "UUID")}
    if len(files | ({root.get("UUID")} if root.get("UUID") and files else set())) > 1:
        _refuse("tiff_pages", "all planes in one file", "OME-XML that names planes in other files")
    expected = 0
    for block in sorted(blocks, key=lambda block: int(block.get("IFD", 0))):
        start = int(block.get("IFD", 0))
        plane = sum(int(block.get(f"First{axis}", 0)) for axis in "ZCT")
        if not start == plane == expected:
            got = f"plane {plane} on page {start + 1}, after {expected} planes"
            _refuse("tiff_pages", "planes in the order of the pages", got)
        count = block.get("PlaneCount") or block.get("NumPlanes") or ("1" if "IFD" in block.attrib else planes)
        expected += int(count)
    if blocks and expected != planes:
        _refuse("tiff_pages", f"{planes} planes in the OME-XML", f"{expected}")


def _named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Children of the given name in any namespace."""
    return [child for child in element if child.tag.rpartition("}")[2] == name]


def _micro_manager(tiff: tifffile.TiffFile) -> list[Description]:
    facts = tifffile.read_micromanager_metadata(tiff.filehandle, {"Summary", "IndexMap"})
    summary, index = facts.get("Summary"), facts.get("IndexMap")
    if facts.get("MajorVersion", 0) > 0:
        _refuse("tiff_pages", "all planes in one file", "a file of an NDTiff data set")
    if not isinstance(summary, dict):
        return []
    axes = {axis: int(summary.get(key, 1)) for axis, key in _MICRO_MANAGER_AXES.items()}
    if index is not None and len(index):
        in_file_order = index[index[:, 4].argsort()]
        axes["R"] = len(set(index[:, 3].tolist()))  # each position usually has a file of its own
        one_axis = max(axes.values()) == prod(axes.values())
        if one_axis and in_file_order[:, :3].sum(axis=1).tolist() != list(range(len(index))):
            _refuse("tiff_pages", "planes in the order of the pages", "another order in Micro-Manager's index")
    in_plane, depth = (float(summary.get(key) or 0) for key in ("PixelSize_um", "z-step_um"))
    return [_described("Micro-Manager", axes, (in_plane, in_plane, abs(depth) * (axes["T"] == 1)), ["um"] * 3)]


def _tifffile(text: str, page: tifffile.TiffPage) -> Description:
    facts: dict[str, Any] = {} if text.startswith("shape=") else json.loads(text)
    shape = [int(size) for size in facts.get("shape", re.findall(r"\d+", text))]
    letters = list(str(facts.get("axes", "")))
    if len(letters) != len(shape):
        samples = ["S"] if shape[-1] == 1 and len(shape) > 3 else []
        letters = [f"Q{axis}" for axis in range(len(shape) - 2 - len(samples))] + ["Y", "X", *samples]
    stated = stated_size(facts)
    axes = dict(zip(letters, shape, strict=False))
    if stated is None:
        return Description("tifffile", axes)
    sizes: Sizes = stated.spacing_um if stated.certain and stated.spacing_um else (None, None, None)
    return Description("tifffile", axes, sizes, f"{stated.key} {facts.get(stated.key)}")


def _scanimage(software: str, pages: int) -> Description:
    saved = re.search(r"SI\.hChannels\.channelSave = (.*)", software)
    if saved is None:
        _refuse("dimensions", "a ScanImage file that names its channels", "one of an old version")
    channels = len(re.findall(r"\d+", saved[1]))

    def number(name: str) -> int:
        found = re.search(rf"SI\.{name} = (\d+)", software)
        return max(int(found[1]), 1) if found else 1

    # Frames of one slice can be averaged before they are written; the slices can be repeated as volumes.
    frames = -(-number("hStackManager.framesPerSlice") // number("hScan2D.logAverageFactor"))
    slices = max(number("hStackManager.actualNumSlices"), number("hStackManager.numSlices"))
    if slices == 1:
        return Description("ScanImage", {"C": channels, "T": pages // max(channels, 1)})
    volumes = pages // (channels * slices) if channels else 0
    return Description("ScanImage", {"Z": slices, "T": max(frames, volumes), "C": channels})


def _refuse(check: str, expected: str, got: str, cure: str = _RESAVE) -> NoReturn:
    raise VolumeError(check, expected, got, cure)
