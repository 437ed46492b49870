"""Tables of a library side by side, so that many different ones are interpolated in one array operation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.physical.synthesis.library import Table

Real = NDArray[np.float64]
Index = NDArray[np.int64]


class Tables:
    """All tables of a library padded to one shape, interpolated together."""

    def __init__(self) -> None:
        self.seen: dict[int, int] = {}
        self.tables: list[Table] = []

    def index(self, table: Table) -> int:
        """Its number."""
        if id(table) not in self.seen:
            self.seen[id(table)] = len(self.tables)
            self.tables.append(table)
        return self.seen[id(table)]

    def seal(self) -> None:
        """Make the arrays; no more tables after this."""
        n = max([2, *(len(t.x) for t in self.tables)])
        k = max([2, *(len(t.y) for t in self.tables)])
        count = len(self.tables)
        self.x, self.y = np.full((count, n), np.inf), np.full((count, k), np.inf)
        self.values = np.zeros((count, n, k))
        for i, t in enumerate(self.tables):
            self.x[i, : len(t.x)], self.y[i, : len(t.y)] = t.x, t.y
            self.values[i, : len(t.x), : len(t.y)] = t.values
        # a table without an axis is as if it did not depend on it: index 0, weight 0
        self.one_x = np.array([len(t.x) == 1 for t in self.tables])
        self.one_y = np.array([len(t.y) == 1 for t in self.tables])
        self.last_x = np.array([max(len(t.x) - 2, 0) for t in self.tables])
        self.last_y = np.array([max(len(t.y) - 2, 0) for t in self.tables])

    def look_up(self, which: Index, x: Real, y: Real) -> Real:
        """Interpolated values, one per element."""
        i = np.minimum((x[:, None] >= self.x[which, 1:]).sum(axis=1), self.last_x[which])
        j = np.minimum((y[:, None] >= self.y[which, 1:]).sum(axis=1), self.last_y[which])
        i1, j1 = np.where(self.one_x[which], 0, i + 1), np.where(self.one_y[which], 0, j + 1)
        x0, y0 = self.x[which, i], self.y[which, j]
        u = np.where(self.one_x[which], 0.0, (x - x0) / np.where(i1 == i, 1.0, self.x[which, i1] - x0))
        v = np.where(self.one_y[which], 0.0, (y - y0) / np.where(j1 == j, 1.0, self.y[which, j1] - y0))
        z = self.values
        return (
            (1 - u) * (1 - v) * z[which, i, j]
            + u * (1 - v) * z[which, i1, j]
            + u * v * z[which, i1, j1]
            + (1 - u) * v * z[which, i, j1]
        )
