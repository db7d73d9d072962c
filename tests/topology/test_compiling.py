from __future__ import annotations

import os
from pathlib import Path

import pytest

from minivess.topology.compiling import cache_folder, can_be_kept_in


def test_another_version_of_a_source_has_another_folder(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x = 1")
    second.write_text("y = 1")
    before = cache_folder([first, second])
    assert cache_folder([second, first]) == before
    second.write_text("y = 2")
    assert cache_folder([first, second]) != before


def test_folder_of_the_user_is_used(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    assert cache_folder([tmp_path / "a.py"]).startswith(str(tmp_path / "cache"))


def test_a_user_without_a_home_folder_can_import(tmp_path, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    (tmp_path / "a.py").write_text("x = 1")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(Path, "home", no_home)
    folder = cache_folder([tmp_path / "a.py"])
    assert not can_be_kept_in(folder)


@pytest.mark.parametrize(("name", "kept"), [("new/folder", True), ("file/folder", False)])
def test_code_is_kept_only_where_files_can_be_written(tmp_path, name, kept):
    (tmp_path / "file").write_text("")
    assert can_be_kept_in(str(tmp_path / name)) is kept
