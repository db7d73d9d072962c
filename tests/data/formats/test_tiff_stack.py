"""Tests of reading one TIFF stack: what is accepted is read exactly, everything else is refused by name."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from minivess.data.formats.nifti_header import VolumeError
from minivess.data.formats.tiff_stack import read_label_stack, read_stack, read_stack_header

STACK = np.random.default_rng(0).integers(0, 255, (5, 20, 24), np.uint8)  # Z, Y, X
ORIENTATION, WIDTH, LENGTH = 274, 256, 257


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tif"


def _write(path: Path, array: np.ndarray = STACK, **options: Any) -> None:
    tifffile.imwrite(path, array, **{"photometric": "minisblack", **options})


def _overwrite(path: Path, code: int, value: Any, page: int = 0) -> None:
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages.get(page).aspage().tags[code].overwrite(value)


def _refused(path: Path, read: Callable[[Path], Any] = read_stack_header) -> str:
    with pytest.raises(VolumeError) as caught:
        read(path)
    assert str(path) in caught.value.got
    return caught.value.check


class TestOneReadingPath:
    @pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "zstd"])
    @pytest.mark.parametrize("dtype", ["i1", "u2", ">u2", "i4", "u4", "f4", "f8"])
    def test_numbers_do_not_depend_on_the_compression(self, path: Path, compression: str | None, dtype: str) -> None:
        array = (STACK.astype("i4") - 128).astype(dtype)
        _write(path, array, compression=compression)
        read = read_stack(path)
        assert read.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(read, array.T)

    @pytest.mark.parametrize(
        "options",
        [
            {"tile": (16, 16), "compression": "lzw"},
            {"rowsperstrip": 7, "compression": "zlib"},
            {"bigtiff": True},
            {"byteorder": ">"},
            {"compression": "lzw", "predictor": 2},
        ],
    )
    def test_layouts(self, path: Path, options: dict[str, Any]) -> None:
        _write(path, STACK.astype("u2"), **options)
        np.testing.assert_array_equal(read_stack(path), STACK.T)

    def test_floating_point_predictor(self, path: Path) -> None:
        _write(path, STACK.astype("f4"), compression="zlib", predictor=3)
        np.testing.assert_array_equal(read_stack(path), STACK.T)

    def test_twelve_bits_packed(self, path: Path) -> None:
        _write(path, np.full((2, 2, 3), 0xABC, "u2"))
        for page in (0, 1):
            _overwrite(path, 258, 12, page)  # 2 rows of 3 x 12 bits, each row padded to 5 bytes, of the 12 bytes there
        with tifffile.TiffFile(path) as tiff:
            starts = [page.dataoffsets[0] for page in tiff.pages]
        data = bytearray(path.read_bytes())
        for start in starts:
            data[start : start + 10] = bytes.fromhex("001002fff0 00a00bABC0".replace(" ", ""))
        path.write_bytes(data)
        assert read_stack(path)[:, :, 0].T.tolist() == [[1, 2, 0xFFF], [0xA, 0xB, 0xABC]]

    def test_bilevel(self, path: Path) -> None:
        _write(path, STACK > 200)
        np.testing.assert_array_equal(read_label_stack(path), (STACK > 200).T)

    @pytest.mark.parametrize(("dtype", "top", "kept"), [("i8", 300, "i2"), ("u8", 65535, "u2"), ("i8", 2**31, "u4")])
    def test_64_bit_integers_that_fit_are_converted(self, path: Path, dtype: str, top: int, kept: str) -> None:
        _write(path, np.array([[[0, 1]], [[2, top]]], dtype))
        assert (read_stack(path).dtype, read_stack(path).max()) == (np.dtype(kept), top)

    @pytest.mark.parametrize(("dtype", "value"), [("i8", -(2**31) - 1), ("u8", 2**32)])
    def test_64_bit_integers_that_do_not_fit_are_refused(self, path: Path, dtype: str, value: int) -> None:
        _write(path, np.array([[[0, 1]], [[2, value]]], dtype))
        assert _refused(path, read_stack) == "voxel_type"

    @pytest.mark.parametrize("value", [np.nan, np.inf, 0.5])
    def test_a_label_with_nan_or_three_values_is_refused(self, path: Path, value: float) -> None:
        label = (STACK > 200).astype("f4")
        label[label == 1] = value if value != 0.5 else 1
        label[0, 0, 0] = value
        _write(path, label)
        assert _refused(path, read_label_stack) == "label_values"

    @pytest.mark.parametrize(("background", "vessel"), [(0, 255), (0, 0)])
    def test_a_label_has_background_and_at_most_one_other_value(self, path: Path, background: int, vessel: int) -> None:
        _write(path, np.where(STACK > 200, vessel, background).astype("u1"))
        np.testing.assert_array_equal(read_label_stack(path), ((STACK > 200) & (vessel > 0)).T)

    @pytest.mark.parametrize("background", [1, 255])
    def test_a_label_without_background_0_is_refused(self, path: Path, background: int) -> None:
        _write(path, np.full_like(STACK, background))
        assert _refused(path, read_label_stack) == "label_values"


class TestOrientation:
    @pytest.mark.parametrize("compression", [None, "lzw"])
    @pytest.mark.parametrize(
        ("orientation", "seen"),
        [(1, STACK), (2, STACK[:, :, ::-1]), (3, STACK[:, ::-1, ::-1]), (4, STACK[:, ::-1])],
    )
    def test_mirrors_are_applied_to_every_file(
        self, path: Path, compression: str | None, orientation: int, seen: np.ndarray
    ) -> None:
        _write(path, compression=compression, extratags=[(ORIENTATION, 3, 1, orientation, False)])
        np.testing.assert_array_equal(read_stack(path), seen.T)

    def test_a_tag_on_the_first_page_alone_holds_for_all(self, path: Path) -> None:
        _write(path, extratags=[(ORIENTATION, 3, 1, 4, True)])
        np.testing.assert_array_equal(read_stack(path), STACK[:, ::-1].T)

    @pytest.mark.parametrize("orientation", [5, 8, 9])
    def test_swapped_rows_and_columns_are_refused(self, path: Path, orientation: int) -> None:
        _write(path, extratags=[(ORIENTATION, 3, 1, orientation, False)])
        assert _refused(path) == "tiff_orientation"

    def test_pages_of_two_orientations_are_refused(self, path: Path) -> None:
        _write(path, extratags=[(ORIENTATION, 3, 1, 4, False)])
        _overwrite(path, ORIENTATION, 2, page=3)
        assert _refused(path) == "tiff_pages"


class TestColoursAndTypes:
    @pytest.mark.parametrize("planar", ["contig", "separate"])
    def test_colours_are_refused_however_they_are_stored(self, path: Path, planar: str) -> None:
        colours = STACK[:3] if planar == "separate" else np.moveaxis(STACK[:3], 0, -1)
        _write(path, colours, photometric="rgb", planarconfig=planar)
        assert _refused(path) == "dimensions"

    @pytest.mark.parametrize("array", [STACK, STACK > 200])
    def test_white_is_zero_is_refused(self, path: Path, array: np.ndarray) -> None:
        _write(path, array, photometric="miniswhite")
        assert _refused(path) == "tiff_colour"

    @pytest.mark.parametrize(
        ("ramp", "accepted"),
        [(np.arange(256), True), (np.arange(256)[::-1], False), (np.roll(np.arange(256), 1)[::-1], False)],
        ids=["green", "inverted", "inverted, last bright"],
    )
    def test_a_palette_is_accepted_if_higher_values_are_brighter(
        self, path: Path, ramp: np.ndarray, accepted: bool
    ) -> None:
        _write(path, photometric="palette", colormap=np.stack([ramp * 0, ramp * 256, ramp * 0]).astype("u2"))
        if accepted:
            np.testing.assert_array_equal(read_stack(path), STACK.T)
        else:
            assert _refused(path) == "tiff_colour"

    @pytest.mark.parametrize("compression", ["jpeg", "png", "lzma"])
    def test_other_compressions_are_refused(self, path: Path, compression: str) -> None:
        _write(path, compression=compression)
        assert _refused(path) == "tiff_compression"

    @pytest.mark.parametrize("dtype", ["c8", "c16"])
    def test_complex_numbers_are_refused(self, path: Path, dtype: str) -> None:
        _write(path, STACK.astype(dtype))
        assert _refused(path) == "voxel_type"

    def test_a_format_with_axes_of_its_own_is_refused(self, path: Path) -> None:
        fluoview_stamp = (34362, 12, 8, (0.0,) * 8, True)
        _write(path, extratags=[fluoview_stamp])
        assert _refused(path) == "dimensions"


class TestPages:
    def test_every_page_is_read_or_the_file_is_refused(self, path: Path) -> None:
        """A chain of pages that points beyond the file or back to itself has lost pages."""
        with tifffile.TiffWriter(path) as writer:
            for plane in STACK:
                writer.write(plane, photometric="minisblack", contiguous=False, metadata=None)
        assert read_stack_header(path).shape == (24, 20, 5)
        whole = path.read_bytes()
        with tifffile.TiffFile(path) as tiff:
            first, third = tiff.pages[0].offset, tiff.pages[3].offset  # type: ignore[union-attr]
        for target in (len(whole) + 100, first):
            path.write_bytes(whole.replace(struct.pack("<I", third), struct.pack("<I", target)))
            assert _refused(path) == "damaged"

    @pytest.mark.parametrize("other", [STACK[0, :10], STACK[0].astype("u2")])
    def test_pages_of_two_sizes_or_types_are_refused(self, path: Path, other: np.ndarray) -> None:
        with tifffile.TiffWriter(path) as writer:
            for page in (*STACK, other):
                writer.write(page, photometric="minisblack", contiguous=False, metadata=None)
        assert _refused(path) == "tiff_pages"

    def test_two_series_of_one_kind_are_refused(self, path: Path) -> None:
        _write(path)
        _write(path, STACK[:2], append=True)
        assert _refused(path) == "tiff_pages"

    def test_a_thumbnail_is_no_page_of_the_stack(self, path: Path) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(STACK, photometric="minisblack")
            writer.write(STACK[0, ::4, ::4], photometric="minisblack", subfiletype=1, metadata=None)
        np.testing.assert_array_equal(read_stack(path), STACK.T)

    @pytest.mark.parametrize(("kind", "size"), [(1, 1), (4, 4)], ids=["a copy that is not smaller", "a mask"])
    def test_other_kinds_of_pages_are_refused(self, path: Path, kind: int, size: int) -> None:
        with tifffile.TiffWriter(path) as writer:
            writer.write(STACK, photometric="minisblack")
            writer.write(STACK[0, ::size, ::size], photometric="minisblack", subfiletype=1, metadata=None)
        _overwrite(path, 254, kind, page=5)
        assert _refused(path) == "tiff_pages"

    @pytest.mark.parametrize(("step", "accepted"), [(2, True), (1, False)])
    def test_levels_of_a_pyramid_are_left_out(self, path: Path, step: int, accepted: bool) -> None:
        with tifffile.TiffWriter(path, ome=True) as writer:
            writer.write(STACK, photometric="minisblack", subifds=1, metadata={"axes": "ZYX"})
            writer.write(STACK[:, ::step, ::step], photometric="minisblack", subfiletype=1)
        assert read_stack_header(path).shape == (24, 20, 5) if accepted else _refused(path) == "tiff_pages"

    def test_one_page_is_no_stack(self, path: Path) -> None:
        _write(path, STACK[0])
        assert _refused(path) == "dimensions"


class TestImageJ:
    def test_pages_that_are_called_time_are_slices(self, path: Path) -> None:
        _write(path, imagej=True, metadata={"axes": "TYX"})
        np.testing.assert_array_equal(read_stack(path), STACK.T)

    def test_two_channels_are_refused(self, path: Path) -> None:
        _write(path, np.stack([STACK, STACK], 1), imagej=True, metadata={"axes": "ZCYX"})
        assert _refused(path) == "dimensions"

    @pytest.mark.parametrize(
        "text", ["images=20", "images=20\nslices=20", "slices=5\nchannels=4", "images=4\nslices=5"]
    )
    @pytest.mark.parametrize("compression", [None, "lzw"])
    def test_a_description_of_other_pages_is_refused(self, path: Path, text: str, compression: str | None) -> None:
        _write(path, description=f"ImageJ=1.53t\n{text}\n", metadata=None, compression=compression)
        assert _refused(path) in {"tiff_pages", "dimensions"}

    @pytest.mark.parametrize("text", ["", "images=5", "slices=5", "images=5\nframes=5\nhyperstack=true"])
    def test_a_description_of_the_pages_in_the_file_is_accepted(self, path: Path, text: str) -> None:
        _write(path, description=f"ImageJ=1.53t\n{text}\n", metadata=None)
        assert read_stack_header(path).shape == (24, 20, 5)

    @pytest.mark.parametrize(("there", "accepted"), [(5, True), (3, False)])
    def test_one_page_header_for_all_pages(self, path: Path, there: int, accepted: bool) -> None:
        """ImageJ writes stacks above 4 GB like this."""
        _write(
            path, STACK[0].astype(">u2"), byteorder=">", description="ImageJ=1.53t\nimages=5\nslices=5", metadata=None
        )
        with tifffile.TiffFile(path) as tiff:
            start = tiff.pages.first.dataoffsets[0]
        path.write_bytes(path.read_bytes()[:start] + STACK[:there].astype(">u2").tobytes())
        if accepted:
            np.testing.assert_array_equal(read_stack(path), STACK.T)
        else:
            assert _refused(path) == "tiff_pages"


class TestOME:
    def _xml(self, path: Path, old: str, new: str) -> None:
        """Replace a text in the XML of a stack with 5 slices; the length of the file stays."""
        _write(path.with_suffix(".ome.tif"), metadata={"axes": "ZYX"})
        data = path.with_suffix(".ome.tif").read_bytes()
        assert data.count(old.encode()) == 1
        path.write_bytes(data.replace(old.encode(), new.encode()))

    def test_a_stack_is_read(self, path: Path) -> None:
        self._xml(path, 'SizeZ="5"', 'SizeZ="5"')
        np.testing.assert_array_equal(read_stack(path), STACK.T)

    @pytest.mark.parametrize(
        ("old", "new", "check"),
        [
            ('SizeZ="5"', 'SizeZ="9"', "tiff_pages"),
            ('SizeC="1"', 'SizeC="5"', "tiff_pages"),
            ('SizeX="24"', 'SizeX="25"', "tiff_pages"),
            ('IFD="0"', 'IFD="1"', "tiff_pages"),
            ('PlaneCount="5"', 'PlaneCount="4"', "tiff_pages"),
            ("</Pixels>", "</Pixelz>", "damaged"),
        ],
    )
    def test_xml_that_does_not_fit_the_pages_is_refused(self, path: Path, old: str, new: str, check: str) -> None:
        self._xml(path, old, new)
        assert _refused(path) == check

    def test_channels_are_refused(self, path: Path) -> None:
        _write(path, ome=True, metadata={"axes": "CYX"})
        assert _refused(path) == "dimensions"

    def test_two_images_are_refused(self, path: Path) -> None:
        with tifffile.TiffWriter(path, ome=True) as writer:
            for part in (STACK[:3], STACK[3:]):
                writer.write(part, photometric="minisblack", metadata={"axes": "ZYX"})
        with pytest.raises(VolumeError) as caught:
            read_stack_header(path)
        assert (caught.value.check, caught.value.got) == ("tiff_pages", f"2 in {path}")

    def test_planes_in_another_file_are_refused(self, path: Path) -> None:
        planes = "".join(
            f'<TiffData IFD="{z}" FirstZ="{z}"><UUID FileName="b.tif">urn:uuid:{z // 3}</UUID></TiffData>'
            for z in range(5)
        )
        pixels = f'<Pixels DimensionOrder="XYZCT" SizeX="24" SizeY="20" SizeZ="5" SizeC="1" SizeT="1">{planes}</Pixels>'
        _write(path, description=f"<OME><Image>{pixels}</Image></OME>", metadata=None)
        assert _refused(path) == "tiff_pages"


class TestOtherPrograms:
    @pytest.mark.parametrize(
        ("summary", "places", "check"),
        [
            ({"Slices": 5}, [], ""),
            ({"Slices": 9}, [], "tiff_pages"),
            ({"Slices": 5, "Positions": 3}, [(0, z, 0, 2) for z in range(5)], ""),
            ({"Slices": 5}, [(0, 4 - z, 0, 0) for z in range(5)], "tiff_pages"),
            ({"Slices": 5, "Channels": 2}, [], "dimensions"),
        ],
        ids=["slices", "slices that are missing", "one of three positions", "from the last slice", "channels"],
    )
    def test_micro_manager_names_its_planes(
        self, path: Path, summary: dict[str, int], places: list[tuple[int, ...]], check: str
    ) -> None:
        _micro_manager(path, summary, places)
        assert _refused(path) == check if check else read_stack_header(path).shape == (24, 20, 5)

    def test_micro_manager_names_its_voxel_size(self, path: Path) -> None:
        _micro_manager(path, {"Slices": 5, "PixelSize_um": 0.5, "z-step_um": -2})
        assert [one.sizes_um for one in read_stack_header(path).descriptions] == [(0.5, 0.5, 2)]

    def test_an_ndtiff_file_is_refused(self, path: Path) -> None:
        _micro_manager(path, {"Slices": 5}, header=struct.pack("<IIIII", 483729, 3, 0, 2355492, 2))
        assert _refused(path) == "tiff_pages"

    @pytest.mark.parametrize(
        ("channels", "slices", "frames", "averaged", "check"),
        [
            ("1", 5, "1", 1, ""),
            ("1", 5, "8", 8, ""),
            ("1", 1, "Inf", 1, ""),
            ("[1;2]", 5, "1", 1, "dimensions"),
            ("1", 5, "2", 1, "dimensions"),
            ("1", 2, "1", 1, "dimensions"),
            ("1", 9, "1", 1, "tiff_pages"),
        ],
    )
    def test_scanimage_names_channels_slices_and_frames(
        self, path: Path, channels: str, slices: int, frames: str, averaged: int, check: str
    ) -> None:
        facts = {
            "hChannels.channelSave": channels,
            "hStackManager.numSlices": slices,
            "hStackManager.framesPerSlice": frames,
            "hScan2D.logAverageFactor": averaged,
        }
        _write(
            path, software="".join(f"SI.{key} = {value}\n" for key, value in facts.items()), metadata=None, bigtiff=True
        )
        assert _refused(path) == check if check else read_stack_header(path).shape == (24, 20, 5)

    def test_an_old_scanimage_file_is_refused(self, path: Path) -> None:
        _write(path, description="state.acq.numberOfChannelsSave=2\n", metadata=None, bigtiff=True)
        assert _refused(path) == "dimensions"


def _micro_manager(
    path: Path,
    summary: dict[str, Any],
    places: list[tuple[int, ...]] = (),
    header: bytes = b"",  # type: ignore[assignment]
) -> None:
    """Write a stack as Micro-Manager does, with a header of its own between the TIFF header and the first page.

    Args:
        path: The file.
        summary: Micro-Manager's summary of the acquisition.
        places: Channel, slice, frame and position of each page, for the index at the end of the file.
        header: Another header.
    """
    text = json.dumps(summary).encode()
    _write(path, metadata=None, extratags=[(51123, 2, 9, '{"a": 1}', True)], description="x" * 200)
    data = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        first = tiff.pages.first
    # The first page moves to the end of the file to make room for the header; its values stay where they are.
    size = 2 + 12 * len(first.tags) + 4
    end = len(data) + size
    header = header or struct.pack("<8I", 54773648, end, 483765892, 0, 99384722, 0, 2355492, len(text))
    assert len(header + text) <= size
    moved = data[first.offset : first.offset + size]
    index = struct.pack("<2I", 3453623, len(places))
    index += b"".join(struct.pack("<5I", *place, 1000 + page) for page, place in enumerate(places))
    data = (
        data[:4] + struct.pack("<I", len(data)) + (header + text).ljust(size, b"\0") + data[8 + size :] + moved + index
    )
    path.write_bytes(data)


class TestDamage:
    @pytest.mark.parametrize("data", [b"", b"II*\0", b"hello", b"II*\0\x08\0\0\0\xff\xff"])
    def test_a_file_that_is_no_tiff_file(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        assert _refused(path) == "damaged"

    @pytest.mark.parametrize("compression", [None, "lzw", "zlib", "zstd", "packbits"])
    def test_no_truncated_file_is_read(self, path: Path, compression: str | None) -> None:
        _write(path, compression=compression)
        whole = path.read_bytes()
        for length in range(0, len(whole) - 1, len(whole) // 50):
            path.write_bytes(whole[:length])
            assert _refused(path, read_stack) == "damaged"

    @pytest.mark.parametrize(("code", "value"), [(273, 0), (279, 0), (279, 200)])
    def test_a_missing_or_short_strip_is_not_filled_with_zeros(self, path: Path, code: int, value: int) -> None:
        _write(path)
        _overwrite(path, code, value, page=2)
        assert _refused(path, read_stack) == "damaged"

    def test_pages_that_share_their_voxels_are_refused(self, path: Path) -> None:
        _write(path)
        with tifffile.TiffFile(path) as tiff:
            start = tiff.pages[1].dataoffsets[0]  # type: ignore[union-attr]
        _overwrite(path, 273, start, page=2)
        assert _refused(path) == "damaged"

    def test_strips_that_share_their_bytes_are_refused(self, path: Path) -> None:
        _write(path, rowsperstrip=1, compression="lzw")
        for page in range(5):
            _overwrite(path, 273, [8 + page] * 20, page)
            _overwrite(path, 279, [1000] * 20, page)
        assert _refused(path) == "damaged"

    def test_a_damaged_tag_is_not_left_out(self, path: Path) -> None:
        _write(path, extratags=[(ORIENTATION, 3, 1, 4, False)])
        path.write_bytes(path.read_bytes().replace(struct.pack("<HHI", 274, 3, 1), struct.pack("<HHI", 274, 99, 1)))
        assert _refused(path) == "damaged"

    @pytest.mark.parametrize("compression", [None, "lzw"])
    @pytest.mark.parametrize(("width", "check"), [(100_000, "dimensions"), (32_768, "dimensions"), (32_767, "damaged")])
    def test_sizes_are_checked_before_allocation(
        self, path: Path, compression: str | None, width: int, check: str
    ) -> None:
        _write(path, STACK[:2], compression=compression, metadata=None)
        for page in (0, 1):
            _overwrite(path, WIDTH, width, page)
            _overwrite(path, LENGTH, width, page)
            _overwrite(path, 278, width, page)
        assert _refused(path) == check

    def test_more_pages_than_nifti_can_hold_are_refused(self, path: Path) -> None:
        headers = [struct.pack("<HI", 0, 8 + 6 * page) for page in range(1, 32_769)]
        path.write_bytes(b"II*\0\x08\0\0\0" + b"".join(headers) + bytes(6))
        with pytest.raises(VolumeError, match="more than 32767 pages"):
            read_stack_header(path)

    def test_a_tile_much_larger_than_its_page_is_refused(self, path: Path) -> None:
        _write(path, tile=(32, 32), compression="lzw", metadata=None)
        for page in range(5):
            for code in (322, 323):
                _overwrite(path, code, 32_752, page)
        assert _refused(path) == "damaged"

    def test_a_stack_that_does_not_fit_in_memory_is_refused(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from minivess.data.formats import tiff_stack
        from minivess.machine.host import Host

        _write(path)
        monkeypatch.setattr(tiff_stack, "read_host", lambda: Host(1, 0.0, 4000, 4000, 0, 0))
        assert _refused(path, read_stack) == "memory"
