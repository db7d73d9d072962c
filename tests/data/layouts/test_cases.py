"""Folder layouts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minivess.data.layouts.cases import find_cases, read_layout
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
            (("images/a.nii.gz", "labels/a.nii.gz"), "which holds images/, labels/"),
            (("raw/notes.txt",), "only 1 .txt file.*put NAME"),
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

    def test_two_labels_for_one_volume_are_both_named(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "seg/a.nii.gz", "seg/a_y.nii.gz", "raw/b.nii.gz", "seg/b.nii.gz")
        layout = read_layout(tmp_path)
        (finding,) = layout.findings
        assert (finding.level, finding.check, finding.what) == ("critical", "file_twice", "a")
        assert finding.got == f"a_y.nii.gz and a.nii.gz in {tmp_path}/seg"
        assert [case.label for case in layout.cases] == [tmp_path / "seg/a_y.nii.gz", tmp_path / "seg/b.nii.gz"]

    def test_a_data_set_without_labels_is_told_of_folders_that_may_hold_them(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "masks/a.nii.gz", "masks/b.nii.gz", "json/a.json", "docs/a.txt")
        (finding,) = read_layout(tmp_path).findings
        assert (finding.check, finding.level) == ("no_labels", "warning")
        assert finding.got.endswith("but masks/ with 2 NIfTI files")
        assert finding.cure == "if masks/ holds the labels, rename them to seg/NAME_y.nii.gz"

    def test_labels_of_another_format_are_seen(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nrrd")
        unlabelled, left_out = read_layout(tmp_path).findings
        assert unlabelled.got == f"no NIfTI file in {tmp_path}/labelsTr, only 1 .nrrd file"
        assert left_out.got.startswith("1 .nrrd file in labelsTr/")

    def test_labels_of_other_names_are_shown_beside_the_name_that_they_should_have(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/a_1.nii.gz", "raw/b.nii.gz")
        _touch(tmp_path, "seg/a_seg.nii.gz", "seg/a_1_label.nii.gz", "seg/b_y.nii.gz")
        found = [(finding.check, finding.what, finding.got) for finding in read_layout(tmp_path).findings]
        assert found == [
            ("label_missing", "a", "only seg/NAME_seg.nii.gz"),
            ("label_missing", "a_1", "only seg/NAME_label.nii.gz"),
        ]


class TestWhatElseLiesThere:
    def test_is_counted_in_one_line(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/b.nrrd", "raw/c.NRRD", "raw/more/d.nii.gz", "seg/a_y.nii.gz")
        (finding,) = read_layout(tmp_path).findings
        assert (finding.level, finding.check) == ("info", "left_out")
        assert finding.got.startswith("2 .nrrd files, 1 folder in raw/: only .nii.gz and .nii files directly in")

    def test_hidden_files_are_no_files(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/._a.nii.gz", "raw/.DS_Store", "seg/a_y.nii.gz", "seg/._a_y.nii.gz")
        layout = read_layout(tmp_path)
        assert ([case.name for case in layout.cases], layout.findings) == (["a"], ())

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
    def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "seg/a_y.nii.gz")
        (tmp_path / "seg").chmod(0)
        with pytest.raises(DataError, match=r"seg: Permission denied.*chmod u\+rx seg"):
            read_layout(tmp_path)
