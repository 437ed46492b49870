"""The space: even, reproducible, and every row a chip that can be declared."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip.spec import validate
from tapeout.search.space import KNOBS, Space


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**62), st.integers(0, 10**6), st.integers(1, 200))
def test_rows_do_not_depend_on_how_they_are_asked_for(seed: int, start: int, count: int) -> None:
    space = Space()
    whole = space.sample(start, count, seed)
    assert (whole == np.concatenate([space.sample(start + i, 1, seed) for i in range(count)])).all()
    assert (whole >= 0).all() and (whole < space.sizes).all()


def test_every_step_of_every_knob_is_sampled_evenly() -> None:
    space = Space()
    rows = space.sample(0, 20_000, 3)
    for j, size in enumerate(space.sizes):
        share = np.bincount(rows[:, j], minlength=size) / len(rows)
        assert share == pytest.approx(1 / size, rel=0.05), KNOBS[j]


def test_neighbours_are_near_reproducible_and_inside() -> None:
    space = Space()
    parents = space.sample(0, 50, 1)
    a, b = (space.neighbours(parents, 2000, np.random.default_rng(5)) for _ in range(2))
    assert (a == b).all() and (a >= 0).all() and (a < space.sizes).all()
    moved = (a[:, None, :] != parents[None]).sum(axis=2).min(axis=1)
    assert moved.max() <= 4 and np.median(moved) <= 2
    assert (a[:, space.sizes == 1] == 0).all()
    assert len(space.neighbours(parents[:0], 10, np.random.default_rng(0))) == 0


def test_structured_rows_are_valid_specs() -> None:
    space = Space(node=("N7", "N5", "N3E", "N2"))
    rows = space.sample(0, 300, 2)
    rows = rows[space.structured(rows)]
    designs = space.designs(rows)
    assert len(rows) > 150
    for i in range(len(rows)):
        validate(designs.spec(i))


def test_unstructured_rows_are_those_that_do_not_divide() -> None:
    space = Space()
    rows = space.sample(0, 2000, 0)
    v = space.values(rows)
    odd = (v["stacks"] % v["dies"] != 0) | (v["cores"] % v["dies"] != 0)
    assert (space.structured(rows) == ~odd).all() and odd.any()
