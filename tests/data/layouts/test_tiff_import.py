"""TIFF stacks in."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from minivess.data.formats.nifti import read_header, read_volume
from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_stack import read_stack, read_stack_shape
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

    def test_what_comes_out_is_a_good_data_set(self, source: Path, tmp_path: Path) -> None:
        _import(source, tmp_path / "out")
        assert scan_dataset(tmp_path / "out", voxels=True).findings == []

    def test_lzw_as_vesselnn_is_compressed(self, source: Path, tmp_path: Path) -> None:
        pages = [Image.fromarray(page) for page in STACK]
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
        _import(source, tmp_path / "out")
        np.testing.assert_array_equal(read_volume(tmp_path / "out/raw/mouse1.nii.gz"), STACK.T)

    @pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.float32, ">u2"])
    def test_other_types_are_kept(self, source: Path, tmp_path: Path, dtype: str) -> None:
        _write(source, "denoised/mouse1_BM4D_denoised.tif", STACK.astype(dtype))
        _import(source, tmp_path / "out")
        np.testing.assert_array_equal(read_volume(tmp_path / "out/raw/mouse1.nii.gz"), STACK.T)

    def test_macos_hidden_files_are_no_stacks(self, source: Path, tmp_path: Path) -> None:
        (source / "denoised/._mouse1_BM4D_denoised.tif").write_bytes(b"Mac OS X")
        (source / "labels/._mouse1_manualLabels_v2.tif").write_bytes(b"Mac OS X")
        _import(source, tmp_path / "out")
        assert [path.name for path in (tmp_path / "out/raw").iterdir()] == ["mouse1.nii.gz"]

    def test_an_empty_folder_will_do(self, source: Path, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        _import(source, tmp_path / "out")
        assert (tmp_path / "out/raw/mouse1.nii.gz").is_file()

    @pytest.mark.parametrize("out", [".", "link"])
    def test_the_present_folder_or_a_link_to_an_empty_one_will_do_as_well(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        monkeypatch.chdir(tmp_path / "elsewhere" if out == "." else tmp_path)
        _import(source, Path(out))
        assert (tmp_path / "elsewhere" / "raw" / "mouse1.nii.gz").is_file()

    def test_a_folder_that_fills_meanwhile_is_said(self, source: Path, tmp_path: Path) -> None:
        def fill(name: str) -> None:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine.txt").touch()

        with pytest.raises(DataError, match="which was filled meanwhile"):
            import_tiffs(find_tiffs(source, SPACING_UM), tmp_path / "out", fill)
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]

    def test_nothing_is_written_over(self, source: Path, tmp_path: Path) -> None:
        _import(source, tmp_path / "out")
        (tmp_path / "out/raw/mouse1.nii.gz").write_text("mine")
        with pytest.raises(DataError, match=r"a new or empty folder; got .*out, which holds raw, seg"):
            _import(source, tmp_path / "out")
        assert (tmp_path / "out/raw/mouse1.nii.gz").read_text() == "mine"


class TestFaults:
    @pytest.mark.parametrize(
        ("image", "label", "message"),
        [
            (STACK[0], LABEL, "one channel"),
            (np.stack([STACK] * 3, -1), LABEL, "one channel"),
            (STACK.astype(np.complex64), LABEL, "one real number"),
            (STACK, LABEL[:4], "label 9 x 7 x 4, stack 9 x 7 x 5"),
            (STACK, STACK, "label of two values"),
        ],
        ids=["one page", "colours", "complex", "other shape", "grey label"],
    )
    def test_stacks_that_will_not_do(
        self, source: Path, tmp_path: Path, image: np.ndarray, label: np.ndarray, message: str
    ) -> None:
        photometric = "rgb" if image.shape[-1] == 3 else "minisblack"
        _write(source, "denoised/mouse1_BM4D_denoised.tif", image, photometric=photometric)
        _write(source, "labels/mouse1_manualLabels_v2.tif", label)
        with pytest.raises(DataError, match=message):
            _import(source, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_every_fault_of_names_and_headers_is_listed_before_a_voxel_is_read(self, source: Path) -> None:
        _write(source, "denoised/mouse2_raw.tif", STACK[0])
        _write(source, "denoised/mouse3_raw.tif", STACK)
        _write(source, "labels/mouse3_seg.tif", LABEL[1:])
        _write(source, "labels/mouse4_seg.tif", LABEL)
        (source / "spacing.csv").write_text("name,x_um,y_um,z_um\nmouse1,1,1,5\nmouse2,1,1,5\n")
        with pytest.raises(DataError, match=r"4 of them") as caught:
            find_tiffs(source)
        for fault in ("image_missing: mouse4", "voxel_size: mouse3", "dimensions: mouse2", "pair_shape: mouse3"):
            assert fault in str(caught.value)

    def test_every_fault_of_voxels_is_listed(self, source: Path, tmp_path: Path) -> None:
        _write(source, "denoised/mouse2_raw.tif", STACK)
        _write(source, "labels/mouse2_seg.tif", STACK)
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        path.write_bytes(path.read_bytes()[:400])
        with pytest.raises(DataError, match=r"damaged: mouse1:(?s:.*)label_values: mouse2:"):
            _import(source, tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["in"]

    def test_an_lzw_stack_cut_short_anywhere_is_a_fault_and_no_traceback(self, source: Path) -> None:
        pages = [Image.fromarray(page) for page in STACK]
        path = source / "denoised/mouse1_BM4D_denoised.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
        whole = path.read_bytes()
        for length in range(0, len(whole), 7):
            path.write_bytes(whole[:length])
            with contextlib.suppress(VolumeError):
                read_stack_shape(path)
                read_stack(path)

    def test_no_tiff(self, source: Path, tmp_path: Path) -> None:
        (source / "denoised/mouse1_BM4D_denoised.tif").write_text("hello")
        with pytest.raises(DataError, match="a TIFF stack"):
            _import(source, tmp_path / "out")

    def test_names(self, source: Path) -> None:
        _write(source, "labels/mouse2_labels.tif", LABEL)
        with pytest.raises(DataError, match="a stack for every label; got mouse2: none"):
            find_tiffs(source, SPACING_UM)
        _write(source, "denoised/mouse2_raw.tif", STACK)
        _write(source, "denoised/mouse2_denoised.tif", STACK)
        with pytest.raises(DataError, match=r"one file a case; got mouse2: mouse2_denoised\.tif and"):
            find_tiffs(source, SPACING_UM)

    def test_folders(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="a folder denoised"):
            find_tiffs(tmp_path, SPACING_UM)
        (tmp_path / "denoised").mkdir()
        with pytest.raises(DataError, match="TIFF stacks"):
            find_tiffs(tmp_path, SPACING_UM)


class TestSpacing:
    def test_from_the_table(self, source: Path) -> None:
        (source / "spacing.csv").write_text("name,x_um,y_um,z_um\nmouse1,0.62,0.62,5\n")
        assert find_tiffs(source)[0].spacing_um == (0.62, 0.62, 5.0)

    def test_from_a_sidecar(self, source: Path) -> None:
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
    def test_a_size_whose_unit_or_order_would_be_guessed_is_refused(self, source: Path, facts: str, key: str) -> None:
        (source / "denoised/mouse1_BM4D_denoised.json").write_text(facts)
        with pytest.raises(DataError, match=rf'under "spacing_um" or OME.*"{key}" in .*denoised\.json') as caught:
            find_tiffs(source)
        assert "a voxel size for every stack" not in str(caught.value)

    def test_ome_s_unit_is_converted(self, source: Path) -> None:
        sizes = {"X": 990, "Y": 990, "Z": 5000}
        facts = {f"PhysicalSize{axis}": size for axis, size in sizes.items()}
        facts |= {f"PhysicalSize{axis}Unit": "nm" for axis in sizes}
        (source / "denoised/mouse1_BM4D_denoised.json").write_text(json.dumps({"Pixels": facts}))
        assert find_tiffs(source)[0].spacing_um == pytest.approx((0.99, 0.99, 5.0))

    def test_none_is_refused(self, source: Path) -> None:
        with pytest.raises(DataError, match="a voxel size for every stack"):
            find_tiffs(source)

    @pytest.mark.parametrize(
        "table", ["name,x\nmouse1,1\n", "name,x_um,y_um,z_um\nmouse1,1,-1,5\n", "name,x_um,y_um,z_um\nmouse1,1\n"]
    )
    def test_a_wrong_table_is_refused(self, source: Path, table: str) -> None:
        (source / "spacing.csv").write_text(table)
        with pytest.raises(DataError, match="columns name,x_um,y_um,z_um"):
            find_tiffs(source)
