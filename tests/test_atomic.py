"""Files and folders that are written completely or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from minivess.atomic import atomic_folder, atomic_path


class TestAtomicPath:
    def test_an_error_leaves_the_old_file_and_nothing_else(self, tmp_path: Path) -> None:
        target = tmp_path / "a.txt"
        target.write_text("old")
        with pytest.raises(RuntimeError, match="half-way"):
            _write_half(target)
        assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        assert target.read_text() == "old"

    def test_keeps_a_double_suffix(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "mv01.nii.gz") as temporary:
            assert temporary.name.endswith(".nii.gz")
            temporary.write_bytes(b"x")
        assert (tmp_path / "mv01.nii.gz").read_bytes() == b"x"


class TestAtomicFolder:
    def test_a_folder_that_was_filled_in_the_meantime_is_kept(self, tmp_path: Path) -> None:
        with atomic_folder(tmp_path / "a") as temporary:
            (temporary / "ours").touch()
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "theirs").touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["a", "theirs"]

    def test_an_empty_folder_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with atomic_folder(tmp_path / "a") as temporary:
            (temporary / "ours").touch()
        assert [path.name for path in tmp_path.rglob("*")] == ["a", "ours"]


def _write_half(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half-way")
