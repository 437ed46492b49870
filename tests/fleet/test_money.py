"""Money in closed form: rates of return, break-even, power policies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.fleet.formula import YEAR
from tapeout.fleet.money import internal_rate
from tapeout.fleet.policies import oversubscribe
from tapeout.fleet.versus import NEVER, break_even


@given(st.floats(-0.3, 0.9))
def test_rate_of_return_of_a_loan_is_its_rate(rate: float) -> None:
    flow = np.zeros((1, 61))
    flow[0, 0] = -100.0
    flow[0, 60] = 100.0 * (1 + rate) ** 5
    assert internal_rate(flow)[0] * YEAR == pytest.approx(rate, abs=1e-6)


def test_no_rate_where_money_only_leaves() -> None:
    assert np.isnan(internal_rate(np.full((1, 12), -1.0))[0])


def test_break_even_is_the_last_crossing() -> None:
    path = np.array([[-1, 1, -1, 0.5, 2], [-1, -1, -1, -1, -0.1], [0, 1, 2, 3, 4]], dtype=float)
    np.testing.assert_array_equal(break_even(path), [4 - 1, NEVER, 0])


def test_capping_in_closed_form() -> None:
    """A flat day, chips that would draw exactly the limit: a quarter more chips can each use what is left of it."""
    flat = np.ones(24)
    p = oversubscribe(flat, 1.0, 400.0, 1000.0, 0.25)
    room = (1000 / 1.25 - 400) / 600
    assert p.capped_hours == 24
    assert p.lost == pytest.approx(1 - room)
    assert p.work == pytest.approx(1.25 * room)
    assert p.mean_load == pytest.approx(1.0)


@given(st.floats(0, 1), st.floats(0.1, 1), st.floats(0, 0.9), st.floats(0, 1), st.floats(0, 0.3))
def test_work_is_done_moved_or_lost(
    swing: float, busy: float, idle: float, extra: float, shift: float
) -> None:
    day = 1 + swing * np.cos(np.arange(24) / 24 * 2 * np.pi)
    p = oversubscribe(day, busy, idle * 1000, 1000.0, extra, shift)
    assert p.work == pytest.approx((1 + extra) * (1 - p.lost), rel=1e-9)
    assert p.lost <= oversubscribe(day, busy, idle * 1000, 1000.0, extra).lost + 1e-12
    assert 0 <= p.lost <= 1 and p.mean_load <= 1 + 1e-12
