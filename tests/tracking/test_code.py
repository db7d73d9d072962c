"""Tests of the identity of the code that decides the numbers of a cell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import minivess
from minivess.errors import ConfigError
from minivess.tracking import code
from minivess.tracking.code import code_of


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with a loss in a module, which imports a module next to it, and a loss in a package."""
    (tmp_path / "alone_loss.py").write_text("import alone_terms\ndef build(): ...\n")
    (tmp_path / "alone_terms.py").write_text("WEIGHT = 1\n")
    (tmp_path / "unrelated.py").write_text("")
    (tmp_path / "lab_losses").mkdir()
    for name in ("__init__", "focal", "terms"):
        (tmp_path / "lab_losses" / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


class TestCodeOf:
    @pytest.mark.parametrize(
        ("builder", "file", "changes"),
        [
            ("alone_loss:build", "alone_loss.py", True),
            ("alone_loss:build", "alone_terms.py", True),
            ("alone_loss:build", "unrelated.py", False),
            ("lab_losses.focal:build", "lab_losses/terms.py", True),
        ],
    )
    def test_sources_that_a_builder_needs(self, own: Path, builder: str, file: str, changes: bool) -> None:
        before = code_of([builder])
        (own / file).write_text("WEIGHT = 2\n")
        assert before.differences(code_of([builder])) == ([f"the source of {builder}"] if changes else [])

    def test_the_file_of_initial_weights(self, tmp_path: Path) -> None:
        weights = tmp_path / "w.safetensors"
        weights.write_bytes(b"1")
        before = code_of([], weights)
        weights.write_bytes(b"2")
        assert before.differences(code_of([], weights)) == [f"the source of {weights}"]

    def test_initial_weights_that_do_not_exist(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"missing\.safetensors"):
            code_of([], tmp_path / "missing.safetensors")

    def test_sources_of_minivess(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = code_of([])
        original = code.package_digest
        monkeypatch.setattr(code, "package_digest", lambda part: "edited" if part == "losses" else original(part))
        (difference,) = before.differences(code_of([]))
        assert "losses" in difference

    def test_every_folder_that_a_part_uses_is_a_part(self) -> None:
        package, parts = Path(minivess.__file__).parent, set(code_of([]).package)
        used = {
            name
            for part in parts - {"worker", "geometry"}
            for file in (package / part).rglob("*.py")
            for name in re.findall(r"(?:from|import) minivess\.(\w+)", file.read_text())
            if (package / name).is_dir()
        }
        # How many processes, how much fits, and minivess measure, which no cell runs.
        assert used - parts == {"machine", "planning", "morphometry"}

    def test_versions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = code_of([])
        assert set(before.libraries) == {"minivess", "torch", "monai"}
        assert "+" not in before.libraries["torch"]
        monkeypatch.setattr(code, "version", lambda name: "9.9")
        assert [text.split()[0] for text in before.differences(code_of([]))] == ["minivess", "torch", "monai"]

    def test_another_commit_with_the_same_sources_is_the_same_code(self) -> None:
        now = code_of([])
        assert now.differences(now.model_copy(update={"commit": "abc"})) == []
