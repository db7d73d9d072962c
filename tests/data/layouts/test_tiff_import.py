"""Tests of the import of TIFF stacks."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from minivess.data.formats.nifti import read_header, read_volume
from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_stack import read_stack, read_stack_header
from minivess.data.layouts.tiff_import import find_tiffs, import_tiffs
from minivess.data.profiler import scan_dataset
from minivess.errors import DataError

STACK = np.random.default_rng(0).integers(0, 255, (5, 7, 9), np.uint8)  # Z, Y, X
LABEL = np.where(STACK > 200, 255, 0).astype(np.uint8)
SPACING_UM = (0.5, 0.5, 5.0)


def _write(folder: Path, name: str, array: np.ndarray, **options: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / name, array, photometric=options.pop("photometric", "minisblack"), **options)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    _write(tmp_path / "in", "denoised/mouse1_BM4D_denoised.tif", STACK)
    _write(tmp_path / "in", "labels/mouse1_manualLabels_v2.tif", LABEL)
    return tmp_path / "in"


def _import(source: Path, out: Path) -> None:
    import_tiffs(find_tiffs(source, SPACING_UM), out, lambda name: None)


class TestImport:
    def test_voxel_x_y_z_is_column_x_of_row_y_of_page_z(self, source: Path, tmp_path: Path) -> None:
        _import(source, tmp_path / "out")
        volume = read_volume(tmp_path / "out/raw/mouse1.nii.gz")
        assert volume.shape == (9, 7, 5)
        assert volume[8, 6, 4] == STACK[4, 6, 8]
        assert read_header(tmp_path / "out/raw/mouse1.nii.gz").spacing_um == SPACING_UM
        np.testing.assert_array_equal(read_volume(tmp_path / "out/seg/mouse1_y.nii.gz"), LABEL.T // 255)

    def test_the_imported_data_set_has_no_findings_but_the_artefacts_of_its_label(
        self, source: Path, tmp_path: Path
    ) -> None:
        _import(source, tmp_path / "out")
        found = scan_dataset(tmp_path / "out", voxels=True).findings
        assert [finding.check for finding in found] == ["label_small_pieces"]

    def test_unknown_voxels_become_255(self, source: Path, tmp_path: Path) -> None:
        sparse = LABEL.copy()
        sparse[1::2] = 100
        _write(source, "labels/mouse1_manualLabels_v2.tif", sparse)
        with pytest.raises(DataError, match="--ignore-value"):
            _import(source, tmp_path / "out")
        import_tiffs(find_tiffs(source, SPACING_UM), tmp_path / "out", lambda name: None, 100)
        expected = np.select([sparse == 100, sparse == 255], [255, 1], 0).T
        np.testing.assert_array_equal(read_volume(tmp_path / "out/seg/mouse1_y.nii.gz"), expected)
        assert scan_dataset(tmp_path / "out", voxels=True, ignore_value=255).volumes[0].labelled_slices == 3

    def test_lzw_compression_is_read(self, source: Path, tmp_path: Path) -> None:
        pages = [Image.fromarray(page) for page in STACK]
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
        _import(source, tmp_path / "out")
        np.testing.assert_array_equal(read_volume(tmp_path / "out/raw/mouse1.nii.gz"), STACK.T)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.float32, ">u2"])
    def test_values_of_other_types_are_kept(self, source: Path, tmp_path: Path, dtype: str) -> None:
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK.astype(dtype))
        _import(source, tmp_path / "out")
        np.testing.assert_array_equal(read_volume(tmp_path / "out/raw/mouse1.nii.gz"), STACK.T)

    def test_hidden_files_of_macos_are_ignored(self, source: Path, tmp_path: Path) -> None:
        (source / "denoised/._mouse1_BM4D_denoised.tif").write_bytes(b"Mac OS X")
        (source / "labels/._mouse1_manualLabels_v2.tif").write_bytes(b"Mac OS X")
        _import(source, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out/raw").iterdir()] == ["mouse1.nii.gz"]

    def test_an_empty_output_folder_is_accepted(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        _import(source, tmp_path / "out")
        assert (tmp_path / "out/raw/mouse1.nii.gz").is_file()

    @pytest.mark.parametrize("out", [".", "link"])
    def test_the_current_folder_or_a_link_to_an_empty_folder_is_accepted(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        monkeypatch.chdir(tmp_path / "elsewhere" if out == "." else tmp_path)
        _import(source, Path(out))
        assert (tmp_path / "elsewhere" / "raw" / "mouse1.nii.gz").is_file()

    def test_an_output_folder_filled_during_the_import_is_an_error(self, source: Path, tmp_path: Path) -> None:
        def fill(name: str) -> None:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine.txt").touch()

        with pytest.raises(DataError) as caught:
            import_tiffs(find_tiffs(source, SPACING_UM), tmp_path / "out", fill)
        assert str(tmp_path / "out") in caught.value.got
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    @pytest.mark.parametrize("names", [("m1.ome.tif", "m1.ome.tif"), ("m1_raw.ome.tiff", "m1_label.OME.TIF")])
    def test_ome_is_no_part_of_the_case_name(self, tmp_path: Path, names: tuple[str, str]) -> None:
        _write(tmp_path, f"images/{names[0]}", STACK, metadata={"axes": "ZYX"})
        _write(tmp_path, f"labels/{names[1]}", LABEL, metadata={"axes": "ZYX"})
        assert [case.name for case in find_tiffs(tmp_path, SPACING_UM)] == ["m1"]

    def test_int8_and_lzw(self, source: Path, tmp_path: Path) -> None:
        signed = STACK.astype(np.int8)  # 127 and less, 128 becomes -128
        _write(source, "denoised/mouse1_BM4D_denoised.tif", signed, compression="lzw")
        _import(source, tmp_path / "out")
        np.testing.assert_array_equal(read_volume(tmp_path / "out/raw/mouse1.nii.gz"), signed.T)

    def test_a_label_lies_on_its_image_if_both_are_stored_upside_down(self, source: Path, tmp_path: Path) -> None:
        """Whatever the compression: the image has the tag on its first page, the label on all pages."""
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK, extratags=[(274, 3, 1, 4, True)])
        label = {"compression": "lzw", "extratags": [(274, 3, 1, 4, False)]}
        _write(source, "labels/mouse1_manualLabels_v2.tif", LABEL, **label)
        _import(source, tmp_path / "out")
        np.testing.assert_array_equal(read_volume(tmp_path / "out/raw/mouse1.nii.gz"), STACK[:, ::-1].T)
        np.testing.assert_array_equal(read_volume(tmp_path / "out/seg/mouse1_y.nii.gz"), LABEL[:, ::-1].T // 255)

    def test_existing_files_are_not_overwritten(self, source: Path, tmp_path: Path) -> None:
        _import(source, tmp_path / "out")
        (tmp_path / "out/raw/mouse1.nii.gz").write_text("mine")
        with pytest.raises(DataError) as caught:
            _import(source, tmp_path / "out")
        assert str(tmp_path / "out") in caught.value.got
        assert "raw, seg" in caught.value.got
        assert (tmp_path / "out/raw/mouse1.nii.gz").read_text() == "mine"


class TestFaults:
    @pytest.mark.parametrize(
        ("image", "label", "got"),
        [
            (STACK[0], LABEL, "(7, 9)"),
            (np.stack([STACK] * 3, -1), LABEL, "(5, 7, 9, 3)"),
            (STACK.astype(np.complex64), LABEL, "complex64"),
            (STACK, LABEL[:4], "label 9 x 7 x 4, stack 9 x 7 x 5"),
            (STACK, STACK, "mouse1: 0, 1, 3"),
        ],
        ids=["one page", "colours", "complex", "other shape", "grey label"],
    )
    def test_unusable_stacks_are_refused_and_nothing_is_written(
        self, source: Path, tmp_path: Path, image: np.ndarray, label: np.ndarray, got: str
    ) -> None:
        photometric = "rgb" if image.shape[-1] == 3 else "minisblack"
        _write(source, "denoised/mouse1_BM4D_denoised.tif", image, photometric=photometric)
        _write(source, "labels/mouse1_manualLabels_v2.tif", label)
        with pytest.raises(DataError) as caught:
            _import(source, tmp_path / "out")
        assert got in caught.value.got
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_all_faults_of_names_and_headers_are_in_one_error(self, source: Path) -> None:
        _write(source, "denoised/mouse2_raw.tif", STACK[0])
        _write(source, "denoised/mouse3_raw.tif", STACK)
        _write(source, "labels/mouse3_seg.tif", LABEL[1:])
        _write(source, "labels/mouse4_seg.tif", LABEL)
        (source / "spacing.csv").write_text("name,x_um,y_um,z_um\nmouse1,1,1,5\nmouse2,1,1,5\n")
        with pytest.raises(DataError) as caught:
            find_tiffs(source)
        for fault in ("image_missing: mouse4", "voxel_size: mouse3", "dimensions: mouse2", "pair_shape: mouse3"):
            assert fault in str(caught.value)
        assert str(caught.value).count("critical: ") == 4

    def test_all_faults_of_voxels_are_in_one_error(self, source: Path, tmp_path: Path) -> None:
        _write(source, "denoised/mouse2_raw.tif", STACK)
        _write(source, "labels/mouse2_seg.tif", STACK)
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK, compression="zlib")
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        with tifffile.TiffFile(path) as tiff:
            start = tiff.pages[3].dataoffsets[0]  # type: ignore[union-attr]
        path.write_bytes(path.read_bytes()[:start] + bytes(9) + path.read_bytes()[start + 9 :])
        with pytest.raises(DataError, match=r"damaged: mouse1:(?s:.*)label_values: mouse2:"):
            _import(source, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_a_truncated_lzw_stack_raises_a_volume_error_or_nothing(self, source: Path) -> None:
        pages = [Image.fromarray(page) for page in STACK]
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
        whole = path.read_bytes()
        for length in range(0, len(whole), 7):
            path.write_bytes(whole[:length])
            with contextlib.suppress(VolumeError):
                read_stack_header(path)
                read_stack(path)

    def test_a_text_file_is_refused(self, source: Path, tmp_path: Path) -> None:
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        path.write_text("hello")
        with pytest.raises(DataError) as caught:
            _import(source, tmp_path / "out")
        assert caught.value.got.startswith(f"mouse1: {path}")

    def test_a_label_with_another_orientation_than_its_stack_is_refused(self, source: Path) -> None:
        _write(source, "labels/mouse1_manualLabels_v2.tif", LABEL, extratags=[(274, 3, 1, 2, False)])
        with pytest.raises(DataError) as caught:
            find_tiffs(source, SPACING_UM)
        assert caught.value.got == "mouse1: label 2, stack 1"

    def test_a_label_without_a_stack_is_refused(self, source: Path) -> None:
        _write(source, "labels/mouse2_labels.tif", LABEL)
        with pytest.raises(DataError) as caught:
            find_tiffs(source, SPACING_UM)
        assert caught.value.got == f"mouse2: none in {source / 'denoised'}"

    def test_two_stacks_of_one_case_are_refused(self, source: Path) -> None:
        _write(source, "denoised/mouse2_raw.tif", STACK)
        _write(source, "denoised/mouse2_denoised.tif", STACK)
        with pytest.raises(DataError) as caught:
            find_tiffs(source, SPACING_UM)
        assert caught.value.got.startswith("mouse2: ")
        assert "mouse2_raw.tif" in caught.value.got
        assert "mouse2_denoised.tif" in caught.value.got

    def test_missing_folders_and_stacks_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            find_tiffs(tmp_path, SPACING_UM)
        assert caught.value.got == f"none in {tmp_path}"
        (tmp_path / "denoised").mkdir()
        with pytest.raises(DataError) as caught:
            find_tiffs(tmp_path, SPACING_UM)
        assert caught.value.got == f"none in {tmp_path / 'denoised'}"


class TestSpacing:
    def test_is_read_from_the_table(self, source: Path) -> None:
        (source / "spacing.csv").write_text("name,x_um,y_um,z_um\nmouse1,0.62,0.62,5\n")
        assert find_tiffs(source)[0].spacing_um == (0.62, 0.62, 5.0)

    def test_is_read_from_a_sidecar(self, source: Path) -> None:
        (source / "denoised/mouse1_BM4D_denoised.json").write_text('{"spacing_um": [1.59, 1.59, 5]}')
        assert find_tiffs(source)[0].spacing_um == (1.59, 1.59, 5.0)

    @pytest.mark.parametrize(
        ("facts", "key"),
        [
            ('{"voxel_size_zyx": [5, 0.99, 0.99]}', "voxel_size_zyx"),
            ('{"spacing_nm": [990, 990, 5000]}', "spacing_nm"),
            ('{"spacing": [0.99, 0.99, 5]}', "spacing"),
            (
                '{"PhysicalSizeX": 1, "PhysicalSizeXUnit": "px", "PhysicalSizeY": 1, "PhysicalSizeZ": 1}',
                "PhysicalSizeX",
            ),
        ],
    )
    def test_a_voxel_size_of_uncertain_unit_or_order_is_refused(self, source: Path, facts: str, key: str) -> None:
        sidecar = source / "denoised/mouse1_BM4D_denoised.json"
        sidecar.write_text(facts)
        with pytest.raises(DataError) as caught:
            find_tiffs(source)
        # The only fault: the stack is not also reported as one without a voxel size.
        assert caught.value.got == f'mouse1: "{key}" in {sidecar}'
        assert "spacing_um" in caught.value.cure

    def test_the_unit_of_ome_is_converted(self, source: Path) -> None:
        sizes = {"X": 990, "Y": 990, "Z": 5000}
        facts = {f"PhysicalSize{axis}": size for axis, size in sizes.items()}
        facts |= {f"PhysicalSize{axis}Unit": "nm" for axis in sizes}
        (source / "denoised/mouse1_BM4D_denoised.json").write_text(json.dumps({"Pixels": facts}))
        assert find_tiffs(source)[0].spacing_um == pytest.approx((0.99, 0.99, 5.0))

    def test_a_missing_voxel_size_is_refused(self, source: Path) -> None:
        with pytest.raises(DataError) as caught:
            find_tiffs(source)
        assert caught.value.got == "mouse1: none"
        assert "--spacing-um" in caught.value.cure

    @pytest.mark.parametrize(
        "table", ["name,x\nmouse1,1\n", "name,x_um,y_um,z_um\nmouse1,1,-1,5\n", "name,x_um,y_um,z_um\nmouse1,1\n"]
    )
    def test_a_wrong_table_is_refused(self, source: Path, table: str) -> None:
        (source / "spacing.csv").write_text(table)
        with pytest.raises(DataError) as caught:
            find_tiffs(source)
        assert "name,x_um,y_um,z_um" in caught.value.expected
        assert str(source / "spacing.csv") in caught.value.got

    def test_rows_of_unknown_cases_and_second_rows_are_refused(self, source: Path) -> None:
        rows = ["name,x_um,y_um,z_um", "mouse1,1,1,3", "mouse1,2,2,5", "zz,9,9,9", "mouse1_BM4D_denoised.tif,1,1,3"]
        (source / "spacing.csv").write_text("\n".join(rows))
        with pytest.raises(DataError) as caught:
            find_tiffs(source)
        assert "critical: spacing_table: mouse1: " in str(caught.value)
        assert "critical: spacing_table: zz, mouse1_BM4D_denoised.tif: " in str(caught.value)


OME = {"axes": "ZYX", "PhysicalSizeX": 620, "PhysicalSizeY": 0.62, "PhysicalSizeZ": 5, "PhysicalSizeXUnit": "nm"}


def _imagej(unit: str | None, spacing: float | None = 5, axes: str = "ZYX") -> dict[str, object]:
    facts = {"axes": axes, "unit": unit, "spacing": spacing}
    used = {key: value for key, value in facts.items() if value is not None}
    return {"imagej": True, "resolution": (1 / 0.62, 1 / 0.62), "metadata": used}


def _checks(source: Path, spacing_um: tuple[float, float, float] | None = None) -> list[str]:
    return [finding.check for case in find_tiffs(source, spacing_um) for finding in case.findings]


class TestSpacingInTheTiffFile:
    @pytest.mark.parametrize(
        "options",
        [
            _imagej("um"),
            _imagej("micron"),
            _imagej("\\u00B5m"),
            _imagej("um", -5),
            {"ome": True, "metadata": OME},
            {"metadata": OME},
        ],
        ids=["um", "micron", "as ImageJ writes µm", "downwards", "OME", "tifffile"],
    )
    def test_is_used_with_a_notice_if_it_has_three_sizes_with_units(
        self, source: Path, options: dict[str, object]
    ) -> None:
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK, **options)
        (case,) = find_tiffs(source)
        assert case.spacing_um == pytest.approx((0.62, 0.62, 5), rel=1e-3)
        assert [(finding.level, finding.check) for finding in case.findings] == [("info", "voxel_size")]

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            (_imagej("pixel"), "5 pixel"),
            (_imagej(None), "5 (no unit)"),
            (_imagej("um", None), "0.62 um x ?"),
            (_imagej("um", 5, "TYX"), "0.62 um x ?"),
            ({"ome": True, "metadata": {**OME, "PhysicalSizeZUnit": "pixel"}}, "5 pixel"),
            ({"ome": True, "metadata": {**OME, "axes": "TYX"}}, "0.62 µm x ?"),
        ],
        ids=["pixel", "no unit", "no depth", "time", "OME in pixel", "OME time"],
    )
    def test_is_named_but_not_used_otherwise(self, source: Path, options: dict[str, object], named: str) -> None:
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK, **options)
        with pytest.raises(DataError) as caught:
            find_tiffs(source)
        assert caught.value.got.startswith("mouse1: ")
        assert named in caught.value.got

    @pytest.mark.parametrize(
        ("given", "checks"),
        [
            ((0.62, 0.62, 5), []),
            ((0.63, 0.61, 5.1), []),
            ((0.62, 0.62, 4), ["voxel_size_differs"]),
            ((5, 0.62, 0.62), ["voxel_size_swapped"]),
        ],
    )
    @pytest.mark.parametrize("place", ["option", "table", "sidecar"])
    def test_is_compared_with_the_given_size(
        self, source: Path, given: tuple[float, float, float], checks: list[str], place: str
    ) -> None:
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK, **_imagej("um"))
        if place == "table":
            (source / "spacing.csv").write_text(f"name,x_um,y_um,z_um\nmouse1,{','.join(map(str, given))}\n")
        if place == "sidecar":
            (source / "denoised/mouse1_BM4D_denoised.json").write_text(json.dumps({"spacing_um": given}))
        assert _checks(source, given if place == "option" else None) == checks
        assert find_tiffs(source, given if place == "option" else None)[0].spacing_um == given

    @pytest.mark.parametrize(("spacing", "used"), [(5, True), (2, False)])
    def test_two_descriptions_must_agree(self, source: Path, spacing: float, used: bool) -> None:
        """Micro-Manager writes a description of OME and one of ImageJ."""
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        document_name = (269, 2, 0, f"ImageJ=1.53t\nslices=5\nspacing={spacing}\nunit=um\n", True)
        _write(
            path.parent, path.name, STACK, ome=True, metadata=OME, extratags=[document_name], resolution=(1.61, 1.61)
        )
        path.write_bytes(path.read_bytes().replace(struct.pack("<HH", 269, 2), struct.pack("<HH", 270, 2)))
        if used:
            assert _checks(source) == ["voxel_size"]
        else:
            with pytest.raises(DataError, match=r"2 um in the TIFF file \(ImageJ\) and .* 5 µm in the TIFF file \(OME"):
                find_tiffs(source)

    def test_sizes_in_the_plane_alone_are_compared_too(self, source: Path) -> None:
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK, **_imagej("um", None))
        assert _checks(source, (0.62, 0.62, 3)) == []
        assert _checks(source, (1.24, 1.24, 3)) == ["voxel_size_differs"]

    def test_the_option_and_a_table_are_a_warning(self, source: Path) -> None:
        (source / "spacing.csv").write_text("name,x_um,y_um,z_um\nmouse1,1,1,3\n")
        assert _checks(source, SPACING_UM) == ["spacing_table"]
