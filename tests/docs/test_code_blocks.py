"""Every code block of README and the docs that a reader could run is run, page by page, as a reader would.

A block that cannot run here has a comment above it: ``<!-- not run: REASON -->``. One that takes minutes has
``<!-- slow: REASON -->``; ``just test-all`` runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>not run|slow): (?P<reason>.+?) -->\n)?^```(?P<language>\w*).*?\n(?P<code>.*?)^```$", re.M | re.S
)
RUNNABLE = ("bash", "python")


class Block(NamedTuple):
    language: str
    code: str
    mark: str


def blocks(page: Path) -> list[Block]:
    return [
        Block(found["language"], found["code"], found["mark"] or "")
        for found in _BLOCK.finditer(page.read_text("utf-8"))
    ]


def pages_with(mark: str) -> list[str]:
    return [
        str(page.relative_to(ROOT))
        for page in PAGES
        if any(block.language in RUNNABLE and block.mark == mark for block in blocks(page))
    ]


@pytest.fixture
def reader(version_0_1: Path) -> Path:
    """A folder as a reader of the docs has it: the checkout's configs, some volumes, and a finished run."""
    (version_0_1 / "configs").symlink_to(ROOT / "configs")
    (version_0_1 / "docs").symlink_to(ROOT / "docs")
    (version_0_1 / "scripts").symlink_to(ROOT / "scripts")
    return version_0_1


def run_page(page: str, folder: Path, marks: tuple[str, ...]) -> None:
    """Run the blocks in order: shell commands one block at a time, Python as one program."""
    wanted = [block for block in blocks(ROOT / page) if block.mark in marks]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MPLBACKEND": "Agg"}
    programs = [["bash", "-euo", "pipefail", "-c", block.code] for block in wanted if block.language == "bash"]
    if code := "\n".join(block.code for block in wanted if block.language == "python"):
        programs.append([sys.executable, "-c", code])
    for program in programs:
        done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{page}: {program[-1]}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


class TestCodeBlocks:
    @pytest.mark.parametrize("page", pages_with(""))
    def test_run(self, page: str, reader: Path) -> None:
        run_page(page, reader, ("",))

    @pytest.mark.slow
    @pytest.mark.parametrize("page", pages_with("slow"))
    def test_slow_ones_run(self, page: str, reader: Path) -> None:
        if "experiments/demo.yaml" in (ROOT / page).read_text("utf-8"):
            shutil.rmtree(reader / "runs" / "demo")  # this page trains it
        run_page(page, reader, ("", "slow"))

    def test_every_block_names_its_language(self) -> None:
        unnamed = [str(page.relative_to(ROOT)) for page in PAGES for block in blocks(page) if not block.language]
        assert unnamed == []

    def test_no_commands_are_hidden_in_indented_blocks(self) -> None:
        command = re.compile(r"^    (minivess|make|just|python|uv|import|from) ?\b", re.M)
        assert [str(page.relative_to(ROOT)) for page in PAGES if command.search(page.read_text("utf-8"))] == []
