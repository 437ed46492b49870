"""Every number of the plan has a path to its inputs."""

from __future__ import annotations

import pytest

from tapeout.errors import InputError
from tapeout.fleet.plan import Plan
from tapeout.fleet.why import chain, lines


def test_no_number_without_a_path_to_inputs(plan: Plan) -> None:
    calendar = {"time", "month", "plan.length", "plan.middle", "gpu_buying"}
    for node in plan.graph.nodes.values():
        if node.quantity is not None:
            assert node.quantity.source, node.name
        elif node.name not in calendar:
            assert node.parents and node.formula, node.name
            assert plan.graph.inputs_of(node.name), node.name


def test_the_chain_ends_in_sources_and_holds_the_number(plan: Plan) -> None:
    links = chain(plan, "capex.2028")
    assert links[0].value == pytest.approx(float(plan.year("capex", 2028)[0]))
    text = "\n".join(lines(links))
    assert "own.wafer_price" in text and "high confidence" in text
    names = {x.name for x in links}
    assert {n.name for n in plan.graph.inputs_of("capex")} <= names
    assert len(lines(links)) == len(links)
    assert "what binds: Q1" in text


def test_sums_in_the_chain_add_up(plan: Plan) -> None:
    links = chain(plan, "capex.own.2028", depth=1)
    parts = [x.value for x in links if x.depth == 1]
    assert links[0].value == pytest.approx(sum(parts))


@pytest.mark.parametrize("asked", ["capx.2028", "capex.1999", "capex.2099", "", "no.such.thing"])
def test_what_is_not_there_is_told(plan: Plan, asked: str) -> None:
    with pytest.raises(InputError):
        chain(plan, asked)
