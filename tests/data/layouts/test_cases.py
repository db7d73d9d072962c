"""Tests of the folder layouts."""

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
    def test_minivess_layout_is_sorted_by_name(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/mv02.nii.gz", "raw/mv01.nii.gz", "seg/mv01_y.nii.gz", "raw/notes.txt")
        first, second = find_cases(tmp_path)
        assert (first.name, first.label) == ("mv01", tmp_path / "seg/mv01_y.nii.gz")
        assert (second.name, second.label) == ("mv02", None)

    def test_nnunet_layout(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
        (case,) = find_cases(tmp_path)
        assert (case.name, case.label) == ("a", tmp_path / "labelsTr/a.nii.gz")

    def test_decathlon_layout_without_a_channel_in_the_name(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTr/._a.nii.gz")
        (case,) = find_cases(tmp_path)
        assert (case.name, case.label) == ("a", tmp_path / "labelsTr/a.nii.gz")

    def test_four_digits_are_part_of_the_name_if_the_labels_have_them(self, tmp_path: Path) -> None:
        for number in range(1, 5):
            _touch(tmp_path, f"imagesTr/img_000{number}.nii.gz", f"labelsTr/img_000{number}.nii.gz")
        layout = read_layout(tmp_path)
        assert [case.name for case in layout.cases] == ["img_0001", "img_0002", "img_0003", "img_0004"]
        assert all(case.label is not None for case in layout.cases)
        assert layout.findings == ()

    def test_four_digits_that_begin_with_zero_may_be_part_of_the_name(self, tmp_path: Path) -> None:
        _touch(tmp_path, *(f"{part}/img_000{number}.nii" for part in ("imagesTr", "labelsTr") for number in range(2)))
        assert [case.name for case in read_layout(tmp_path).cases] == ["img_0000", "img_0001"]

    def test_four_digits_without_labels_are_part_of_the_name_if_there_is_no_first_channel(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/img_0001.nii.gz", "imagesTr/img_0002.nii.gz")
        assert [case.name for case in find_cases(tmp_path)] == ["img_0001", "img_0002"]

    def test_a_folder_with_a_name_that_is_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        folder = tmp_path / os.fsdecode(b"\xff")
        _touch(folder, "raw/a.nii.gz")
        with pytest.raises(DataError) as caught:
            find_cases(folder)
        assert "UTF-8" in caught.value.expected

    def test_a_folder_of_names_that_are_not_utf_8_is_refused(self, tmp_path: Path) -> None:
        _touch(tmp_path, os.fsdecode(b"raw/\xff.nii.gz"))
        with pytest.raises(DataError) as caught:
            find_cases(tmp_path)
        assert "UTF-8" in caught.value.expected

    def test_a_suffix_may_be_in_capitals(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.NII.GZ", "seg/a_y.Nii")
        (case,) = find_cases(tmp_path)
        assert (case.name, case.label) == ("a", tmp_path / "seg/a_y.Nii")

    def test_a_sidecar_is_found(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/mv01.nii.gz", "raw/mv02.nii", "json/mv01.json")
        assert [case.sidecar for case in find_cases(tmp_path)] == [tmp_path / "json/mv01.json", None]

    @pytest.mark.parametrize(
        ("files", "expected", "got", "cure"),
        [
            ((), "raw/ and seg/", "", "phantom"),
            (("seg/a_y.nii.gz",), "raw/ and seg/", "seg/", "phantom"),
            (("images/a.nii.gz", "labels/a.nii.gz"), "raw/ and seg/", "images/, labels/", "phantom"),
            (("raw/notes.txt",), "NIfTI", "1 .txt file", "NAME.nii.gz"),
            (("raw/a.tif",), "NIfTI", "1 .tif file", "import-tiff"),
        ],
    )
    def test_a_folder_without_volumes_is_refused(
        self, tmp_path: Path, files: tuple[str, ...], expected: str, got: str, cure: str
    ) -> None:
        _touch(tmp_path, *files)
        with pytest.raises(DataError) as caught:
            find_cases(tmp_path)
        assert expected in caught.value.expected
        assert str(tmp_path) in caught.value.got
        assert got in caught.value.got
        assert cure in caught.value.cure

    def test_files_that_do_not_pair_are_findings_and_the_cases_are_kept(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/a.nii", "raw/b.nii.gz", "seg/b_y.nii.gz", "seg/c_y.nii.gz")
        layout = read_layout(tmp_path)
        assert [case.name for case in layout.cases] == ["a", "b"]
        found = {(finding.check, finding.what) for finding in layout.findings}
        assert found == {("file_twice", "a"), ("label_missing", "a"), ("image_missing", "c")}

    def test_two_labels_of_one_volume_are_both_reported(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "seg/a.nii.gz", "seg/a_y.nii.gz", "raw/b.nii.gz", "seg/b.nii.gz")
        layout = read_layout(tmp_path)
        (finding,) = layout.findings
        assert (finding.level, finding.check, finding.what) == ("critical", "file_twice", "a")
        assert all(text in finding.got for text in ("a_y.nii.gz", " a.nii.gz", f"{tmp_path}/seg"))
        assert [case.label for case in layout.cases] == [tmp_path / "seg/a_y.nii.gz", tmp_path / "seg/b.nii.gz"]

    def test_missing_labels_report_other_folders_with_nifti_files(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "masks/a.nii.gz", "masks/b.nii.gz", "json/a.json", "docs/a.txt")
        (finding,) = read_layout(tmp_path).findings
        assert (finding.check, finding.level) == ("no_labels", "warning")
        assert "masks/ with 2 NIfTI files" in finding.got
        assert "json/" not in finding.got + finding.cure
        assert "docs/" not in finding.got + finding.cure
        assert "masks/" in finding.cure
        assert "seg/NAME_y.nii.gz" in finding.cure

    def test_labels_of_another_format_are_reported(self, tmp_path: Path) -> None:
        _touch(tmp_path, "imagesTr/a.nii.gz", "labelsTr/a.nrrd")
        unlabelled, left_out = read_layout(tmp_path).findings
        assert (unlabelled.check, left_out.check) == ("no_labels", "left_out")
        assert f"{tmp_path}/labelsTr" in unlabelled.got
        assert "1 .nrrd file" in unlabelled.got
        assert "1 .nrrd file in labelsTr/" in left_out.got

    def test_labels_with_another_ending_are_reported_for_their_volumes(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/a_1.nii.gz", "raw/b.nii.gz")
        _touch(tmp_path, "seg/a_seg.nii.gz", "seg/a_1_label.nii.gz", "seg/b_y.nii.gz")
        found = [(finding.check, finding.what, finding.got) for finding in read_layout(tmp_path).findings]
        assert found == [
            ("label_missing", "a", "only seg/NAME_seg.nii.gz"),
            ("label_missing", "a_1", "only seg/NAME_label.nii.gz"),
        ]


class TestOtherFiles:
    def test_are_counted_in_one_finding(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/b.nrrd", "raw/c.NRRD", "raw/more/d.nii.gz", "seg/a_y.nii.gz")
        (finding,) = read_layout(tmp_path).findings
        assert (finding.level, finding.check) == ("info", "left_out")
        assert "2 .nrrd files, 1 folder in raw/" in finding.got

    def test_hidden_files_are_ignored(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "raw/._a.nii.gz", "raw/.DS_Store", "seg/a_y.nii.gz", "seg/._a_y.nii.gz")
        layout = read_layout(tmp_path)
        assert ([case.name for case in layout.cases], layout.findings) == (["a"], ())

    @pytest.mark.skipif(os.geteuid() == 0, reason="root can list every folder")
    def test_a_folder_that_cannot_be_listed_is_an_error(self, tmp_path: Path) -> None:
        _touch(tmp_path, "raw/a.nii.gz", "seg/a_y.nii.gz")
        (tmp_path / "seg").chmod(0)
        with pytest.raises(DataError) as caught:
            read_layout(tmp_path)
        assert f"{tmp_path / 'seg'}: Permission denied" in caught.value.got
        assert "chmod u+rx seg" in caught.value.cure
