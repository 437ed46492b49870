"""Random programs by themselves: their order is defined, also of parts of them; what is not covered is listed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble, binary
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Executed, Machine
from tapeout.chip.isa.registry import instructions
from tapeout.chip.verification.programs.cover import Coverage, page
from tapeout.chip.verification.programs.generate import Generator
from tapeout.chip.verification.programs.layout import CODE, memory
from tapeout.chip.verification.programs.lower import Lowering
from tapeout.chip.verification.programs.shrink import shrink, size, smaller
from tapeout.chip.verification.programs.tree import Command, Loop, Touch, Tree, walk
from tapeout.errors import InputError

SPEC = load("tiny").core
NAMES = frozenset(instructions())
# a scratchpad whose words are narrow, wide, and few; one format; one row
SHAPES = {
    "tiny": SPEC,
    "narrow": replace(SPEC, scratchpad=replace(SPEC.scratchpad, banks=16, word_bytes=32), port_bytes=128),
    "one row": replace(
        SPEC, matrix=replace(SPEC.matrix, rows=1, columns=3, formats=("mxint8",)), vector_lanes=16
    ),
    "small": replace(SPEC, scratchpad=replace(SPEC.scratchpad, kibibytes=16, banks=8, word_bytes=64)),
}


def tree_of(g: Geometry, seed: int, nodes: int = 16) -> Tree:
    return Generator(g, np.random.default_rng(seed), NAMES, nodes).tree()


def run(g: Geometry, tree: Tree, seed: int, order: int | None) -> tuple[np.ndarray, list[Executed]]:
    program = assemble(Lowering(tree, g).text)
    data, trace = memory(seed), []
    code = np.frombuffer(binary(program), np.uint8)
    data[CODE : CODE + len(code)] = code
    with np.errstate(all="ignore"):
        Machine(g, data, CODE, tree.arguments, order, trace).run()
    return data, trace


@pytest.mark.parametrize("shape", list(SHAPES))
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 1 << 20), data=st.data())
def test_whatever_the_order_of_engines_memory_is_the_same(shape: str, seed: int, data: st.DataObject) -> None:
    """Of the program, and of what is left when parts of it are taken out."""
    g = Geometry.of(SHAPES[shape])
    tree = tree_of(g, seed)
    step = data.draw(st.integers(0, 4))
    parts = [nodes for _, nodes in smaller(tree.nodes, step)]
    part = Tree(parts[data.draw(st.integers(0, len(parts) - 1))], tree.arguments) if parts else tree
    for one in (tree, part):
        first, *others = (run(g, one, seed, order)[0] for order in (None, seed, seed + 1))
        assert all((first == x).all() for x in others)


def test_a_seed_is_a_program_and_programs_differ() -> None:
    g = Geometry.of(SPEC)
    texts = [Lowering(tree_of(g, s), g).text for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_missing_token_would_be_noticed() -> None:
    """The comparison above can fail: without the waits of its commands a program has no defined order."""
    g = Geometry.of(SPEC)
    size_ = 4096
    load_ = Command("load", {"pad": 4352, "memory": 0x5000, "bytes": size_, "n0": 1, "n1": 1}, {}, ())
    store = Command("store", {"pad": 4352, "memory": 0x30000, "bytes": size_, "n0": 1, "n1": 1}, {}, ())
    idle = [replace(load_, operands={"pad": 40000, "bytes": 8, "n0": 1, "n1": 1}) for _ in range(3)]
    tree = Tree((*idle, load_, store), (0,) * 8)
    seen = {run(g, tree, 3, order)[0].tobytes() for order in range(60)}
    assert len(seen) == 2
    told = (Touch("pad", 4352, 4352 + size_, True, "pad"),)
    tree = Tree(
        (replace(load_, touches=told), replace(store, touches=(replace(told[0], writes=False),))), (0,) * 8
    )
    assert len({run(g, tree, 3, order)[0].tobytes() for order in range(60)}) == 1


def test_failures_shrink() -> None:
    """To the two commands that matter, out of loops and branches."""
    g = Geometry.of(SPEC)

    def fails(tree: Tree) -> bool:
        names = Counter(n.name for n in walk(tree.nodes) if isinstance(n, Command))
        return bool(names["matmul"] and any(n.startswith("v") for n in names))

    trees = [t for t in (tree_of(g, s, 24) for s in range(8)) if fails(t)]
    assert trees
    for tree in trees:
        small = shrink(tree, fails)
        assert fails(small) and size(small) == 2 < size(tree)
        assert all(not isinstance(n, Loop) for n in walk(small.nodes))
        run(g, small, 1, None)


def test_a_few_programs_have_every_instruction_and_what_is_missing_is_listed() -> None:
    g = Geometry.of(SPEC)
    coverage = Coverage(g, NAMES)
    empty = coverage.report()
    assert all(part["covered"] == 0 and part["holes"] == list(part["counts"]) for part in empty.values())
    for seed in range(25):
        tree = tree_of(g, seed, 24)
        lowered = Lowering(tree, g)
        coverage.executed(run(g, tree, seed, seed)[1])
        coverage.lowered(lowered.hazards, lowered.features)
    found = coverage.report()
    assert found["instructions"]["holes"] == []
    assert found["hazards"]["covered"] > 0.7 * found["hazards"]["of"]
    again = Coverage(g, NAMES)
    again.merge(coverage.counts())
    assert again.report() == found
    text = page(found, "title")
    assert all(f"- {hole}" in text for part in found.values() for hole in part["holes"])


def test_a_scratchpad_that_is_too_small_is_told() -> None:
    g = Geometry.of(replace(SPEC, scratchpad=replace(SPEC.scratchpad, kibibytes=8)))
    with pytest.raises(InputError, match="kibibytes"):
        tree_of(g, 1)
