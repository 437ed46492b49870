"""The supply program: closed forms, SciPy as an outside solver, and chips that add up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("highspy", reason="planning needs the `plan` extra")

from tapeout.fleet.supply import Limits, SupplyProgram

PLENTY = 1e9


def limits(n: int, **given: object) -> Limits:
    """Plenty of everything but what is given."""
    flat = np.full(n, PLENTY)
    base: dict[str, object] = {
        "dies": flat, "hbm": np.stack([flat] * 3), "hbm_floor": np.zeros((3, n)), "packages": flat, "substrates": flat,
        "racked": flat, "powered": flat, "target": np.arange(1, n + 1) * 100.0, "premium": np.ones(3), "assembly": 1.0,
    }  # fmt: skip
    return Limits(**(base | given))  # type: ignore[arg-type]


def test_with_plenty_the_target_is_met_exactly() -> None:
    s = SupplyProgram(8).solve(limits(8))
    np.testing.assert_allclose(np.cumsum(s.deployed), np.arange(1, 9) * 100.0)
    assert s.short.max() == pytest.approx(0, abs=1e-6)
    assert {s.binding(q) for q in range(8)} == {"target"}


@pytest.mark.parametrize(
    ("stage", "name"),
    [("dies", "wafers"), ("packages", "CoWoS"), ("substrates", "substrates"), ("racked", "racks")],
)
def test_one_scarce_stage_sets_the_pace_and_is_named(stage: str, name: str) -> None:
    s = SupplyProgram(8).solve(limits(8, **{stage: np.full(8, 60.0)}))
    np.testing.assert_allclose(s.deployed, 60.0)
    np.testing.assert_allclose(s.short, np.arange(1, 9) * 40.0)
    assert {s.binding(q) for q in range(8)} == {name}


def test_power_and_memory_are_named() -> None:
    s = SupplyProgram(6).solve(limits(6, powered=np.array([50.0, 90, 120, 600, 600, 600])))
    assert [s.binding(q) for q in range(6)] == ["power"] * 3 + ["target"] * 3
    s = SupplyProgram(6).solve(limits(6, hbm=np.full((3, 6), 20.0)))
    assert {s.binding(q) for q in range(6)} == {"HBM"}
    np.testing.assert_allclose(s.deployed, 60.0)


def test_contracts_are_bought_whether_needed_or_not() -> None:
    floor = np.zeros((3, 4))
    floor[0] = 150.0
    s = SupplyProgram(4).solve(limits(4, hbm_floor=floor))
    assert np.all(s.hbm[0] >= 150 - 1e-6)
    assert s.stock_hbm[-1] == pytest.approx(200.0)


def test_assembly_loss_takes_more_packages() -> None:
    s = SupplyProgram(4).solve(limits(4, assembly=0.8))
    np.testing.assert_allclose(s.packages, 125.0)


capacity = st.lists(st.floats(0, 200), min_size=6, max_size=6).map(np.array)


@settings(deadline=None, max_examples=40)
@given(capacity, capacity, capacity, capacity, capacity, st.floats(0.5, 1.0))
def test_chips_add_up_and_the_optimum_is_scipys(
    dies: np.ndarray,
    memory: np.ndarray,
    packages: np.ndarray,
    racked: np.ndarray,
    power: np.ndarray,
    assembly: float,
) -> None:
    n = 6
    given_limits = limits(
        n, dies=dies, hbm=np.stack([memory, memory / 2, memory / 4]), packages=packages, racked=racked,
        powered=np.cumsum(power), assembly=assembly,
    )  # fmt: skip
    s = SupplyProgram(n).solve(given_limits)
    tight = dict(atol=1e-5)
    before = np.concatenate([[0.0], s.stock_dies[:-1]])
    np.testing.assert_allclose(before + s.dies, s.packages + s.stock_dies, **tight)
    before = np.concatenate([[0.0], s.stock_chips[:-1]])
    np.testing.assert_allclose(before + assembly * s.packages, s.deployed + s.stock_chips, **tight)
    before = np.concatenate([[0.0], s.stock_hbm[:-1]])
    np.testing.assert_allclose(before + s.hbm.sum(axis=0), s.packages + s.stock_hbm, **tight)
    assert np.all(s.dies <= dies + 1e-5) and np.all(s.packages <= packages + 1e-5)
    assert np.all(np.cumsum(s.deployed) <= np.minimum(np.cumsum(power), given_limits.target) + 1e-4)
    assert s.short.sum() == pytest.approx(_least_shortfall(given_limits), abs=0.05)


def _least_shortfall(lim: Limits) -> float:
    """The same optimum from SciPy, written over cumulative amounts: deployed ≤ chips made ≤ dies, memory so far."""
    from scipy.optimize import linprog

    n = len(lim.dies)
    lower = np.tril(np.ones((n, n)))
    zero = np.zeros((n, n))
    # variables: deployed d, packages p; maximise the sum of cumulative deployed
    rows = [
        (np.hstack([lower, -lim.assembly * lower]), np.zeros(n)),
        (np.hstack([zero, lower]), np.cumsum(lim.dies)),
        (np.hstack([zero, lower]), np.cumsum(lim.hbm.sum(axis=0))),
        (np.hstack([lower, zero]), np.minimum(lim.powered, lim.target)),
    ]
    a, b = np.vstack([r[0] for r in rows]), np.concatenate([r[1] for r in rows])
    high = np.concatenate([lim.racked, np.minimum(lim.packages, lim.substrates)])
    cost = -np.concatenate([lower.sum(axis=0), np.zeros(n)])
    found = linprog(cost, A_ub=a, b_ub=b, bounds=list(zip(np.zeros(2 * n), high, strict=True)))
    return float(lim.target.sum() + found.fun)


def test_samples_solved_warm_equal_those_solved_cold() -> None:
    rng = np.random.default_rng(1)
    warm = SupplyProgram(10)
    for _ in range(20):
        some = limits(
            10,
            dies=rng.uniform(20, 150, 10),
            packages=rng.uniform(20, 150, 10),
            assembly=float(rng.uniform(0.7, 1)),
        )
        np.testing.assert_allclose(warm.solve(some).short, SupplyProgram(10).solve(some).short, atol=1e-6)
