"""The blocks of one configuration against their twins: the arithmetic of its lanes and units, its matrix engine
(up to 2 × 2 of its units), its reductions, its scratchpad. What `tapeout build --check` runs; the tests of each
block go deeper, and over other configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa import timing
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.rtl import fp32_add, fp32_mul, function_unit, quantiser, reducer, topk
from tapeout.chip.rtl.block import Block, verilog
from tapeout.chip.rtl.core import Core
from tapeout.chip.rtl.greatest import Greatest
from tapeout.chip.rtl.matrix_engine import Command, MatrixEngine, Twin
from tapeout.chip.rtl.scratchpad import Scratchpad
from tapeout.chip.verification.programs.layout import SPECIAL
from tapeout.errors import DoesNotHold
from tapeout.numerics import fp32, vector
from tapeout.numerics.formats import BLOCK, MXFP4, nibbles
from tapeout.simulator.rtl.simulation import pack, simulate, unpack

QUICK = "-O0"  # of the C++ compiler, for large blocks that run for little
U32 = NDArray[np.uint32]
Check = Callable[[np.random.Generator], int]  # returns how many results were compared; raises DoesNotHold


def checks(core: Core) -> dict[str, Check]:
    """Name → what compares the block with its twin, for the blocks of `core`."""
    spec = core.core
    g = Geometry.of(spec)
    lanes = spec.vector_lanes
    reduced = timing.reduced(lanes)
    made: dict[str, Check] = {
        "FP32 adder": lambda rng: _pairs(rng, fp32_add.Fp32Add(), fp32_add),
        "FP32 multiplier": lambda rng: _pairs(rng, fp32_mul.Fp32Mul(), fp32_mul),
        "function unit": _functions,
        f"quantiser of {min(lanes, BLOCK)} lanes": lambda rng: _quantiser(rng, min(lanes, BLOCK)),
        f"sums of {reduced} lanes": lambda rng: _rows(rng, reducer.Reducer(reduced), reduced, reducer.twin),
        f"maxima of {reduced} lanes": lambda rng: _rows(
            rng, Greatest(reduced), reduced, lambda x: int(fp32.bits(vector.greatest(fp32.from_bits(x))))
        ),
        "top-k": _topk,
        "matrix engine": lambda rng: _matrix(rng, g, spec.matrix.lanes),
        "scratchpad": lambda rng: _scratchpad(rng, core.pad),
    }
    return made


def floats(rng: np.random.Generator, n: int) -> U32:
    """FP32 bits of every kind, half of them of moderate exponents."""
    x = rng.integers(0, 1 << 32, n, dtype=np.uint32)
    tame = (x & np.uint32(0x807FFFFF)) | (rng.integers(110, 140, n) << 23).astype(np.uint32)
    x = np.where(rng.random(n) < 0.5, tame, x)
    special = np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)])
    return np.where(rng.random(n) < 0.1, rng.choice(special, n), x).astype(np.uint32)


def _differ(got: Any, want: Any, show: Callable[[int], str]) -> int:
    """Count of what was compared. Raises DoesNotHold with the first difference."""
    wrong = np.flatnonzero(np.asarray(got) != np.asarray(want))
    if len(wrong):
        raise DoesNotHold(f"{len(wrong)} of {len(got)} results differ, first: {show(int(wrong[0]))}")
    return len(got)


def _pairs(rng: np.random.Generator, block: Block, module: Any) -> int:
    a, b = floats(rng, 100_000), floats(rng, 100_000)
    near = ((a & np.uint32(0xFF800000)).astype(np.int64) + (rng.integers(-26, 27, len(a)) << 23)) & 0xFF800000
    b = np.where(rng.random(len(a)) < 0.5, near.astype(np.uint32) | (b & np.uint32(0x807FFFFF)), b)
    got = simulate(verilog(block)).table({"a": a, "b": b}, ["y"], module.LATENCY)["y"]
    want = module.twin(a, b)
    return _differ(got, want, lambda i: f"{a[i]:08x}, {b[i]:08x}: {got[i]:08x}, not {want[i]:08x}")


def _functions(rng: np.random.Generator) -> int:
    x = floats(rng, 100_000)
    function = rng.integers(0, 4, len(x)).astype(np.uint32)
    got = simulate(function_unit.FunctionUnit()).table(
        {"x": x, "function": function}, ["y"], function_unit.LATENCY
    )["y"]
    want = np.zeros_like(got)
    for k in range(4):
        want[function == k] = function_unit.twin(k, x[function == k])
    return _differ(
        got, want, lambda i: f"function {function[i]} of {x[i]:08x}: {got[i]:08x}, not {want[i]:08x}"
    )


def _quantiser(rng: np.random.Generator, lanes: int) -> int:
    n = 2000
    x = floats(rng, n * BLOCK).reshape(n, BLOCK)
    field = np.clip(rng.integers(0, 255, (n, 1)) - np.abs(rng.normal(0, 3, x.shape).astype(int)), 0, 254)
    close = (x & np.uint32(0x807FFFFF)) | (field << 23).astype(np.uint32)
    x = np.where(rng.random((n, 1)) < 0.8, close, x).astype(np.uint32)
    fp4 = rng.integers(0, 2, n)
    beats, pad = x.reshape(-1, lanes), 48
    inputs = {
        "x": np.concatenate([beats, np.zeros((pad, lanes), np.uint32)]),
        "valid": np.repeat([1, 0], [len(beats), pad]),
        "fp4": np.concatenate([np.repeat(fp4, BLOCK // lanes), np.zeros(pad, int)]),
    }
    got = simulate(quantiser.Quantiser(lanes)).table(inputs, ["codes", "scale", "codes_valid"])
    out = got["codes_valid"] == 1
    codes = np.ascontiguousarray(got["codes"][out]).view(np.uint8).reshape(n, BLOCK)
    scales = got["scale"][out].reshape(n, -1)[:, 0]
    for kind in (0, 1):
        want, want_scales = quantiser.twin(x[fp4 == kind], bool(kind))
        mine = np.concatenate([codes[fp4 == kind].ravel(), scales[fp4 == kind]])
        theirs = np.concatenate([want.ravel(), want_scales.ravel()])
        _differ(mine, theirs, lambda i, k=kind: f"{('MXINT8', 'MXFP4')[k]}, place {i}")  # type: ignore[misc]
    return n


def reduced_beat(row: U32, start: int, lanes: int, which: int = 0, field: int = 0) -> int:
    """A beat of `Reducer` or `Greatest`: the row's elements from `start` on; `which` row of those in turn it is, in
    `field` bits."""
    part = row[start : start + lanes]
    words = sum(int(w) << 32 * k for k, w in enumerate(part))
    flags = (1 << len(part)) - 1 | which << lanes | (start + lanes >= len(row)) << lanes + field
    return words | flags << 32 * lanes


def _rows(rng: np.random.Generator, block: Block, lanes: int, twin: Callable[[U32], int]) -> int:
    """Groups of rows of one length in turn, as many as the block sums together."""
    together = getattr(block, "rows", 1)
    field = (together - 1).bit_length()
    rows, beats = [], []
    for _ in range(300 // together):
        n = int(rng.integers(0, 150))
        group = [floats(rng, n) for _ in range(together)]
        rows += group
        for i in range(0, max(n, 1), lanes):
            beats += [reduced_beat(row, i, lanes, k, field) for k, row in enumerate(group)]
    sim = simulate(block)
    payload = pack(beats, sim.ports["x__payload"][1])
    got = sim.run({"x": payload}, {"y": len(rows)}, offer=0.8, accept=0.6, seed=4)["y"]
    want = np.array([twin(x) for x in rows], np.uint32)
    return _differ(got, want, lambda i: f"row of {len(rows[i])}: {got[i]:08x}, not {want[i]:08x}")


def _topk(rng: np.random.Generator) -> int:
    k = 8
    sim = simulate(topk.TopK(k))
    rows = [floats(rng, int(rng.integers(1, 60))) for _ in range(150)]
    sim.poke("count", k - 1)
    beats = [int(w) | (i == len(row) - 1) << 32 for row in rows for i, w in enumerate(row)]
    want = [int(i) for row in rows for i in topk.twin(row, k)]
    run = sim.run({"x": pack(beats, 33)}, {"y": len(want)}, offer=0.8, accept=0.6, seed=2)
    got = [v & (1 << topk.INDEX_BITS) - 1 for v in unpack(run["y"])]
    return _differ(got, want, lambda i: f"result {i}: index {got[i]}, not {want[i]}")


def _matrix(rng: np.random.Generator, g: Geometry, lanes: int) -> int:
    e = MatrixEngine(min(g.rows, 2), min(g.columns, 2), g.tiles, g.formats, g.ways, lanes)
    twin = Twin(e.rows, e.columns, e.tiles, e.ways)
    words = e.columns * e.ways
    commands, activations, weights, results = [], [], [], []

    def scales(*shape: int) -> NDArray[np.uint8]:
        any_, middle = rng.integers(0, 256, shape), rng.integers(100, 156, shape)
        return np.where(rng.random(shape) < 0.01, any_, middle).astype(np.uint8)

    def payload(codes: NDArray[np.uint8], scale: NDArray[np.uint8]) -> U32:
        raw = np.concatenate([codes.reshape(len(codes), -1), scale.reshape(len(scale), -1)], axis=1)
        return np.ascontiguousarray(np.pad(raw, [(0, 0), (0, -raw.shape[1] % 4)])).view(np.uint32)

    for i in range(30):
        rows, tiles = int(rng.integers(1, e.rows + 1)), int(rng.integers(1, e.tiles + 1))
        int8 = "mxfp4" not in e.formats or ("mxint8" in e.formats and bool(rng.integers(0, 2)))
        c = Command(steps=int(rng.integers(1, 5)), tiles=tiles, rows=rows, height=int(rng.integers(1, rows + 1)),
                    bank=i % 2, keep=False, drain=True, int8=int8)  # fmt: skip
        commands.append(c.pack(e))
        shape = (c.groups, c.tiles)
        for step in range(c.steps):
            a, a_scale = rng.integers(-128, 128, (rows, BLOCK)).astype(np.int8), scales(rows)
            codes = rng.integers(0, 256, (*shape, e.columns, e.codes_bits // 8), dtype=np.uint8)
            w_scale = scales(*shape, e.columns, e.ways)
            activations.append(payload(a.view(np.uint8), a_scale))
            flat = c.groups * c.tiles
            weights.append(payload(codes.reshape(flat, -1), w_scale.reshape(flat, -1)))
            w: NDArray[Any] = np.zeros((*shape, e.ways, e.columns, BLOCK), np.int64)
            if int8:
                w[:, :, 0] = codes.view(np.int8)
            else:
                values = MXFP4.table[nibbles(codes)].reshape(*shape, e.columns, -1, BLOCK)
                w = np.moveaxis(values[..., : e.ways, :], 3, 2)
            twin.step(c, step == 0, a, a_scale, w.reshape(*shape, words, BLOCK),
                      np.moveaxis(w_scale, 3, 2).reshape(*shape, words))  # fmt: skip
        results.append(twin.drain(c))
    want = np.concatenate(results)
    sim = simulate(e, optimise=QUICK)
    inputs = {
        "command": pack(commands, sim.ports["command__payload"][1]),
        "activations": np.concatenate(activations), "weights": np.concatenate(weights),
    }  # fmt: skip
    run = sim.run(inputs, {"results": len(want)}, offer=0.9, accept=0.8, seed=3)
    got = run["results"].reshape(len(want), -1)[:, : want.shape[1]]
    return _differ(got.ravel(), want.ravel(), lambda i: f"transfer {i // words}, output {i % words}")


def _scratchpad(rng: np.random.Generator, pad: Scratchpad) -> int:
    """The core's own ports, each on rows of its own in all banks; those that only write are read by the first."""
    sim = simulate(pad, optimise=QUICK)
    sim.step(pad.depth)
    total = pad.banks * pad.depth
    both = [k for k, p in enumerate(pad.kinds) if p.reads and p.writes]
    sent, answers = {}, {}
    share = max(total // max(len(both), 1), 1)
    for n, k in enumerate(both):
        kind = pad.kinds[k]
        layout = kind.request(total, pad.word_bytes)
        low = -(-n * share // kind.words) * kind.words
        places = range(low, min(low + 24 * kind.words, (n + 1) * share - kind.words + 1), kind.words)
        held = dict.fromkeys(places, 0)
        ops, expected = [], []
        for _ in range(200):
            at = places[int(rng.integers(0, len(places)))]
            writes = bool(rng.integers(0, 2))
            mask = int(rng.integers(0, 1 << 62)) & ((1 << pad.granules * kind.words) - 1)
            value = int.from_bytes(rng.bytes(pad.word_bytes * kind.words), "little")
            fields = {
                "address": at,
                "write": writes,
                "mask": mask if writes else 0,
                "data": value if writes else 0,
            }
            ops.append(int(layout.const(fields).as_value().value))
            if writes:
                kept = sum((1 << 64) - 1 << 64 * i for i in range(pad.granules * kind.words) if mask >> i & 1)
                held[at] = (held[at] & ~kept) | (value & kept)
            else:
                expected.append(held[at])
        sent[f"request{k}"] = pack(ops, sim.ports[f"request{k}__payload"][1])
        answers[f"answer{k}"] = expected
    run = sim.run(sent, {k: len(v) for k, v in answers.items()}, offer=0.7, accept=0.6, seed=3)
    compared = 0
    for name, expected in answers.items():
        got = unpack(run[name])
        compared += _differ(
            np.array(got, object),
            np.array(expected, object),
            lambda i, x=name: f"{x}, answer {i}",  # type: ignore[misc]
        )
    if sim.peek("corrected") or sim.peek("uncorrectable"):
        raise DoesNotHold("wrong check bits without an injected error")
    return compared
