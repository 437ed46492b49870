"""Products that the matrix engine refuses: the cycle simulator ends where the executable ISA traps, as it does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.definition import Cause, Trap
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import execute
from tapeout.errors import DoesNotHold
from tapeout.simulator.cycle import simulate

CORE = load("tiny").core
G = Geometry.of(CORE)
# mostly what is possible, at and beyond the ends of the scratchpad, and what is off by a granule
PLACES = st.one_of(
    st.integers(0, G.pad_bytes // 512).map(lambda i: 512 * i),
    st.integers(0, 2 * G.pad_bytes // 32).map(lambda i: 32 * i),
    st.sampled_from([8, 16, 32, 64, 128, G.pad_bytes - 128, G.pad_bytes, (1 << 47) - 512, (1 << 48) - 512]),
)
STRIDES = st.one_of(st.sampled_from([0, 32, 64, 4096, 8, (1 << 48) - 32, 1 << 46]), PLACES)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries({n: PLACES for n in ("a", "ascale", "w", "wscale", "out")}),
    st.fixed_dictionaries({n: STRIDES for n in ("sa", "so")}),
    st.one_of(st.integers(1, 64), st.integers(1, 64), st.sampled_from([0, 1 << 16, (1 << 16) + 1])),
    st.integers(1, G.rows), st.one_of(st.just(1), st.integers(1, G.rows)), st.integers(1, G.tiles), st.booleans(),
    st.sampled_from(["mxfp4", "mxint8"]),
)  # fmt: skip
def test_products_trap_as_in_the_executable_isa(
    places: dict[str, int], strides: dict[str, int], steps: int, rows: int, height: int, tiles: int, drain: bool,
    name: str,
) -> None:  # fmt: skip
    values = {**places, **strides, "steps": steps}
    text = [f"add rd=r{i} imm={v >> 24}\nshl rd=r{i} a=r{i} imm=24\nadd rd=r{i} a=r{i} imm={v & 0xFFFFFF}"
            for i, v in enumerate(values.values(), 1)]  # fmt: skip
    named = " ".join(f"{n}=r{i}" for i, n in enumerate(values, 1))
    text.append(f"matmul {named} rows={rows} height={height} tiles={tiles} drain={int(drain)} format={name}")
    program = assemble("\n".join([*text, "halt"]))
    cause: Cause | None = None
    try:
        execute(G, program, np.zeros(1 << 14, np.uint8))
    except Trap as e:
        cause = e.cause
    if cause is None:
        simulate(CORE, program)
    else:
        with pytest.raises(DoesNotHold, match=rf"traps .*\({cause.name.lower()}\)"):
            simulate(CORE, program)
