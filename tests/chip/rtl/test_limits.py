"""Any legal ChipSpec is built, or refused with the field that RTL cannot be made for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tapeout.chip import load, spec
from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.core import Core
from tapeout.chip.rtl.core_package import blocks
from tapeout.chip.rtl.limits import check_buildable
from tapeout.errors import InputError
from tapeout.simulator.rtl.lint import lint

TINY = load("tiny")


def powers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high).map(lambda i: 1 << i)


def cores(small: bool) -> st.SearchStrategy[spec.Core]:
    """Legal cores; `small`: quick to write out."""
    side = st.integers(1, 4 if small else 96)
    formats = [("mxfp4",), ("mxint8",), ("mxfp4", "mxint8")] + (
        [] if small else [("mxfp8",), ("mxint8", "bf16")]
    )
    engines = st.builds(
        spec.MatrixEngine, side, side, st.just(32) if small else powers(3, 7),
        st.sampled_from(formats), st.booleans(),
    )  # fmt: skip
    pads = st.builds(
        lambda banks, word, more: spec.Scratchpad(max(banks * word * 16 * more // 1024, 1), banks, word),
        powers(0, 3 if small else 8), powers(3, 6) if small else powers(2, 10),
        powers(0, 2) if small else st.integers(1, 9),
    )  # fmt: skip
    return st.builds(
        spec.Core, engines, powers(2, 4) if small else st.integers(1, 300), pads,
        powers(4, 6) if small else powers(2, 12), st.integers(1, 9) if small else st.integers(1, 4000),
    )  # fmt: skip


def legal(core: spec.Core) -> spec.ChipSpec:
    try:
        return spec.validate(replace(TINY, core=core))
    except InputError:
        assume(False)
        raise


@settings(max_examples=60, deadline=None)
@given(st.one_of(cores(small=True), cores(small=False)))
def test_a_legal_spec_is_built_or_refused_by_its_field(core: spec.Core) -> None:
    chip = legal(core)
    try:
        check_buildable(chip, "chip.toml")
    except InputError as e:
        assert str(e).startswith("chip.toml: core.") and "\n" not in str(e)
        with pytest.raises(InputError):
            blocks(chip, "chip.toml")
        return
    Core(chip.core)


@pytest.mark.parametrize("name", ["tiny", "edge", "flagship"])
def test_presets_are_covered(name: str) -> None:
    check_buildable(load(name), name)
    Core(load(name).core)


@pytest.mark.slow
@pytest.mark.verilator
@settings(max_examples=8, deadline=None)
@given(cores(small=True))
def test_small_cores_elaborate_and_are_clean(core: spec.Core) -> None:
    chip = legal(core)
    try:
        made = blocks(chip, "chip.toml")
    except InputError:
        assume(False)
        raise
    for one in made.values():
        assert lint(verilog(one)) == []


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize("name", ["edge", "flagship"])
def test_large_presets_elaborate_and_are_clean(name: str) -> None:
    for one in blocks(load(name), name).values():
        assert lint(verilog(one)) == []
