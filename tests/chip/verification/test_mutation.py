"""Every seeded bug is caught by the tests of its block, lint apart.

The quickest run by default; all of them with `pytest -m "slow or not slow" tests/chip/verification/test_mutation.py`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import tapeout
from tapeout.chip.verification.mutants import MUTANTS
from tapeout.chip.verification.mutation import Mutation, patched, variant
from tapeout.errors import InputError
from tapeout.simulator.rtl.build import cache_folder

pytestmark = pytest.mark.verilator
HERE = Path(__file__).parent
BLOCK_TESTS = HERE.parent / "rtl"
QUICK = (
    "fifo_wrap", "skid_stale_spare", "arbiter_two_grants", "add_no_sticky", "mul_sticky", "digit_fp4_six",
)  # fmt: skip


def run(mutation: Mutation | None, cache: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """The block's tests in a process of their own, with compiled simulators kept apart from the user's."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-n",
        "0",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-k",
        "not lint",
    ]
    if mutation:
        command += ["-p", "seed_bug", "--bug", mutation.name]
    # this very source, also where another copy is installed
    source = os.pathsep.join([str(HERE), str(Path(tapeout.__file__).parents[1])])
    environment = dict(
        os.environ, PYTHONPATH=source, XDG_CACHE_HOME=str(cache), OMP_NUM_THREADS="1", PYTEST_ADDOPTS=""
    )
    paths = [str(BLOCK_TESTS / t) for t in tests]
    return subprocess.run(
        [*command, *paths], cwd=HERE.parents[2], env=environment, capture_output=True, text=True
    )


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for one mutant: that of a core's Verilog goes by the sources on disk, which no mutant changes.
    Verilator's own runtime is taken from the user's."""
    folder = tmp_path_factory.mktemp("mutants")
    ours = folder / "tapeout" / "rtl"
    ours.mkdir(parents=True)
    for runtime in cache_folder().glob("runtime-*"):
        (ours / runtime.name).symlink_to(runtime)
    return folder


@pytest.mark.parametrize(
    "mutation",
    [pytest.param(m, marks=[] if m.name in QUICK else pytest.mark.slow, id=m.name) for m in MUTANTS],
)
def test_the_tests_catch_it(mutation: Mutation, cache: Path) -> None:
    done = run(mutation, cache, *mutation.tests)
    assert done.returncode == 1, f"not caught, or not run: {done.stdout[-600:]}{done.stderr[-300:]}"
    assert re.search(r"^FAILED ", done.stdout, re.M), done.stdout[-600:]
    # a comparison failed: not an import, not an elaboration, not a compiler
    errors = re.findall(r"^E +(.*)", done.stdout, re.M)
    assert re.match(
        r"(Assertion|assert |tapeout.errors.DoesNotHold: \w+: (after|bounded|\d+ cycles without))", errors[0]
    ), errors[0]


def test_without_a_bug_they_pass(cache: Path) -> None:
    done = run(None, cache, "test_streams.py")
    assert done.returncode == 0, done.stdout[-600:]


def test_every_bug_still_applies() -> None:
    assert len(MUTANTS) >= 20
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    for m in MUTANTS:
        text, path = patched(m)
        compile(text, str(path), "exec")
        assert all((BLOCK_TESTS / t.split("::")[0]).exists() for t in m.tests)


def test_a_patch_that_no_longer_matches_fails_loudly() -> None:
    fifo = MUTANTS[0]
    for changed in (
        replace(fifo, old="not in the source"),
        replace(fifo, old="self."),
        replace(fifo, new=fifo.old),
        replace(fifo, module="no_such_block"),
    ):
        with pytest.raises(InputError, match=fifo.name):
            variant(changed)


def test_a_variant_leaves_the_original_alone() -> None:
    from tapeout.chip.rtl import fifo
    from tapeout.chip.rtl.block import Block, verilog

    def text(block: Block) -> list[str]:
        return sorted(verilog(block).text.splitlines())

    before = text(fifo.Fifo(4, 2))
    bug = variant(next(m for m in MUTANTS if m.name == "fifo_overflow"))
    assert text(bug.Fifo(4, 2)) != before
    assert text(fifo.Fifo(4, 2)) == before


def test_install_needs_a_fresh_process() -> None:
    from tapeout.chip.rtl import fifo  # noqa: F401
    from tapeout.chip.verification.mutation import install

    with pytest.raises(InputError, match="loaded already"):
        install(MUTANTS[0])
