"""The bytes of a file as stored, read once in small pieces: hashed and decompressed on the way, never whole in memory."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

_MAGIC = b"\x1f\x8b"
_CHUNK = 2**18
_GZIP = 31  # zlib's number for "gzip header, largest window"


class Digest(Protocol):
    """A hashlib object."""

    def update(self, data: bytes, /) -> None: ...


class StoredReader:
    """Reads a file front to back; it is decompressed where its first bytes say gzip, whatever its name says.

    Args:
        file: Open at its beginning.
        digest: Fed every byte as stored; whole once ``drain`` has been called.
    """

    def __init__(self, file: BinaryIO, digest: Digest | None = None) -> None:
        self._file = file
        self._digest = digest
        self._stored = self._next_chunk()
        self._compressed = self._stored.startswith(_MAGIC)
        self._inflate = zlib.decompressobj(_GZIP)
        self._inside = self._compressed

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end.

        Raises:
            EOFError: The compressed data is cut short.
            OSError: The compressed data is damaged, or its checksum is wrong.
        """
        parts = []
        while size and (part := self._some(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self) -> None:
        """Read on to the end, so that checksums are seen and the digest is whole. Raises as ``read`` does."""
        while self._some(_CHUNK):
            pass

    def _some(self, most: int) -> bytes:
        while True:
            self._stored = self._stored or self._next_chunk()
            if not self._compressed:
                part, self._stored = self._stored[:most], self._stored[most:]
                return part
            if not self._stored:
                if self._inside:
                    raise EOFError("the compressed data ends too early")
                return b""
            if not self._inside:
                self._begin_member()
            elif part := self._decompress(most):
                return part

    def _begin_member(self) -> None:
        self._stored = self._stored.lstrip(b"\0")  # padding between members
        if self._stored:
            self._inflate, self._inside = zlib.decompressobj(_GZIP), True

    def _decompress(self, most: int) -> bytes:
        try:
            part = self._inflate.decompress(self._stored, most)
        except zlib.error as error:
            raise OSError(f"the compressed data is damaged: {error}") from error
        self._inside = not self._inflate.eof
        self._stored = self._inflate.unconsumed_tail if self._inside else self._inflate.unused_data
        return part

    def _next_chunk(self) -> bytes:
        chunk = self._file.read(_CHUNK)
        if self._digest is not None:
            self._digest.update(chunk)
        return chunk


def peek(path: Path, size: int) -> tuple[bytes, int]:
    """The first ``size`` bytes and the length of the whole, both decompressed, from a few bytes of the file.

    The length of a gzip file is what its last four bytes say, modulo 4 GiB: a random number where the file was cut short.

    Raises:
        OSError: The file cannot be read, or its compressed data is damaged.
    """
    with path.open("rb") as file:
        head = file.read(4096)
        if not head.startswith(_MAGIC):
            return head[:size], os.fstat(file.fileno()).st_size
        try:
            beginning = zlib.decompressobj(_GZIP).decompress(head, size)
        except zlib.error as error:
            raise OSError(f"the compressed data is damaged: {error}") from error
        file.seek(-4, os.SEEK_END)
        return beginning, int(struct.unpack("<I", file.read(4))[0])
