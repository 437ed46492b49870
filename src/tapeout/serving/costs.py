"""What a step costs a replica: seconds and joules by what is in it, tabulated once from the estimate.

A step holds `decodes` sequences of mean cached `context`, and `chunk` new prompt tokens that see
`visible` earlier tokens each on average. The estimate is evaluated over a grid of these four and
interpolated multilinearly, so that a step costs microseconds, and so that between two nodes of
the context axis the time of a decode step is affine in the context: a run of decode steps has a closed form
that equals the sum over its steps.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError
from tapeout.workload.operators import Step

Array = NDArray[np.float64]
Evaluate = Callable[[Step], tuple[Array, Array]]  # step of arrays → (seconds, joules), same shape
Coefficients = tuple[float, ...]


@dataclass(frozen=True)
class Segment:
    """Decode steps of a fixed batch while the mean context stays below `end`:
    seconds = seconds0 + seconds1 × context, joules likewise."""

    end: float
    seconds0: float
    seconds1: float
    joules0: float
    joules1: float


@dataclass(repr=False, eq=False)
class StepCosts:
    """Seconds and joules of a step, by multilinear interpolation on the grid of the four axes.

    seconds, joules: [decodes, context, chunk, visible]. Beyond the last node of an axis the last cell is
    extended.
    """

    decodes: list[float]
    context: list[float]
    chunk: list[float]
    visible: list[float]
    seconds: Array
    joules: Array
    idle_watts: float = 0.0
    _cells: dict[tuple[int, int, int, int], tuple[Coefficients, Coefficients]] = field(default_factory=dict)
    _segments: dict[int, tuple[list[float], list[Segment]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(len(axis) for axis in self.axes)
        for name, table in (("seconds", self.seconds), ("joules", self.joules)):
            if table.shape != shape or min(shape) < 2:
                raise InputError("step costs", name, table.shape, f"{shape}, two nodes or more an axis")
            if not np.all(np.isfinite(table)) or np.any(table < 0):
                raise InputError(
                    "step costs", name, "infinite, NaN or negative entries", "finite numbers from 0"
                )

    @property
    def axes(self) -> tuple[list[float], ...]:
        """The nodes: decodes, context, chunk, visible."""
        return self.decodes, self.context, self.chunk, self.visible

    def segment(self, decodes: int, context: float) -> Segment:
        """The affine piece that a decode-only step of `decodes` sequences at mean `context` lies on."""
        found = self._segments.get(decodes)
        if found is None:
            found = self._segments[decodes] = self._make_segments(decodes)
        nodes, segments = found
        return segments[bisect_right(nodes, context)]

    def _make_segments(self, decodes: int) -> tuple[list[float], list[Segment]]:
        i = _cell(self.decodes, decodes)
        low, high = self.decodes[i], self.decodes[i + 1]
        share = (decodes - low) / (high - low)
        # [2, context]: seconds and joules at this batch, no prefill
        at = [t[i, :, 0, 0] * (1 - share) + t[i + 1, :, 0, 0] * share for t in (self.seconds, self.joules)]
        segments = []
        for j in range(len(self.context) - 1):
            width = self.context[j + 1] - self.context[j]
            s1, e1 = ((float(v[j + 1]) - float(v[j])) / width for v in at)
            s0, e0 = float(at[0][j]) - s1 * self.context[j], float(at[1][j]) - e1 * self.context[j]
            end = self.context[j + 1] if j + 2 < len(self.context) else float("inf")
            segments.append(Segment(end, s0, s1, e0, e1))
        return self.context[1:-1], segments

    def step(self, decodes: float, context: float, chunk: float, visible: float) -> tuple[float, float]:
        """(seconds, joules) of one step."""
        cell = (
            _cell(self.decodes, decodes),
            _cell(self.context, context),
            _cell(self.chunk, chunk),
            _cell(self.visible, visible),
        )
        found = self._cells.get(cell)
        if found is None:
            found = self._cells[cell] = (self._fit(self.seconds, cell), self._fit(self.joules, cell))
        s, e = found
        return _polynomial(s, decodes, context, chunk, visible), _polynomial(
            e, decodes, context, chunk, visible
        )

    def _fit(self, table: Array, cell: tuple[int, int, int, int]) -> Coefficients:
        """The 16 coefficients of the multilinear polynomial through the corners of a cell, in the order of
        the exponents (decodes, context, chunk, visible) counted in binary."""
        corners = table[tuple(np.ix_(*[(i, i + 1) for i in cell]))].astype(np.float64)
        for number, (axis, i) in enumerate(zip(self.axes, cell, strict=True)):
            low, high = axis[i], axis[i + 1]
            # value at low and high → coefficients of 1 and of the coordinate
            change = np.array([[high, -low], [-1.0, 1.0]]) / (high - low)
            corners = np.moveaxis(np.tensordot(change, corners, axes=(1, number)), 0, number)
        return tuple(corners.ravel().tolist())


def _polynomial(c: Coefficients, x: float, y: float, z: float, w: float) -> float:
    """The multilinear polynomial with coefficients as `_fit` orders them, in nested form."""
    low = c[0] + c[1] * w + z * (c[2] + c[3] * w) + y * (c[4] + c[5] * w + z * (c[6] + c[7] * w))
    high = c[8] + c[9] * w + z * (c[10] + c[11] * w) + y * (c[12] + c[13] * w + z * (c[14] + c[15] * w))
    return low + x * high


def _cell(axis: list[float], x: float) -> int:
    return min(max(bisect_right(axis, x) - 1, 0), len(axis) - 2)


def nodes(high: float, first: float, ratio: float) -> list[float]:
    """0, `first`, then geometric steps of `ratio` up to and including `high`."""
    count = max(int(np.ceil(np.log(max(high / first, 1.0 + 1e-9)) / np.log(ratio))), 1)
    inner = first * (high / first) ** (np.arange(count + 1) / count) if high > first else np.array([first])
    return [0.0, *sorted({float(v) for v in inner})]


def whole_nodes(high: int, ratio: float = 1.3) -> list[float]:
    """Like `nodes` from 1, on whole numbers: batch sizes."""
    return sorted({float(round(v)) for v in nodes(high, 1.0, ratio)})


def tabulate(
    evaluate: Evaluate,
    max_sequences: int,
    max_context: int,
    max_chunk: int,
    idle_watts: float = 0.0,
    decode_tokens: float = 1.0,
) -> StepCosts:
    """`StepCosts` of whatever `evaluate` estimates, up to the given limits.

    `decode_tokens`: positions computed per decoding sequence and step (1 + drafts under speculation).
    `evaluate` gets one `Step` of flat arrays and returns (seconds, joules) of that shape.
    """
    axes = (
        whole_nodes(max_sequences),
        nodes(float(max_context), 64.0, 2.0),
        nodes(float(max_chunk), 16.0, 2.0),
        nodes(float(max_context), 64.0, 4.0),
    )
    grid = np.array(list(product(*axes))).T
    decodes, context, chunk, visible = grid
    chunk = np.where(
        (decodes == 0) & (chunk == 0), 1.0, chunk
    )  # an empty step costs what the smallest one does
    # new tokens see `visible` earlier ones on average: one chunk after visible - chunk/2 cached tokens, or,
    # where that is less than the chunk's own triangle, several short prompts
    alone = visible >= chunk / 2
    prompts = np.where(alone, 1.0, chunk / np.maximum(2 * visible, 1.0))
    prompts = np.where(chunk > 0, np.maximum(prompts, 1.0), 0.0)
    seconds, joules = evaluate(
        Step(
            decode_sequences=decodes,
            decode_context=np.where(decodes > 0, context, 0.0),
            decode_tokens=decode_tokens,
            prefill_sequences=prompts,
            prefill_tokens=chunk / np.maximum(prompts, 1.0),
            prefill_context=np.where(alone & (chunk > 0), visible - chunk / 2, 0.0),
        )
    )
    shape = tuple(len(axis) for axis in axes)
    full = np.broadcast_to(np.asarray(seconds, float), decodes.shape).copy()
    energy = np.broadcast_to(np.asarray(joules, float), decodes.shape).copy()
    return StepCosts(*axes, full.reshape(shape), energy.reshape(shape), idle_watts)


def affine(
    base: float, per_decode: float = 0.0, per_context: float = 0.0, per_chunk: float = 0.0, watts: float = 0.0
) -> StepCosts:
    """Costs given by hand, for queueing theory and tests: a step takes base + per_decode × sequences +
    per_context × total context + per_chunk × new tokens."""

    def evaluate(step: Step) -> tuple[Array, Array]:
        b, k = np.asarray(step.decode_sequences), np.asarray(step.decode_context)
        chunk = np.asarray(step.prefill_sequences) * np.asarray(step.prefill_tokens)
        seconds = base + per_decode * b + per_context * b * k + per_chunk * chunk
        return seconds, seconds * watts

    return tabulate(evaluate, 4, 1 << 20, 1 << 20)
