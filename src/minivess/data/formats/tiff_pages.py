"""Find the pages of a TIFF file and check them before any voxel is read: all alike, all complete, none left over."""

from __future__ import annotations

import struct
from math import prod
from typing import NoReturn

import tifffile

from minivess.data.formats.nifti_header import VolumeError
from minivess.text import counted

MOST_VOXELS = 32_767
"""The largest edge of a volume: NIfTI-1 stores sizes as 16-bit numbers."""

_RESAVE = "open it in Fiji and save it with File > Save As > Tiff"
_ONE_CHANNEL = "export one channel as a stack of greyscale pages"
_COMPRESSIONS = {1, 5, 8, 32946, 32773, 50000}  # none, LZW, Deflate, Deflate (old number), PackBits, Zstandard
_PREDICTORS = {1, 2, 3}  # none, horizontal, floating point
_UINT, _INT, _FLOAT, _COMPLEX_INT, _COMPLEX = 1, 2, 3, 5, 6
_SAMPLES = {_UINT: {1, 8, 12, 16, 32, 64}, _INT: {8, 16, 32, 64}, _FLOAT: {16, 32, 64}}
_GREY, _PALETTE = 1, 3
_COLOURS = {0: "white is zero", 2: "RGB", 3: "a palette that is not a ramp", 4: "a mask", 5: "CMYK", 6: "YCbCr"}
_MIRRORED = {1, 2, 3, 4}
_REDUCED, _PART_OF_STACK = 1, 2
_LARGEST_TILE = 2**24
# A small file may claim this much at most; Deflate and LZW reach a ratio of about 1000.
_SMALL_CLAIM, _LARGEST_RATIO = 2**28, 1000


def find_pages(tiff: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    """Return all pages of the file in their order, except for smaller copies of them (thumbnails, pyramid levels).

    Raises:
        VolumeError: A page is damaged, incomplete, of another kind than the first, or of a kind that is not supported.
    """
    pages = [_page(tiff, index, offset) for index, offset in enumerate(_offsets(tiff))]
    largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
    copies = [_page(tiff, page.index, offset) for page in pages for offset in page.subifds or ()]
    if any(not _is_copy(page, largest) for page in copies):
        _refuse("tiff_pages", "pages without other images in them", "SubIFDs that are not smaller copies", _RESAVE)
    pages = [page for page in pages if not _is_copy(page, largest)]
    for page in pages:
        _check_same(page, pages[0])
    _check_kind(pages[0], len(pages))
    _check_size(pages[0], len(pages), tiff.filehandle.size)
    for page in pages:
        _check_complete(page, tiff.filehandle.size)
    stored = sum(sum(page.databytecounts) for page in pages)
    if len({page.dataoffsets[0] for page in pages}) < len(pages) or stored > tiff.filehandle.size:
        _refuse("damaged", "pages with voxels of their own", "pages that share their bytes", _RESAVE)
    return pages


def _offsets(tiff: tifffile.TiffFile) -> list[int]:
    """Follow the chain of page headers to its end; tifffile stops without an error where the chain is broken."""
    file, layout = tiff.filehandle, tiff.tiff
    offsets: list[int] = []
    offset, header_bytes = tiff.pages.first.offset, 0
    while offset:
        file.seek(offset)
        (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
        offsets.append(offset)
        header_bytes += layout.tagnosize + tags * layout.tagsize + layout.offsetsize
        if header_bytes > file.size:
            _refuse("damaged", "a chain of pages that ends", "page headers that form a circle or overlap", _RESAVE)
        if len(offsets) > MOST_VOXELS:
            _refuse_size(f"more than {MOST_VOXELS} pages")
        file.seek(offset + layout.tagnosize + tags * layout.tagsize)
        (offset,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return offsets


def _page(tiff: tifffile.TiffFile, index: int, offset: int) -> tifffile.TiffPage:
    tiff.filehandle.seek(offset)
    return tifffile.TiffPage(tiff, index)


def _is_copy(page: tifffile.TiffPage, largest: tifffile.TiffPage) -> bool:
    smaller = page.imagewidth < largest.imagewidth and page.imagelength < largest.imagelength
    return page.subfiletype == _REDUCED and smaller


def _check_same(page: tifffile.TiffPage, first: tifffile.TiffPage) -> None:
    turns = [orientation_of(p, orientation_of(first)) for p in (page, first)]
    kinds = [
        (p.shape, p.sampleformat, p.bitspersample, p.photometric, turn, p.subfiletype & ~_PART_OF_STACK, p.imagedepth)
        for p, turn in zip((page, first), turns, strict=True)
    ]
    if kinds[0] != kinds[1]:
        one, two = (
            f"{' x '.join(map(str, p.shape))} {p.dtype}, orientation {turn}, subfile type {int(p.subfiletype)}"
            for p, turn in zip((page, first), turns, strict=True)
        )
        got = f"page {page.index + 1} is {one}; page {first.index + 1} is {two}"
        _refuse("tiff_pages", "pages of one size and type", got, "save the stack in Fiji without the other pages")


def _check_kind(page: tifffile.TiffPage, pages: int) -> None:
    vendor = next((name for name in ("stk", "lsm", "fluoview", "sis", "nih") if getattr(page, f"is_{name}")), None)
    if vendor:
        _refuse(
            "dimensions", "a plain, ImageJ, OME or Micro-Manager TIFF file", f"the format {vendor.upper()}", _RESAVE
        )
    if len(page.shape) != 2:  # colours or a volume in one page
        refuse_axes(f"I{page.axes}" if pages > 1 else page.axes, (pages, *page.shape) if pages > 1 else page.shape)
    if page.bitspersample not in _SAMPLES.get(page.sampleformat, ()):
        complex_kinds = (_COMPLEX_INT, _COMPLEX)
        got = page.dtype or f"{page.bitspersample} bits of format {page.sampleformat}"
        cure = _ONE_CHANNEL if page.sampleformat in complex_kinds else "export it as 8-bit or 16-bit integers"
        _refuse("voxel_type", "one real number per voxel", f"{got}", cure)
    if page.compression not in _COMPRESSIONS or page.predictor not in _PREDICTORS or page.fillorder != 1:
        got = f"compression {_name(page.compression)}, predictor {page.predictor}, bit order {page.fillorder}"
        _refuse("tiff_compression", "no compression, LZW, Deflate, PackBits or Zstandard", got, _RESAVE)
    if page.photometric != _GREY and not _is_grey_ramp(page):
        cure = "in Fiji, apply Image > Lookup Tables > Grays, check which value is vessel, and save it as Tiff"
        got = f"{_COLOURS.get(page.photometric, 'colours')} (photometric interpretation {page.photometric})"
        _refuse("tiff_colour", "grey values of which 0 is black", got, cure)
    if orientation_of(page) not in _MIRRORED:
        got = f"orientation {orientation_of(page)}, which swaps rows and columns"
        _refuse("tiff_orientation", "an orientation tag of 1 to 4", got, f"{_RESAVE}; do so for image and label")


def orientation_of(page: tifffile.TiffPage, default: int = 1) -> int:
    """Return the orientation tag: 1 as stored, 2 mirrored along X, 4 along Y, 3 along both; ``default`` without a tag.

    Some programs write the tag into the first page only; then it holds for all pages.
    """
    return int(page.tags.valueof(274, default))


def _is_grey_ramp(page: tifffile.TiffPage) -> bool:
    """Whether the colours of a palette never get darker from one value to the next, as in ImageJ's "Green"."""
    colours = page.colormap if page.photometric == _PALETTE else None
    return colours is not None and bool((colours[:, 1:] >= colours[:, :-1]).all() and (colours[:, -1] > 0).any())


def _check_size(page: tifffile.TiffPage, pages: int, file_bytes: int) -> None:
    if not 0 < min(page.shape) <= max(page.shape) <= MOST_VOXELS:
        _refuse_size(f"pages of {page.imagewidth} x {page.imagelength} voxels")
    check_claim(pages * page.nbytes, file_bytes)
    if page.is_tiled and page.tilewidth * page.tilelength > max(_LARGEST_TILE, 2 * page.size):
        _refuse("damaged", "tiles not larger than the page", f"{page.tilewidth} x {page.tilelength}", _RESAVE)


def check_claim(claimed_bytes: int, file_bytes: int) -> None:
    """Refuse a file that claims more voxels than its bytes can hold.

    Raises:
        VolumeError: It does.
    """
    if claimed_bytes > max(_SMALL_CLAIM, _LARGEST_RATIO * file_bytes):
        got = f"{claimed_bytes} bytes of voxels in a file of {file_bytes} bytes"
        _refuse("damaged", "a size that fits the file", got, "export it again as an uncompressed TIFF stack")


def _check_complete(page: tifffile.TiffPage, file_bytes: int) -> None:
    """Check that every strip or tile lies in the file; tifffile fills missing ones with zeros."""
    strips, offsets, counts = prod(page.chunked), page.dataoffsets, page.databytecounts
    stored = sum(counts)
    needed = (page.imagewidth * page.bitspersample + 7) // 8 * page.imagelength if page.compression == 1 else strips
    inside = all(
        offset >= 8 and count > 0 and offset + count <= file_bytes
        for offset, count in zip(offsets, counts, strict=False)
    )
    if not len(offsets) == len(counts) == strips or not inside or stored < needed:
        got = f"{counted(len(counts), 'strip')} with {stored} bytes for page {page.index + 1}, not all of them in the file"
        _refuse("damaged", "all strips of every page", got, "copy or export the file again")


def refuse_axes(axes: str, shape: tuple[int, ...]) -> NoReturn:
    """Raise the error of a file that has other axes than one stack of grey pages."""
    _refuse("dimensions", "one channel (Z, Y, X)", f"axes {axes} of shape {shape}", _ONE_CHANNEL)


def _refuse_size(got: str) -> NoReturn:
    cure = "crop the stack, or save it at a lower resolution"
    _refuse("dimensions", f"1 to {MOST_VOXELS} voxels along each axis, the limit of NIfTI", got, cure)


def _refuse(check: str, expected: str, got: str, cure: str) -> NoReturn:
    raise VolumeError(check, expected, got, cure)


def _name(code: int) -> str:
    return str(getattr(code, "name", code))
