"""Folder layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.data.importers import find_cases
from minivess.errors import DataError


def _touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


class TestFindCases:
    def test_minivess_layout_in_order_of_name(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/mv02.nii.gz", "raw/mv01.nii.gz", "seg/mv01_y.nii.gz", "raw/notes.txt")
        first, second = find_cases(tmp_path)
        assert (first.name, first.label) == ("mv01", tmp_path / "seg/mv01_y.nii.gz")
        assert (second.name, second.label) == ("mv02", None)

    def test_nnunet_layout(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
        (case,) = find_cases(tmp_path)
        assert (case.name, case.label) == ("a", tmp_path / "labelsTr/a.nii.gz")

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ((), "raw/ and seg/"),
            (("seg/a_y.nii.gz",), "raw/ and seg/"),
            (("raw/notes.txt",), "NIfTI volumes"),
            (("raw/a.nii.gz", "seg/b_y.nii.gz"), "a volume for every label"),
            (("raw/a.nii.gz", "raw/a.nii"), "one file a case"),
            (("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz"), "one channel a case"),
        ],
    )
    def test_faults_are_named(self, tmp_path: Path, files: tuple[str, ...], message: str) -> None:
        _touch(tmp_path, *files)
        with pytest.raises(DataError, match=message):
            find_cases(tmp_path)
