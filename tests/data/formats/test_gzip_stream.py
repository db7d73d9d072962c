"""Tests of reading plain and gzip files."""

from __future__ import annotations

import gzip
import hashlib
import io
from pathlib import Path

import pytest

from minivess.data.formats.gzip_stream import StoredReader, peek

TEXT = bytes(range(256)) * 5000


class TestStoredReader:
    @pytest.mark.parametrize(
        "stored",
        [TEXT, gzip.compress(TEXT), gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:]) + bytes(512)],
        ids=["plain", "gzip", "two members and padding"],
    )
    def test_returns_the_content_and_hashes_the_stored_bytes(self, stored: bytes) -> None:
        digest = hashlib.blake2b()
        reader = StoredReader(io.BytesIO(stored), digest)
        assert reader.read(1000) + reader.read(10**6) == TEXT[: 10**6 + 1000]
        reader.drain()
        assert reader.read(1) == b""
        assert digest.digest() == hashlib.blake2b(stored).digest()

    def test_a_member_may_begin_at_the_last_byte_of_a_chunk(self) -> None:
        first, second = gzip.compress(TEXT[:999]), gzip.compress(TEXT[999:])
        padding = bytes(2**18 - 1 - len(first))
        assert StoredReader(io.BytesIO(first + padding + second)).read(10**7) == TEXT

    def test_bytes_of_another_kind_end_the_content_and_are_hashed(self) -> None:
        digest, stored = hashlib.blake2b(), gzip.compress(TEXT) + b"appended"
        reader = StoredReader(io.BytesIO(stored), digest)
        assert reader.read(10**7) == TEXT
        assert digest.digest() == hashlib.blake2b(stored).digest()

    def test_highly_compressed_data_is_returned_in_pieces(self) -> None:
        reader = StoredReader(io.BytesIO(gzip.compress(bytes(10**7))))
        assert [len(reader.read(10**6)) for _ in range(11)] == [10**6] * 10 + [0]

    @pytest.mark.parametrize("end", [-1, -8, 2000])
    def test_truncated_data_raises_eof_error(self, end: int) -> None:
        with pytest.raises(EOFError):
            StoredReader(io.BytesIO(gzip.compress(TEXT)[:end])).drain()

    def test_a_flipped_bit_raises_os_error(self) -> None:
        stored = bytearray(gzip.compress(TEXT, compresslevel=0))
        stored[5000] ^= 1
        with pytest.raises(OSError, match="incorrect data check"):
            StoredReader(io.BytesIO(stored)).drain()


class TestPeek:
    @pytest.mark.parametrize("stored", [TEXT, gzip.compress(TEXT)], ids=["plain", "gzip"])
    def test_returns_the_first_bytes_and_the_length(self, tmp_path: Path, stored: bytes) -> None:
        (tmp_path / "file").write_bytes(stored)
        assert peek(tmp_path / "file", 300) == (TEXT[:300], len(TEXT))

    def test_an_empty_file_has_no_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert peek(tmp_path / "file", 300) == (b"", 0)
