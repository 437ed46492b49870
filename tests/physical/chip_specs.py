"""Chips drawn at random for the tests of this folder."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from tapeout.chip import load
from tapeout.chip.spec import NODES, ChipSpec, Core, Links, MatrixEngine, Memory, Scratchpad


def specs() -> st.SearchStrategy[ChipSpec]:
    """Legal chips over most of the space."""
    return st.builds(
        lambda node, clock, cores, shape, pad, stacks, lanes, dies, fp4: ChipSpec(
            "x",
            node,
            clock,
            cores * dies,
            Core(MatrixEngine(*shape, double_rate_fp4=fp4), 32, Scratchpad(pad * 64, 16, 64)),
            64,
            Memory("hbm3e", stacks * dies, 36),
            Links(lanes, 4),
            "cowos-l",
            dies,
        ),
        st.sampled_from(NODES),
        st.floats(0.5, 2.5),
        st.integers(1, 100),
        st.tuples(st.integers(1, 64), st.integers(1, 64)),
        st.integers(1, 200),
        st.integers(1, 8),
        st.integers(0, 200),
        st.integers(1, 4),
        st.booleans(),
    )


def one_die() -> ChipSpec:
    """The shipped flagship's cores on a single die with six stacks."""
    spec = load("flagship")
    return replace(spec, dies=1, package="cowos-s", cores=700, memory=replace(spec.memory, stacks=6))
