from __future__ import annotations

from minivess.topology.compiling import cache_folder


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
