"""README and docs: length, plain words, links."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
TEXTS = [*PAGES, *sorted((ROOT / "src").rglob("*.py")), *sorted((ROOT / "src").rglob("*.j2"))]
ARCHAIC = re.compile(
    r"\b(mend(ed|s|ing)?|anew|begun|is said|are said|of the same|lest|whence|hence|thereof|oneself|one's own)\b", re.I
)
_FENCED = re.compile(r"^```.*?^```$", re.M | re.S)


def prose(page: Path) -> list[str]:
    """Lines without code blocks, tables and HTML comments."""
    text = _FENCED.sub("", page.read_text("utf-8"))
    return [line for line in text.splitlines() if not line.startswith(("|", "<!--", "!["))]


class TestLength:
    def test_readme_is_at_most_700_words(self) -> None:
        assert len((ROOT / "README.md").read_text("utf-8").split()) <= 700

    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_no_line_of_prose_is_longer_than_120_characters(self, page: Path) -> None:
        assert [line for line in prose(page) if len(line) > 120] == []


class TestWords:
    @pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
    def test_no_archaic_word(self, text: Path) -> None:
        assert ARCHAIC.findall(text.read_text("utf-8")) == []


class TestLinks:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
    def test_every_relative_link_has_its_file(self, page: Path) -> None:
        generated = {"cli.md", "yaml.md"}  # scripts/generate_reference.py writes them into the site
        targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        files = [page.parent / target for target in targets if ":" not in target]
        assert [str(file) for file in files if not file.exists() and file.name not in generated] == []
