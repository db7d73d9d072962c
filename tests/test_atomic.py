"""Files and folders that are written completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import minivess.atomic
from minivess.atomic import atomic_folder, atomic_path, write_text


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What is brought to the disk and what gets its name, in order: ("fsync", content or name), ("name", content)."""
    seen: list[tuple[str, str]] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def on_disk(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        seen.append(("fsync", path.name if path.is_dir() else path.read_text()))
        fsync(descriptor)

    def named(move: Callable[[Path, Path], None], source: Path, target: Path) -> None:
        seen.append(("name", target.name))
        move(source, target)

    monkeypatch.setattr(minivess.atomic.os, "fsync", on_disk)
    monkeypatch.setattr(minivess.atomic.os, "replace", partial(named, replace))
    monkeypatch.setattr(minivess.atomic.os, "rename", partial(named, rename))
    return seen


class TestOrder:
    """After a power cut, a name without its content would be worse than no name."""

    def test_a_file_is_on_the_disk_before_it_gets_its_name(self, tmp_path: Path, events: list) -> None:
        write_text(tmp_path / "a.txt", "new")
        assert events == [("fsync", "new"), ("name", "a.txt"), ("fsync", tmp_path.name)]

    def test_the_name_of_a_folder_is_on_the_disk_at_the_end(self, tmp_path: Path, events: list) -> None:
        with atomic_folder(tmp_path / "a"):
            pass
        assert events == [("name", "a"), ("fsync", tmp_path.name)]

    def test_the_file_itself_gets_the_name(self, tmp_path: Path) -> None:
        """A copy could be seen half-written."""
        with atomic_path(tmp_path / "a.txt") as temporary:
            number = temporary.stat().st_ino
        assert (tmp_path / "a.txt").stat().st_ino == number


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

    def test_it_keeps_the_bit_with_which_a_shared_folder_gives_its_group_on(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o2775)
        with atomic_folder(tmp_path / "a"):
            pass
        assert (tmp_path / "a").stat().st_mode & 0o2000


def _write_half(target: Path) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half-way")
