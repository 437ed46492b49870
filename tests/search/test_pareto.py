"""The exact front: the fast version equals the definition on anything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tapeout.search.pareto import front, front_by_definition

ANY = st.floats(allow_nan=True, allow_infinity=True, width=32)
FEW = st.sampled_from([-1.0, -0.0, 0.0, 1.0, 1.0 + 2**-52, 2.0, np.inf, np.nan])
SHAPES = st.tuples(st.integers(0, 40), st.integers(1, 4))


@given(arrays(np.float64, SHAPES, elements=st.one_of(ANY, FEW)))
def test_fast_equals_definition(values: np.ndarray) -> None:
    assert (front(values) == front_by_definition(values)).all()


@given(arrays(np.float64, SHAPES, elements=FEW))
def test_fast_equals_definition_where_many_are_equal(values: np.ndarray) -> None:
    assert (front(values) == front_by_definition(values)).all()


@pytest.mark.parametrize("objectives", [1, 2, 3, 5])
def test_across_blocks(objectives: int) -> None:
    random = np.random.default_rng(objectives)
    values = random.integers(0, 40, (1500, objectives)).astype(float)
    values[::97] = np.nan
    assert (front(values) == front_by_definition(values)).all()


def test_order_of_rows_does_not_matter() -> None:
    random = np.random.default_rng(7)
    values = random.normal(size=(5000, 3))
    order = random.permutation(len(values))
    assert (front(values)[order] == front(values[order])).all()


def test_small_example() -> None:
    values = np.array([[1, 3], [2, 2], [3, 1], [2, 2], [1, 1], [np.nan, 9]])
    assert front(values).tolist() == [True, True, True, True, False, False]
