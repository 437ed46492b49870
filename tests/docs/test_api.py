"""Everything public says what it is, and the API reference can be made."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tapeout

ROOT = Path(tapeout.__file__).parent
REPOSITORY = ROOT.parents[1]


def inherited() -> set[str]:
    """Methods that every hardware block, or every proof, overrides and its base class documents."""
    names = {"elaborate"}
    for base in ("chip/rtl/block.py", "chip/verification/formal.py"):
        tree = ast.parse((ROOT / base).read_text(encoding="utf-8"))
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        names |= {m.name for c in classes for m in c.body if isinstance(m, ast.FunctionDef)}
    return names


OVERRIDDEN = inherited()


def undocumented(path: Path) -> Iterator[str]:
    """Names of public modules, classes and functions in `path` that have no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if ast.get_docstring(tree) is None and tree.body:
        yield "the module"
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if ast.get_docstring(node) is None:
                yield node.name
            members = node.body if isinstance(node, ast.ClassDef) else []
            for member in members:
                if isinstance(member, ast.FunctionDef) and not (
                    member.name.startswith("_") or member.name in OVERRIDDEN
                ):
                    overloaded = any("overload" in ast.dump(d) for d in member.decorator_list)
                    if ast.get_docstring(member) is None and not overloaded:
                        yield f"{node.name}.{member.name}"


def test_everything_public_has_a_docstring() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}" for path in ROOT.rglob("*.py") for name in undocumented(path)
    ]
    assert not missing, "\n".join(missing)


def test_the_top_level_names_resolve() -> None:
    for name in tapeout.__all__:
        assert getattr(tapeout, name) is not None
    assert set(tapeout.__all__) <= set(dir(tapeout))
    with pytest.raises(AttributeError, match="nonesuch"):
        tapeout.nonesuch  # noqa: B018


@pytest.mark.slow
def test_the_reference_can_be_made(tmp_path: Path) -> None:
    script = REPOSITORY / "scripts" / "api_reference.py"
    subprocess.run([sys.executable, "-W", "error::UserWarning", script, tmp_path], check=True, timeout=300)
    assert "tapeout.serving" in (tmp_path / "tapeout.html").read_text() + str(list(tmp_path.rglob("*.html")))
