"""The plan as a graph of named quantities: every number knows its formula, its unit and its inputs.

An input is a `Quantity` from a table, with its source and range; everything else is a formula over names
("capex.network = racks.built * rack.network_cost") or the result of a solver whose inputs are named. Formulas are
text: they are what `--why` prints, their units are checked where they are defined, and they are evaluated on
arrays [samples, months], so that thousands of samples of a whole plan are one evaluation.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import CodeType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.formula import FUNCTIONS, Month, dimension, names_of
from tapeout.fleet.units import Unit, unit
from tapeout.physical.quantity import Quantity

Array = NDArray[np.float64]
# A scalar stays the same all along; a flow is an amount in each month; a stock is an amount at the end of it.
Kind = Literal["scalar", "flow", "stock"]
Compute = Callable[["Values"], Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Node:
    """One named quantity. `formula` is text, or, where a solver finds it, says which and how."""

    name: str
    unit: str
    kind: Kind
    formula: str
    parents: tuple[str, ...]
    about: str = ""
    quantity: Quantity | None = None
    code: CodeType | None = None
    group: _Solved | None = None


@dataclass(frozen=True, eq=False)
class _Solved:
    """Several nodes that one computation finds together."""

    outputs: tuple[str, ...]
    parents: tuple[str, ...]
    function: Compute


class Values(Mapping[str, Array]):
    """Values of the nodes of a graph, in base units, each [samples or 1, months or 1]."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._held: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        return self._held[name]

    def __setitem__(self, name: str, value: Any) -> None:
        array = np.asarray(value, dtype=np.float64)
        self._held[name] = array.reshape(1, 1) if array.ndim == 0 else array

    def __iter__(self) -> Any:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def get_in(self, name: str, wanted: str) -> Array:
        """The values of `name` in unit `wanted`, which must measure the same thing."""
        have, want = unit(self.graph.nodes[name].unit), unit(wanted)
        if not have.like(want):
            raise ValueError(f"{name} is {have}, not {want}")
        return self._held[name] / want.factor

    def drop(self, keep: Iterable[str]) -> Values:
        """Only the values of `keep`: those of thousands of samples fill memory otherwise."""
        found = Values(self.graph)
        for name in keep:
            found[name] = self._held[name]
        return found


@dataclass
class Graph:
    """Nodes in the order of their definition; a node is defined after its parents.

    first: the first month of the plan; months: how many it has.
    """

    first: Month
    months: int
    nodes: dict[str, Node] = field(default_factory=dict)

    def input(self, name: str, quantity: Quantity, about: str = "") -> str:
        """A number from a table; one given before, by a scenario, stands."""
        before = self.nodes.get(name)
        if before is not None and before.quantity is not None:
            if not unit(before.unit).like(unit(quantity.unit)):
                raise ValueError(f"{name} is in {before.unit}, not in {quantity.unit}")
            return name
        unit(quantity.unit)
        self._add(Node(name, quantity.unit, "scalar", "", (), about, quantity))
        return name

    def let(self, name: str, unit_text: str, formula: str, kind: Kind = "scalar", about: str = "") -> str:
        """Define `name` by a formula over earlier names. Raises ValueError if its unit is not `unit_text`'s."""
        tree = ast.parse(formula.strip(), mode="eval")
        parents = tuple(names_of(tree))
        for p in parents:
            if p not in self.nodes:
                raise ValueError(f"{name}: {p} is not defined")
        found = dimension(tree.body, self._unit_of, name)
        if not found.like(unit(unit_text)):
            raise ValueError(f"{name} = {formula}: is {found}, declared {unit(unit_text)}")
        code = compile(ast.fix_missing_locations(_flat(tree)), name, "eval")
        self._add(Node(name, unit_text, kind, " ".join(formula.split()), parents, about, code=code))
        return name

    def solve(
        self,
        outputs: Mapping[str, tuple[str, Kind, str]],
        parents: Iterable[str],
        how: str,
        function: Compute,
    ) -> None:
        """Define several nodes {name: (unit, kind, about)} found together by `function`, which gets the values
        so far and returns {name: array in the node's unit}. `how` says in words what it does."""
        group = _Solved(tuple(outputs), tuple(parents), function)
        for p in group.parents:
            if p not in self.nodes:
                raise ValueError(f"{', '.join(outputs)}: {p} is not defined")
        for name, (unit_text, kind, about) in outputs.items():
            unit(unit_text)
            self._add(Node(name, unit_text, kind, how, group.parents, about, group=group))

    def evaluate(self, changed: Mapping[str, Any] | None = None) -> Values:
        """The values of all nodes. `changed`: inputs or formulas replaced, in the node's unit, [samples] or a
        scalar, or [samples, months]."""
        values, given = Values(self), dict(changed or {})
        for name in given:
            if name not in self.nodes:
                raise ValueError(f"{name} is not in the plan")
        space: dict[str, Any] = {"__builtins__": {}} | {k: v.evaluate for k, v in FUNCTIONS.items()}
        for node in self.nodes.values():
            factor = unit(node.unit).factor
            if node.name in given:
                array = np.asarray(given[node.name], dtype=np.float64)
                values[node.name] = (array[:, None] if array.ndim == 1 else array) * factor
            elif node.name in values:  # found with another of its group
                pass
            elif node.quantity is not None:
                values[node.name] = node.quantity.value * factor
            elif node.code is not None:
                values[node.name] = eval(node.code, space)
            else:
                assert node.group is not None
                for name, found in node.group.function(values).items():
                    if name not in given:
                        values[name] = (
                            np.asarray(found, dtype=np.float64) * unit(self.nodes[name].unit).factor
                        )
                        space[_flat_name(name)] = values[name]
            space[_flat_name(node.name)] = values[node.name]
        return values

    def time(self) -> None:
        """Define `time`, years since the first month began, at the middle of each month, and `month`, one
        month."""
        years = (np.arange(self.months) + 0.5)[None, :] / 12

        self.solve(
            {
                "time": ("year", "stock", "since the plan began, at the middle of the month"),
                "month": ("month", "scalar", "its length"),
            },
            (),
            "the calendar",
            lambda _: {"time": years, "month": 1.0},
        )

    def children(self, name: str) -> list[str]:
        """The nodes whose formulas use `name`."""
        return [n.name for n in self.nodes.values() if name in n.parents]

    def inputs(self) -> list[Node]:
        """The nodes that come from tables."""
        return [n for n in self.nodes.values() if n.quantity is not None]

    def inputs_of(self, name: str) -> list[Node]:
        """The inputs that `name` depends on, directly or not."""
        seen: set[str] = set()
        queue = [name]
        while queue:
            at = queue.pop()
            if at not in seen:
                seen.add(at)
                queue.extend(self.nodes[at].parents)
        return [n for n in self.inputs() if n.name in seen]

    def _unit_of(self, name: str) -> Unit:
        return unit(self.nodes[name].unit)

    def _add(self, node: Node) -> None:
        if node.name in self.nodes:
            raise ValueError(f"{node.name} is defined twice")
        self.nodes[node.name] = node


def _flat_name(name: str) -> str:
    return "v_" + name.replace(".", "__dot__")


class _Flatten(ast.NodeTransformer):
    """Dotted names as plain ones; functions keep their names."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.args = [self.visit(a) for a in node.args]
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name(_flat_name(ast.unparse(node)), ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(_flat_name(node.id), ast.Load())


def _flat(tree: ast.Expression) -> ast.Expression:
    flat: ast.Expression = _Flatten().visit(ast.parse(ast.unparse(tree), mode="eval"))
    return flat
