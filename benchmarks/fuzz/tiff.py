"""Damaged TIFF stacks, imported to a data set; an import that fails leaves nothing behind."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from fuzz.damage import cut, flip_or_overwrite
from fuzz.workers import Kind
from minivess.data.layouts.tiff_import import find_tiffs, import_tiffs
from minivess.data.profiler import scan_volume

_EXTREME = (0, 1, 2, 255, 65535, 2**16, 2**31 - 1, 2**31, 2**32 - 1)


class Tiff(Kind):
    """Plain, packed, tiled, big, OME, ImageJ, colour and single-page files."""

    def __init__(self, folder: Path, base: Path) -> None:
        super().__init__(folder, base)
        self._valid = _valid_files()

    def attempt(self, rng: random.Random) -> str:
        name, whole = rng.choice(self._valid)
        data = _damaged(whole, rng)
        source, out = self.input / "in", self.folder / "out" / "data"
        shutil.rmtree(out.parent, ignore_errors=True)
        for part in ("images", "labels")[: rng.choice([1, 1, 2])]:
            (source / part).mkdir(parents=True)
            (source / part / name).write_bytes(data)
        spacing = None if rng.random() < 0.3 else (1.0, 1.0, 2.0)
        if spacing is None:
            _write_sizes(source, name, rng)
        try:
            cases = find_tiffs(source, spacing)
            import_tiffs(cases, out, lambda name: None)
        except BaseException:
            left = sorted(path.name for path in out.parent.iterdir()) if out.parent.is_dir() else []
            assert not left, f"a failed import left {left}"
            raise
        (case,) = cases
        assert scan_volume(out / "raw" / f"{case.name}.nii.gz", voxels=True).spacing_um == case.spacing_um
        return "accepted"


def _valid_files() -> list[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    stack = rng.integers(0, 255, (6, 20, 24)).astype(np.uint8)
    plane = {"axes": "ZYX"}
    written: list[tuple[str, Any, dict[str, Any]]] = [
        ("raw.tif", stack, {}),
        ("label.tif", np.where(stack > 200, 255, 0).astype(np.uint8), {}),
        ("deflate.tif", stack.astype("f4"), {"compression": "zlib"}),
        ("predictor.tif", stack.astype("u2"), {"compression": "zlib", "predictor": 2}),
        ("tiles.tif", stack, {"tile": (16, 16), "compression": "zlib"}),
        ("strips.tif", stack, {"rowsperstrip": 4}),
        ("big.tif", stack, {"bigtiff": True}),
        ("swapped.tif", stack.astype(">u2"), {"byteorder": ">"}),
        ("bool.tif", stack > 200, {}),
        ("one.tif", stack[0], {}),
        ("colour.tif", np.stack([stack] * 3, axis=-1), {"photometric": "rgb"}),
        ("ome.ome.tif", stack, {"ome": True, "metadata": {**plane, "PhysicalSizeX": 0.5, "PhysicalSizeZ": 2}}),
        (
            "imagej.tif",
            stack,
            {"imagej": True, "metadata": {**plane, "spacing": 2, "unit": "um"}, "resolution": (2, 2)},
        ),
        ("channels.tif", np.stack([stack, stack], axis=1), {"imagej": True, "metadata": {"axes": "ZCYX"}}),
    ]
    files = []
    for name, array, options in written:
        file = io.BytesIO()
        tifffile.imwrite(file, array, **{"photometric": "minisblack", **options})
        files.append((name, file.getvalue()))
    for compression in ("tiff_lzw", "packbits"):  # tifffile needs another package for these
        pages = [Image.fromarray(page) for page in stack]
        file = io.BytesIO()
        pages[0].save(file, "tiff", save_all=True, append_images=pages[1:], compression=compression)
        files.append((f"{compression}.tif", file.getvalue()))
    return files


def _damaged(data: bytes, rng: random.Random) -> bytes:
    choice = rng.random()
    if choice < 0.05:
        return data
    if choice < 0.20:
        return cut(data, rng)
    if choice < 0.60:
        return flip_or_overwrite(data, rng, 600)
    if choice < 0.65:
        return data + rng.randbytes(rng.choice([1, 4000]))
    damaged = bytearray(data)
    if choice < 0.75:  # a number in a description
        digits = [place for place, byte in enumerate(data[:4000]) if 0x30 <= byte <= 0x39]
        for place in rng.choices(digits, k=3) if digits else ():
            damaged[place] = rng.choice(b"0123456789.-e")
        return bytes(damaged)
    for _ in range(rng.choice([1, 1, 2, 4])):  # a number in a table of tags, or in the header
        place = 2 * rng.randrange(min(len(data), 800) // 2 - 2)
        width = rng.choice([2, 4])
        damaged[place : place + width] = (rng.choice(_EXTREME) % 2 ** (8 * width)).to_bytes(width, "little")
    return bytes(damaged)


def _write_sizes(source: Path, name: str, rng: random.Random) -> None:
    """Write the voxel size in a table or a JSON file, damaged half of the time."""
    case = Path(name).stem
    choices = (
        (source / "spacing.csv", f"name,x_um,y_um,z_um\n{case},0.5,0.5,2\n"),
        (source / "images" / f"{case}.json", '{"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2}'),
        (source / "images" / f"{case}.json", '{"spacing_um": [0.5, 0.5, 2]}'),
    )
    path, text = rng.choice(choices)
    data = text.encode()
    path.write_bytes(data if rng.random() < 0.5 else flip_or_overwrite(data, rng, len(data)))
