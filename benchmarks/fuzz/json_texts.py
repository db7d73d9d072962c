"""Damaged ``dataset.json``, ``splits_final.json`` and sidecars of a small data set."""

from __future__ import annotations

import contextlib
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.damage import change_value, cut, flip_or_overwrite
from fuzz.workers import Kind
from minivess.cli.data import profile as profile_command
from minivess.data.formats.nifti import write_volume
from minivess.data.splits import import_splits
from minivess.errors import MinivessError

_ODD = r"""NaN -Infinity 1e999 "\ud800" "\u0000" 'a' 1. 01 tru /*a*/1 {"a":1,"a":2}"""
_NAMES = ("a", "b", "c", "d")
_WHOLE: dict[str, Any] = {
    "dataset.json": {
        "channel_names": {"0": "2P"},
        "labels": {"background": 0, "vessel": 1},
        "numTraining": 4,
        "file_ending": ".nii.gz",
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    },
    "splits_final.json": [{"train": ["a", "b"], "val": ["c", "d"]}, {"train": ["c", "d"], "val": ["a", "b"]}],
    "json/a.json": {"spacing_um": [1.0, 1.0, 5.0], "depth": 5, "notes": {"voxel_size_zyx": [5, 1, 1], "unit": "um"}},
    "json/b.json": {"PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": 5, "PhysicalSizeXUnit": "µm"},
}


class DatasetJson(Kind):
    """`minivess profile FOLDER` and the import of nnU-Net's folds, with one damaged JSON file."""

    def __init__(self, folder: Path, base: Path) -> None:
        super().__init__(folder, base)
        self._images = folder / "images"
        for number, name in enumerate(_NAMES):
            image = np.random.default_rng(number).integers(0, 100, (8, 8, 5)).astype(np.uint8)
            write_volume(self._images / f"raw/{name}.nii.gz", image, spacing_um=(1.0, 1.0, 5.0))
            write_volume(
                self._images / f"seg/{name}_y.nii.gz", (image > 90).astype(np.uint8), spacing_um=(1.0, 1.0, 5.0)
            )

    def attempt(self, rng: random.Random) -> str:
        for part in ("raw", "seg"):
            (self.input / part).symlink_to(self._images / part)
        (self.input / "json").mkdir()
        chosen = rng.choice(sorted(_WHOLE))
        (self.input / chosen).write_bytes(_damaged(_WHOLE[chosen], rng))
        saved = self.folder / "saved.json"
        refused = False
        options = [str(self.input), "--save", str(saved), *(["--json"] if rng.random() < 0.3 else [])]
        saved.unlink(missing_ok=True)
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            refused |= profile_command.main(options, standalone_mode=False) == 3
        found = json.loads(saved.read_text(encoding="utf-8"))["problems"]
        checks = {finding["check"] for finding in found}
        refused |= bool(checks & {"dataset_json", "splits", "splits_cover", "sidecar_json", "sidecar_spacing"})
        try:
            splits = import_splits(self.input, _NAMES, 2)
            assert splits is None or "splits" not in checks, "folds that a check refused were imported"
        except MinivessError:
            assert chosen == "splits_final.json", f"folds refused because of {chosen}"
            refused = True
        return "refused" if refused else "accepted"


def _damaged(value: Any, rng: random.Random) -> bytes:
    choice = rng.random()
    text = json.dumps(change_value(value, rng) if choice < 0.6 else value, ensure_ascii=rng.random() < 0.8)
    data = text.encode("utf-8", "surrogatepass")
    if choice < 0.6:
        return data
    if choice < 0.75:
        return flip_or_overwrite(data, rng, len(data))
    if choice < 0.82:
        return cut(data, rng)
    if choice < 0.87:
        return text.encode(rng.choice(["utf-16", "utf-32", "utf-8-sig", "utf-16-be"]), "replace")
    return _spliced(text, rng).encode("utf-8", "surrogatepass")


def _spliced(text: str, rng: random.Random) -> str:
    """Replace one value in the text by something that Python's JSON writer would not write."""
    count = rng.choice([50, 99, 101, 2000, 100_000])
    odd = [*_ODD.split(), "\x00", "\x1f"]
    odd += ["9" * 400, "9" * 5000, "[" * count, "[" * count + "]" * count, '{"a":' * count + "1" + "}" * count]
    odd += [
        "[" + "1," * count + "1]",
        f'"{"a" * 10 * count}"',
        "{" + "".join(f'"{n}":1,' for n in range(count)) + '"":1}',
    ]
    places = [place for place, letter in enumerate(text) if letter in "[{:,"]
    place = rng.choice(places) + 1
    following = next((end for end in range(place, len(text)) if text[end] in ",]}"), len(text))
    return text[:place] + rng.choice(odd) + text[following:]
