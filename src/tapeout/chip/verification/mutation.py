"""Seeded bugs: a textual patch of a block's source, loaded in its place or under another name.

The patch names a piece of the source that occurs exactly once; if the block has changed so that it does not, loading
fails, so a mutation never silently turns into no mutation.

- `variant(mutation)` loads the patched module under a name of its own, beside the original: for a proof.
- `install(mutation)` makes every later import of the module get the patched one, blocks that place it included:
  for running a test file against it, in a process of its own.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from tapeout.errors import InputError

PACKAGE = "tapeout.chip.rtl"


@dataclass(frozen=True)
class Mutation:
    """One bug. `module`: file of chip/rtl without its suffix. `tests`: under tests/chip/rtl, what is expected to
    catch it, the quickest first."""

    name: str
    module: str
    old: str
    new: str
    what: str
    tests: tuple[str, ...]

    @property
    def full_module(self) -> str:
        """Dotted name of the module that is changed."""
        return f"{PACKAGE}.{self.module}"


def patched(mutation: Mutation) -> tuple[str, Path]:
    """The source with the bug in it, and the path of the original."""
    spec = importlib.util.find_spec(mutation.full_module)
    if spec is None or spec.origin is None:
        raise InputError(mutation.name, "module", mutation.module, f"a module of {PACKAGE}")
    path = Path(spec.origin)
    text = path.read_text(encoding="utf-8")
    count = text.count(mutation.old)
    if count != 1:
        raise InputError(mutation.name, "old", f"{count} times in {path.name}", "text that occurs once")
    if mutation.new == mutation.old:
        raise InputError(mutation.name, "new", mutation.new, "a change")
    return text.replace(mutation.old, mutation.new), path


class _Patched(Loader):
    """Runs the given source as the module's."""

    def __init__(self, source: str, path: Path) -> None:
        self.source, self.path = source, path

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.source, str(self.path), "exec"), module.__dict__)


class _Finder(MetaPathFinder):
    """Finds the patched module and nothing else."""

    def __init__(self, name: str, source: str, path: Path) -> None:
        self.name, self.source, self.path = name, source, path

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return ModuleSpec(fullname, _Patched(self.source, self.path), origin=str(self.path))


def install(mutation: Mutation) -> None:
    """From now on, importing the module imports the bug. The module must not have been imported yet."""
    if mutation.full_module in sys.modules:
        raise InputError(mutation.name, "module", f"{mutation.module} is loaded already", "a fresh process")
    source, path = patched(mutation)
    sys.meta_path.insert(0, _Finder(mutation.full_module, source, path))


def variant(mutation: Mutation) -> ModuleType:
    """The patched module under another name; what imports the original still gets the original."""
    source, path = patched(mutation)
    name = f"{mutation.full_module}__{mutation.name}"
    loader = _Patched(source, path)
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=str(path)))
    sys.modules[name] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module
