"""The pages under docs/ and the README are executed: what they show is what happens.

In a fenced `console` block each line that starts with `$ ` is run by a shell in an empty folder and
must succeed; the lines below it, where there are any, must match its output (`...` matches anything,
numbers included). A fenced `python` block is executed; its asserts and doctest-like comments are its
own. A block whose info string ends in `no-run` is only shown, and `slow` moves it behind that marker.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = {"isa.md"}  # quotes code rather than showing it; a test of its own holds it fresh
PAGES = [ROOT / "README.md", *(p for p in sorted((ROOT / "docs").glob("**/*.md")) if p.name not in GENERATED)]
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.S | re.M)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    flags: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    """Every runnable block of every page."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            language, flags, body = match.groups()
            if language in ("console", "python") and "no-run" not in flags:
                found.append(Block(page, text[: match.start()].count("\n") + 1, language, flags, body))
    return found


def matches(expected: str, actual: str) -> bool:
    """doctest's ELLIPSIS and NORMALIZE_WHITESPACE."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(expected, actual, options)


def run_console(block: Block, folder: Path) -> None:
    """Run each `$ command` of the block in `folder` and compare what it prints."""
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for part in re.split(r"^(?=\$ )", block.text, flags=re.M):
        if not part.startswith("$ "):
            continue
        command, _, expected = part[2:].partition("\n")
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{block.label}: {command}\n{done.stdout}\n{done.stderr}"
        if expected.strip():
            assert matches(expected, done.stdout), f"{block.label}: {command}\n{done.stdout}"


def cases() -> list[object]:
    return [
        pytest.param(b, id=b.label, marks=[pytest.mark.slow] if "slow" in b.flags else []) for b in blocks()
    ]


@pytest.mark.parametrize("block", cases())
def test_block(block: Block, tmp_path: Path) -> None:
    if block.language == "console":
        run_console(block, tmp_path)
    else:
        script = tmp_path / "page.py"
        script.write_text(block.text, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{block.label}\n{done.stderr}"


def test_a_page_that_lies_is_caught(tmp_path: Path) -> None:
    page = ROOT / "README.md"
    with pytest.raises(AssertionError):
        run_console(Block(page, 1, "console", "", "$ echo two\none\n"), tmp_path)
    with pytest.raises(AssertionError):
        run_console(Block(page, 1, "console", "", "$ false\n"), tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page}: {target}"
