"""Folder layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.data.importers import find_cases, read_layout
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

    def test_decathlon_layout_has_no_channel_in_the_name(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTr/._a.nii.gz")
        (case,) = find_cases(tmp_path)
        assert (case.name, case.label) == ("a", tmp_path / "labelsTr/a.nii.gz")

    def test_a_suffix_may_be_in_capitals(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.NII.GZ", "seg/a_y.Nii")
        (case,) = find_cases(tmp_path)
        assert (case.name, case.label) == ("a", tmp_path / "seg/a_y.Nii")

    def test_a_sidecar_is_found(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/mv01.nii.gz", "raw/mv02.nii", "json/mv01.json")
        assert [case.sidecar for case in find_cases(tmp_path)] == [tmp_path / "json/mv01.json", None]

    @pytest.mark.parametrize(
        ("files", "message"),
        [
            ((), "raw/ and seg/"),
            (("seg/a_y.nii.gz",), "raw/ and seg/"),
            (("raw/notes.txt",), "NIfTI volumes.*put NAME"),
            (("raw/a.tif",), "NIfTI volumes.*import-tiff"),
        ],
    )
    def test_no_data_set_is_refused(self, tmp_path: Path, files: tuple[str, ...], message: str) -> None:
        _touch(tmp_path, *files)
        with pytest.raises(DataError, match=message):
            find_cases(tmp_path)

    def test_what_does_not_pair_is_listed_and_the_rest_is_kept(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/a.nii", "raw/b.nii.gz", "seg/b_y.nii.gz", "seg/c_y.nii.gz")
        layout = read_layout(tmp_path)
        assert [case.name for case in layout.cases] == ["a", "b"]
        found = {(finding.check, finding.what) for finding in layout.findings}
        assert found == {("file_twice", "a"), ("label_missing", "a"), ("image_missing", "c")}
