"""Read a plain or gzip file once in small pieces: hash and decompress its bytes without loading the whole file."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

_MAGIC = b"\x1f\x8b"
_CHUNK = 2**18
_GZIP = 31  # the wbits value of zlib for a gzip header and the largest window
_LARGEST_RATIO = 1032  # of deflate: two bits can stand for 258 bytes


class Digest(Protocol):
    """A hash object of hashlib."""

    def update(self, data: bytes, /) -> None: ...


class StoredReader:
    """Sequential reader of a plain or gzip file. The first bytes decide whether it is gzip, not the file name.

    Args:
        file: Binary file, open at its beginning.
        digest: Hash object that receives every byte as stored; complete after ``drain``.
    """

    def __init__(self, file: BinaryIO, digest: Digest | None = None) -> None:
        self._file = file
        self._digest = digest
        self._stored = self._next_chunk()
        self._compressed = self._stored.startswith(_MAGIC)
        self._inflate = zlib.decompressobj(_GZIP)
        self._inside = self._compressed

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes of the decompressed content, or fewer at its end.

        Raises:
            EOFError: The compressed data is truncated.
            OSError: The compressed data is damaged, or its checksum is wrong.
        """
        parts = []
        while size and (part := self._read_part(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drain(self) -> None:
        """Read to the end, so that the checksums are verified and the digest is complete.

        Raises:
            EOFError, OSError: See ``read``.
        """
        self.skip(None)

    def skip(self, size: int | None) -> int:
        """Read ``size`` bytes of the content, or all with None, and drop them; return how many there were.

        Raises:
            EOFError, OSError: See ``read``.
        """
        done = 0
        while (size is None or done < size) and (
            part := self._read_part(_CHUNK if size is None else min(_CHUNK, size - done))
        ):
            done += len(part)
        return done

    def drain_stored(self) -> None:
        """Read the rest of the file as stored, without decompressing it, so that the digest is complete."""
        while self._next_chunk():
            pass

    def _read_part(self, most: int) -> bytes:
        """Return between 1 and ``most`` bytes of the content; no bytes at its end."""
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
        if 0 < len(self._stored) < len(_MAGIC):
            self._stored += self._next_chunk()
        if self._stored.startswith(_MAGIC):
            self._inflate, self._inside = zlib.decompressobj(_GZIP), True
        elif self._stored:  # bytes that another program appended: gzip ignores them, too
            self.drain_stored()
            self._stored = b""

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


def longest_content(path: Path) -> int:
    """Return the largest number of bytes that the content of a plain or gzip file can have, from the file's size.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return size * _LARGEST_RATIO if file.read(2) == _MAGIC else size


def peek(path: Path, size: int) -> tuple[bytes, int]:
    """Return the first ``size`` bytes and the length of the decompressed content; read only a few bytes of the file.

    For a gzip file the length comes from its last four bytes. It is modulo 4 GiB, and a random number if the file is
    truncated.

    Args:
        path: A plain or gzip file.
        size: Number of bytes; fewer are returned if the content is shorter.

    Returns:
        The first bytes, and the length in bytes.

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
