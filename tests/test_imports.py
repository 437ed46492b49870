"""Imports point one way, down the pipeline."""

import ast
from pathlib import Path

import pytest

import tapeout

ROOT = Path(tapeout.__file__).parent
# A folder may import from itself, from the top-level modules and from folders named before it.
ORDER = (
    "model", "numerics", "workload", "chip", "compiler", "simulator", "physical", "estimate",
    "search", "serving", "fleet", "report", "cli",
)  # fmt: skip
INDEPENDENT = {"model", "numerics"}


def imported_folders(path: Path) -> set[str]:
    """Names of the tapeout folders that the file imports, at any depth of nesting."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    parts = [name.split(".") for name in found]
    return {p[1] for p in parts if p[0] == "tapeout" and len(p) > 1 and p[1] in ORDER}


@pytest.mark.parametrize("folder", ORDER)
def test_folder_imports_only_what_comes_before_it(folder: str) -> None:
    allowed = {folder} if folder in INDEPENDENT else set(ORDER[: ORDER.index(folder) + 1])
    for path in (ROOT / folder).rglob("*.py"):
        assert imported_folders(path) <= allowed, path


def test_every_folder_is_in_the_order() -> None:
    folders = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    assert folders == set(ORDER)


def test_top_level_modules_import_no_folder() -> None:
    for path in ROOT.glob("*.py"):
        assert not imported_folders(path), path
