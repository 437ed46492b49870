"""Linear programs through HiGHS: named variables and rows, built once, solved again with other bounds.

A thin layer that keeps names, so that an answer says which constraint binds and what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import MissingDependency

Floats = NDArray[np.float64]
INFINITY = np.inf


def highs() -> Any:
    """The HiGHS module. Raises MissingDependency if it is not installed."""
    try:
        import highspy
    except ImportError:
        raise MissingDependency("Planning supply and power", "plan") from None
    return highspy


@dataclass
class Program:
    """A linear program in the making: minimise cost · x, low ≤ x ≤ high, row_low ≤ A x ≤ row_high."""

    names: list[str] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    row_low: list[float] = field(default_factory=list)
    row_high: list[float] = field(default_factory=list)
    _at: list[int] = field(default_factory=list)
    _column: list[int] = field(default_factory=list)
    _value: list[float] = field(default_factory=list)

    def variable(self, name: str, cost: float = 0.0, low: float = 0.0, high: float = INFINITY) -> int:
        """Add a variable; returns its index."""
        self.names.append(name)
        self.cost.append(cost)
        self.low.append(low)
        self.high.append(high)
        return len(self.names) - 1

    def row(self, name: str, terms: dict[int, float], low: float = -INFINITY, high: float = INFINITY) -> int:
        """Add a constraint; returns its index."""
        index = len(self.rows)
        self.rows.append(name)
        self.row_low.append(low)
        self.row_high.append(high)
        for column, value in terms.items():
            if value:
                self._at.append(index)
                self._column.append(column)
                self._value.append(value)
        return index

    def build(self) -> Solver:
        """The solver of this program."""
        return Solver(self)

    def model(self) -> Any:
        """As HiGHS takes it, by columns."""
        h = highs()
        order = np.lexsort((np.array(self._at), np.array(self._column)))
        column = np.array(self._column, dtype=np.int32)[order]
        lp = h.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.names), len(self.rows)
        lp.col_cost_ = np.array(self.cost)
        lp.col_lower_, lp.col_upper_ = _plain(self.low), _plain(self.high)
        lp.row_lower_, lp.row_upper_ = _plain(self.row_low), _plain(self.row_high)
        lp.a_matrix_.format_ = h.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.searchsorted(column, np.arange(len(self.names) + 1)).astype(np.int32)
        lp.a_matrix_.index_ = np.array(self._at, dtype=np.int32)[order]
        lp.a_matrix_.value_ = np.array(self._value)[order]
        return lp


def _plain(values: Any) -> Floats:
    """Bounds as HiGHS writes them."""
    return np.asarray(values, dtype=float)


@dataclass(frozen=True)
class Answer:
    """A solution: values, reduced costs, row duals (change of the cost per unit of the row's bound) and cost."""

    x: Floats
    reduced: Floats
    duals: Floats
    cost: float
    feasible: bool


class Solver:
    """A program in HiGHS, kept warm: after a change of bounds the last basis is where it starts."""

    def __init__(self, program: Program) -> None:
        h = highs()
        self.program, self._h = program, h
        self._solver = h._core._Highs()  # the public class prints a banner where results go
        self._solver.setOptionValue("output_flag", False)
        self._solver.setOptionValue("threads", 1)
        self._solver.passModel(program.model())
        self._infinity = h.kHighsInf

    def variables(self, index: NDArray[np.int32], low: Floats, high: Floats) -> None:
        """Change bounds of variables."""
        self._solver.changeColsBounds(len(index), index.astype(np.int32), low, self._capped(high))

    def rows(self, index: NDArray[np.int32], low: Floats, high: Floats) -> None:
        """Change bounds of rows."""
        for i, a, b in zip(index.tolist(), low.tolist(), high.tolist(), strict=True):
            self._solver.changeRowBounds(i, a, b)

    def coefficients(self, entries: list[tuple[int, int, float]]) -> None:
        """Change entries (row, column, value) of the matrix."""
        for row, column, value in entries:
            self._solver.changeCoeff(row, column, value)

    def solve(self) -> Answer:
        """The optimum, or an Answer that says there is none."""
        self._solver.run()
        feasible = self._solver.getModelStatus() == self._h.HighsModelStatus.kOptimal
        s = self._solver.getSolution()
        n, m = len(self.program.names), len(self.program.rows)
        return Answer(
            np.array(s.col_value) if feasible else np.zeros(n),
            np.array(s.col_dual) if feasible else np.zeros(n),
            np.array(s.row_dual) if feasible else np.zeros(m),
            float(self._solver.getInfo().objective_function_value),
            feasible,
        )

    def _capped(self, values: Floats) -> Floats:
        return np.clip(values, -self._infinity, self._infinity)
