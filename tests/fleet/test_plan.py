"""The whole plan: everything adds up across levels, samples equal single evaluations, and limits with a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeout.fleet import demand
from tapeout.fleet.plan import Plan
from tapeout.fleet.risk import uncertain, values_of
from tapeout.fleet.sequence import supercube
from tapeout.physical.cost import nre, unit_cost

TIGHT = dict(rtol=1e-9)


@pytest.fixture(scope="module")
def values(plan: Plan):  # type: ignore[no-untyped-def]
    """The plan at a handful of random points of all its uncertain inputs."""
    names = uncertain(plan)
    return plan.graph.evaluate(values_of(plan, names, supercube(8, len(names), 3)))


def test_tokens_add_up(plan: Plan, values) -> None:  # type: ignore[no-untyped-def]
    s = plan.scenario
    by_class = sum(values[f"tokens.{c}"] for c in s.classes)
    by_kind = sum(values[f"tokens.{k}"] for k in ("prefill", "cached", "decode"))
    np.testing.assert_allclose(values["tokens"], by_class, **TIGHT)
    np.testing.assert_allclose(values["tokens"], by_kind, **TIGHT)
    month = values["month"]
    for c in s.classes:
        in_and_out = values[f"kind.{c}.prompt"] + values[f"kind.{c}.output"]
        np.testing.assert_allclose(
            values[f"tokens.{c}"], values[f"requests.{c}"] * month * in_and_out, **TIGHT
        )


def test_work_served_by_the_fleets_is_demand_less_what_is_left(plan: Plan, values) -> None:  # type: ignore[no-untyped-def]
    shares = [values[f"served.{a}"] for a in plan.scenario.accelerators]
    assert all(np.all(x >= -1e-12) for x in shares)
    np.testing.assert_allclose(sum(shares), values["served"], **TIGHT)
    assert np.all(values["served"] <= 1 + 1e-12)
    for a in plan.scenario.accelerators:  # nobody serves more than its chips can
        used = values[f"served.{a}"] * values[f"need.{a}"]
        assert np.all(used <= values[f"fleet.{a}"] * (1 + 1e-9) + 1e-6)
        assert np.all(values[f"busy.{a}"] <= 1 + 1e-9)


def test_chips_add_up(plan: Plan, values) -> None:  # type: ignore[no-untyped-def]
    fleet, delivered = values["fleet.own"], values["deliveries.own"]
    life = values["finance.accelerator_life"] / values["month"]
    early = np.arange(plan.scenario.months)[None, :] < np.floor(life)
    running = np.cumsum(delivered, axis=1)
    np.testing.assert_allclose(
        fleet[np.broadcast_to(early, fleet.shape)], running[np.broadcast_to(early, fleet.shape)], rtol=1e-7
    )
    sites = sum(values[f"site.{x.name}.chips"] for x in plan.scenario.sites)
    some = np.broadcast_to(values["sites.connected"] > 1e6, fleet.shape)
    np.testing.assert_allclose(np.broadcast_to(sites, fleet.shape)[some], fleet[some], rtol=1e-6, atol=1e-3)


def test_power_in_service_never_exceeds_what_is_connected(values) -> None:  # type: ignore[no-untyped-def]
    drawn = np.cumsum(values["deliveries.own"], axis=1)[:, 2::3] * values["system.own.provisioned"]
    assert np.all(
        drawn <= np.maximum.accumulate(values["sites.connected"], axis=1)[:, 2::3] * (1 + 1e-6) + 1e3
    )


def test_joules_add_up(plan: Plan, values) -> None:  # type: ignore[no-untyped-def]
    names = [f"site.{x.name}" for x in plan.scenario.sites]
    np.testing.assert_allclose(values["energy.own"], sum(values[f"{n}.energy"] for n in names), **TIGHT)
    cooled = values["fleet.own"] * values["mean_power.own"] * values["cooling.liquid.pue"] * values["month"]
    some = np.broadcast_to(values["sites.connected"] > 1e6, cooled.shape)
    np.testing.assert_allclose(values["energy.own"][some], cooled[some], rtol=1e-6, atol=1.0)
    assert np.all(values["mean_power.own"] <= values["system.own.it_power"] * (1 + 1e-9))


def test_dollars_add_up(plan: Plan, values) -> None:  # type: ignore[no-untyped-def]
    layers = ("chips", "trays", "racks", "networks", "storage", "sites")
    own = sum(values[f"capex.own.{k}"] for k in layers)
    np.testing.assert_allclose(values["capex.own"], own, **TIGHT)
    everyone = own + sum(values[f"capex.{a}"] for a in plan.scenario.gpus)
    np.testing.assert_allclose(values["capex"], everyone, **TIGHT)
    cash = (
        values["revenue"]
        - values["cost_of_revenue"]
        - values["opex"]
        - values["nre"]
        - values["tax"]
        - values["capex"]
    )
    np.testing.assert_allclose(values["cash"], cash, **TIGHT)
    # all capital is depreciated once lives have passed, and never more than was spent
    assert np.all(values["depreciation"].sum(axis=1) <= values["capex"].sum(axis=1) * (1 + 1e-9))
    # what lenders give they get back with interest
    drawn, paid = values["debt.drawn"].sum(axis=1), values["debt.service"].sum(axis=1)
    assert np.all(paid > drawn * 0.95)


def test_tax_is_on_profit_beyond_losses(values) -> None:  # type: ignore[no-untyped-def]
    profit, tax, rate = values["profit"], values["tax"], values["finance.tax"]
    assert np.all(tax >= 0)
    most = np.maximum(np.maximum.accumulate(np.cumsum(profit, axis=1), axis=1)[:, -1], 0) * rate[:, 0]
    np.testing.assert_allclose(tax.sum(axis=1), most, rtol=1e-6, atol=1.0)


def test_samples_together_equal_samples_alone(plan: Plan) -> None:
    names = uncertain(plan)
    points = values_of(plan, names, supercube(4, len(names), 9))
    together = plan.graph.evaluate(points)
    for i in range(4):
        alone = plan.graph.evaluate({k: float(v[i]) for k, v in points.items()})
        for output in ("npv", "irr", "versus.gb300.npv", "funding", "carbon.own"):
            row = together[output]
            np.testing.assert_allclose(
                row[min(i, row.shape[0] - 1)], alone[output][0], rtol=1e-6, err_msg=output
            )


def test_the_own_chips_cost_is_that_of_physical(plan: Plan) -> None:
    v = plan.nominal
    want = float(np.ravel(unit_cost(plan.chip).total)[0])
    monthly_trend = float(np.exp(v["hbm.price_trend"][0, 0] * v["time"][0, 0]))
    memory, premium = v["own.memory_cost"][0, 0], v["own.memory_premium"][0, 0]
    dearer = memory / v["own.assembly_yield"][0, 0] * (1 - 1 / monthly_trend / premium)
    scale = (v["own.cost"][0, 0] - dearer) / want
    assert scale == pytest.approx(1.0, rel=1e-6)
    spent = plan.graph.evaluate({"nre.respin": 1.0, "nre.software": 0.0, "nre.team": 0.0})["nre"].sum()
    assert spent == pytest.approx(float(np.ravel(nre(plan.chip))[0]), rel=1e-9)


def test_a_price_of_nothing_leaves_no_capital(plan: Plan) -> None:
    zero = {n.name: 0.0 for n in plan.graph.inputs() if n.name.endswith(("_price", ".wafer_price"))}
    zero |= {"building.mechanical_electrical": 0.0, "building.shell_land": 0.0}
    zero |= {f"system.{a}.chip_price": 0.0 for a in plan.scenario.gpus}
    v = plan.graph.evaluate(zero)
    assert float(np.abs(v["capex"]).max()) == pytest.approx(0, abs=1e-3)


def test_without_discounting_present_value_is_the_sum(plan: Plan) -> None:
    v = plan.graph.evaluate({"finance.wacc": 1e-12})
    assert v["npv"][0, 0] == pytest.approx(float(v["cash"].sum() + v["residual"][0, 0]), rel=1e-6)


def test_break_even_volume_times_saving_is_nre(plan: Plan) -> None:
    v = plan.nominal
    rate = float(v["finance.wacc"][0, 0])
    years = (np.arange(plan.scenario.months) + 0.5) / 12
    present = float((v["nre"][0] * (1 + rate * 365.25 * 86400) ** -years).sum())
    for a in plan.scenario.gpus:
        volume, each = v[f"versus.{a}.volume"][0, 0], v[f"versus.{a}.per_chip"][0, 0]
        if each > 0:
            assert volume * each == pytest.approx(present, rel=1e-9)


def test_worse_inputs_never_help(plan: Plan) -> None:
    base = plan.nominal
    for name, factor in (
        ("own.stack_price", 2),
        ("own.defect_density", 2),
        ("nre.partner_margin", 1.5),
        ("building.lease", 2),
    ):
        q = plan.graph.nodes[name].quantity
        assert q is not None
        v = plan.graph.evaluate({name: q.value * factor})
        assert v["npv"][0, 0] < base["npv"][0, 0], name
    v = plan.graph.evaluate({"service.attained_own": 0.35})
    assert all(v[f"versus.{a}.npv"][0, 0] < base[f"versus.{a}.npv"][0, 0] for a in plan.scenario.gpus)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(0.05, 1), st.floats(-180, 180), st.floats(0, 1)), min_size=1, max_size=5))
def test_the_days_mean_is_one(regions: list[tuple[float, float, float]]) -> None:
    share, longitude, swing = (np.array(x)[None, :] for x in zip(*regions, strict=True))
    shape = demand.day_shape(share, longitude, swing)
    assert shape.mean() == pytest.approx(1.0, abs=1e-9)
    assert shape.max() <= 1 + swing.max() + 1e-9
    if len(regions) == 1:
        assert shape.max() == pytest.approx(1 + swing[0, 0], rel=0.02, abs=1e-6)


def test_regions_around_the_world_level_the_day() -> None:
    spread = demand.day_shape(np.ones((1, 3)), np.array([[-120.0, 0, 120]]), np.full((1, 3), 0.6))
    np.testing.assert_allclose(spread, 1.0, atol=1e-9)


def test_any_input_can_be_changed_alone(plan: Plan) -> None:
    """Sampling one input and not its neighbours must not trip over shapes."""
    for n in plan.graph.inputs():
        if n.name.startswith(("hbm.", "region.", "kind.chat.", "wafers.", "site.ohio.", "schedule.")):
            assert n.quantity is not None
            v = plan.graph.evaluate({n.name: np.array([n.quantity.low, n.quantity.high])})
            assert np.isfinite(v["npv"]).all(), n.name


def test_every_input_is_used_by_something(plan: Plan) -> None:
    used = {p for n in plan.graph.nodes.values() for p in n.parents}
    idle = {n.name for n in plan.graph.inputs()} - used
    others = ("system.", "cooling.")  # parts of systems and coolings that this scenario has none of
    assert not {n for n in idle if not n.startswith(others)}


def test_everything_is_finite(plan: Plan, values) -> None:  # type: ignore[no-untyped-def]
    for v in (plan.nominal, values):
        assert not [k for k in v if k != "irr" and not np.isfinite(v[k]).all()]
