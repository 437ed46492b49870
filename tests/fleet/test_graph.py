"""The graph and its formulas: units are checked, series behave, samples are evaluated at once."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.fleet.formula import MONTH, YEAR, Month, annuity, discounted, shifted
from tapeout.fleet.graph import Graph
from tapeout.physical.quantity import Quantity


def quantity(value: float, unit: str) -> Quantity:
    return Quantity(value, value / 2, value * 2, unit, "a test", "high", "assumption")


def small() -> Graph:
    g = Graph(Month(2026, 1), 24)
    g.input("price", quantity(3.0, "kUSD/chip"))
    g.input("chips", quantity(10.0, "chip"))
    g.input("power", quantity(2.0, "kW"))
    g.time()
    return g


def test_units_follow_the_formula() -> None:
    g = small()
    g.let("cost", "MUSD", "price * chips")
    g.let("energy", "MWh", "power * month", "flow")
    v = g.evaluate()
    assert v.get_in("cost", "USD")[0, 0] == pytest.approx(30_000)
    assert v.get_in("energy", "kWh")[0, 0] == pytest.approx(2 * 730.5)


@pytest.mark.parametrize(
    ("formula", "unit"),
    [
        ("price + chips", "USD"),
        ("price * chips", "USD/chip"),
        ("exp(power)", "1"),
        ("power ** price", "W"),
        ("chips + 1", "chip"),
        ("nobody", "1"),
        ("__import__('os')", "1"),
        ("[c for c in chips]", "1"),
    ],
)
def test_a_formula_that_does_not_add_up_is_refused(formula: str, unit: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        small().let("x", unit, formula)


def test_a_name_is_defined_once() -> None:
    g = small()
    with pytest.raises(ValueError, match="twice"):
        g.let("chips", "chip", "2 * chips")
    g.input("chips", quantity(99.0, "chip"))  # what a scenario gave stands
    assert g.evaluate()["chips"][0, 0] == 10
    with pytest.raises(ValueError, match="chip"):
        g.input("chips", quantity(99.0, "USD"))


def test_samples_at_once_equal_one_by_one() -> None:
    g = small()
    g.let("paid", "USD", "price * chips * exp(-time / (month * 12))", "flow")
    g.let("total", "USD", "horizon(paid)")
    prices = np.array([1.0, 2.5, 7.0])
    together = g.evaluate({"price": prices})["total"][:, 0]
    alone = [g.evaluate({"price": p})["total"][0, 0] for p in prices]
    np.testing.assert_allclose(together, alone)


def test_inputs_of_a_number_are_found_through_the_chain() -> None:
    g = small()
    g.let("cost", "USD", "price * chips")
    g.let("double", "USD", "2 * cost")
    assert [n.name for n in g.inputs_of("double")] == ["price", "chips"]


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 1e6), min_size=12, max_size=12),
    st.floats(0, 5),
)
def test_a_delay_keeps_the_sum_of_what_stays_within_the_plan(values: list[float], months: float) -> None:
    series = np.concatenate([values, np.zeros(6)])[None, :]
    moved = shifted(series, np.array([[months * MONTH]]))
    assert moved.sum() == pytest.approx(series.sum(), rel=1e-9, abs=1e-6)
    assert np.all(moved[:, : int(months)] == 0)


def test_whole_delays_are_exact_and_negative_ones_look_ahead() -> None:
    x = np.arange(6.0)[None, :]
    np.testing.assert_array_equal(shifted(x, np.array([[2 * MONTH]]))[0], [0, 0, 0, 1, 2, 3])
    np.testing.assert_allclose(shifted(x, np.array([[-2 * MONTH]]))[0], [0 + 1 + 2, 3, 4, 5, 0, 0])
    assert shifted(x, np.array([[-2.5 * MONTH]])).sum() == pytest.approx(x.sum())


def test_annuity_repays_its_loan() -> None:
    rate, years = 0.08, 7
    payment = (
        annuity(np.array([[1000.0]]), np.array([[rate / YEAR]]), np.array([[years * YEAR]]))[0, 0] * MONTH
    )
    monthly = (1 + rate) ** (1 / 12) - 1
    left = 1000.0
    for _ in range(12 * years):
        left = left * (1 + monthly) - payment
    assert left == pytest.approx(0, abs=1e-8)


def test_annuity_without_interest_is_the_amount_over_the_life() -> None:
    payment = annuity(np.array([[1200.0]]), np.zeros((1, 1)), np.array([[YEAR]]))[0, 0] * MONTH
    assert payment == pytest.approx(100.0)


def test_a_perpetuity_is_worth_its_payment_over_the_rate() -> None:
    flow = np.full((1, 12 * 400), 1 / 12)
    value = discounted(flow, np.array([[0.05 / YEAR]])).sum()
    assert value == pytest.approx(1 / math.log(1.05), rel=1e-4)


def test_months() -> None:
    assert str(Month(2026, 10).plus(5)) == "2027-03"
    assert Month(2027, 3).since(Month(2026, 10)) == 5
    for bad in ("2026", "2026-13", "26-10", "x-y"):
        with pytest.raises(ValueError):
            Month.parse(bad)
