"""The bytes of a file as stored, read once in small pieces: hashed and decompressed on the way, never whole in memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from isal import isal_zlib

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 2**18


class Digest(Protocol):
    """A hashlib object."""

    def update(self, data: bytes, /) -> None: ...


class StoredReader:
    """Reads a file front to back, decompressing it where it is gzip by its first bytes, whatever its name says.

    Args:
        file: Open at its beginning.
        digest: Fed every byte of the file as stored, once the reader has come to the end.

    Raises:
        EOFError: The compressed data is cut short.
        OSError: The file cannot be read; a checksum of gzip is wrong.
    """

    def __init__(self, file: BinaryIO, digest: Digest | None = None) -> None:
        self._pieces = self._decompressed(file, digest)
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes | memoryview:
        """The next ``size`` bytes; fewer at the end."""
        if size <= len(self._rest):
            taken, self._rest = self._rest[:size], self._rest[size:]
            return taken
        parts, missing = [self._rest], size - len(self._rest)
        self._rest = memoryview(b"")
        for piece in self._pieces:
            if len(piece) > missing:
                self._rest = memoryview(piece)[missing:]
                piece = memoryview(piece)[:missing]
            parts.append(memoryview(piece))
            missing -= len(piece)
            if not missing:
                break
        return b"".join(parts)

    def drain(self) -> int:
        """Read on to the end, so that checksums are seen and the digest is whole; the bytes that were left."""
        left = len(self._rest) + sum(len(piece) for piece in self._pieces)
        self._rest = memoryview(b"")
        return left

    @staticmethod
    def _decompressed(file: BinaryIO, digest: Digest | None) -> Iterator[bytes]:
        inflate, compressed = None, None
        while chunk := file.read(_CHUNK):
            if digest is not None:
                digest.update(chunk)
            if compressed is None:
                compressed = chunk.startswith(GZIP_MAGIC)
            if not compressed:
                yield chunk
            while compressed and chunk:
                inflate = inflate or isal_zlib.decompressobj(wbits=31)
                yield _inflate(inflate, chunk)
                chunk = inflate.unused_data.lstrip(b"\0")  # padding between members
                if inflate.eof:
                    inflate = None
        if inflate is not None:
            raise EOFError("the compressed data ends too early")


def _inflate(inflate: isal_zlib.Decompress, chunk: bytes) -> bytes:
    try:
        return inflate.decompress(chunk)
    except isal_zlib.error as error:
        raise OSError(f"the compressed data is damaged: {error}") from error


def peek(path: Path, size: int) -> tuple[bytes, int]:
    """The first ``size`` bytes, decompressed, and the length of the whole, decompressed; both from a few bytes of the file.

    The length of a gzip file is what its trailer says, modulo 4 GiB: a file cut short gives a random number.
    """
    with path.open("rb") as file:
        head = file.read(4096)
        if not head.startswith(GZIP_MAGIC):
            return head[:size], file.seek(0, 2)
        begin = isal_zlib.decompressobj(wbits=31)
        try:
            beginning = begin.decompress(head, size)
        except isal_zlib.error as error:
            raise OSError(f"the compressed data is damaged: {error}") from error
        file.seek(-4, 2)
        return beginning, struct.unpack("<I", file.read(4))[0]
