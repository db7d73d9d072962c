"""nnU-Net's JSON files and sidecars, changed at random: findings, not tracebacks."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minivess.data.formats.nifti import write_volume
from minivess.data.layouts.nnunet_json import check_dataset
from minivess.data.profiler import scan_dataset
from minivess.data.splits import import_splits
from minivess.errors import MinivessError

_FILES: dict[str, Any] = {
    "dataset.json": {"channel_names": {"0": "2P"}, "labels": {"background": 0, "vessel": 1}, "file_ending": ".nii"},
    "splits_final.json": [{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}],
    "metadata/a.json": {
        "voxel_size": [1, 1, 5],
        "unit": "um",
        "PhysicalSizeX": 1,
        "stage": [{"pixelsize_nm": [1, 2, 3]}],
    },
}
_ODD = [
    None,
    True,
    -1,
    10**400,
    1e308,
    float("nan"),
    "",
    "\ud800",
    "2P",
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    [10**400] * 3,
]
_BYTES = [
    b"",
    b"\xef\xbb\xbf[]",
    b"\xff\xfe[]",
    b"[" * 100_000,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b'{"a": 1, "a": 2}',
    b"1" * 5000,
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "ab":
        voxels = np.random.default_rng(ord(name)).integers(0, 200, (8, 8, 4), np.uint8)
        write_volume(tmp_path / f"imagesTr/{name}.nii", voxels, spacing_um=(1, 1, 5))
        write_volume(tmp_path / f"labelsTr/{name}.nii", (voxels > 180).astype(np.uint8), spacing_um=(1, 1, 5))
    (tmp_path / "metadata").mkdir()
    return tmp_path


def _changed(value: Any, rng: random.Random) -> Any:
    """Replace one part of the value, at any depth."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or rng.random() < 0.2:
        return rng.choice(_ODD)
    key = rng.choice(keys)
    changed = value.copy()
    changed[key] = _changed(value[key], rng)
    return changed


def _use(folder: Path) -> set[str]:
    profile = scan_dataset(folder)
    assert profile.model_dump_json().encode()
    with contextlib.suppress(MinivessError):
        import_splits(folder, ["a", "b"], 2)
    return {finding.check for finding in profile.findings}


class TestJson:
    def test_changed_anywhere_gives_findings(self, folder: Path) -> None:
        rng = random.Random(0)
        for _ in range(300):
            name = rng.choice(list(_FILES))
            (folder / name).write_text(json.dumps(_changed(_FILES[name], rng)))
            _use(folder)
            (folder / name).unlink()

    @pytest.mark.parametrize("name", _FILES)
    @pytest.mark.parametrize("content", _BYTES, ids=range(len(_BYTES)))
    def test_of_any_bytes_gives_findings(self, folder: Path, name: str, content: bytes) -> None:
        (folder / name).write_bytes(content)
        assert _use(folder) <= {"dataset_json", "splits", "sidecar_json"}

    def test_that_is_right_gives_no_finding(self, folder: Path) -> None:
        for name in ("dataset.json", "splits_final.json"):
            (folder / name).write_text(json.dumps(_FILES[name]), encoding="utf-8-sig")
        assert _use(folder) == set()

    @pytest.mark.parametrize(
        ("labels", "right"),
        [
            ({"background": 0, "vessel": 255}, True),
            ({"0": "background", "1": "vessel"}, True),
            ({"background": 0}, False),
        ],
    )
    def test_labels_are_background_and_one_other_number(self, tmp_path: Path, labels: object, right: bool) -> None:
        (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
        assert (check_dataset(tmp_path, []) == []) == right
