"""The matrix engine against its twin: random commands under random pressure; and how busy it keeps its units."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.matrix_engine import FIRST_RESULT, Command, MatrixEngine, Twin
from tapeout.numerics.formats import MXFP4, nibbles
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import Run, Simulation, pack, simulate

pytestmark = pytest.mark.verilator


class Feed:
    """Random operands for commands, as stream payloads, with the twin fed beside."""

    def __init__(self, engine: MatrixEngine, seed: int) -> None:
        self.engine, self.rng = engine, np.random.default_rng(seed)
        self.twin = Twin(engine.rows, engine.columns, engine.tiles, engine.ways)
        self.commands: list[int] = []
        self.activations: list[NDArray[np.uint32]] = []
        self.weights: list[NDArray[np.uint32]] = []
        self.results: list[NDArray[np.uint32]] = []

    def scales(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        wide = self.rng.integers(100, 156, shape)
        return np.where(self.rng.random(shape) < 0.01, self.rng.integers(0, 256, shape), wide).astype(
            np.uint8
        )

    def add(self, c: Command, check: bool = True) -> None:
        e, rng = self.engine, self.rng
        words = e.columns * e.ways
        self.commands.append(c.pack(e))
        for step in range(c.steps):
            a = rng.integers(-128, 128, (c.rows, 32)).astype(np.int8)
            a_scale = self.scales((c.rows,))
            self.activations.append(payloads(a.view(np.uint8), a_scale[:, None]))
            shape = (c.groups, c.tiles)
            codes = rng.integers(0, 256, (*shape, e.columns, e.codes_bits // 8), dtype=np.uint8)
            w_scale = self.scales((*shape, e.columns, e.ways))
            flat = c.groups * c.tiles
            self.weights.append(payloads(codes.reshape(flat, -1), w_scale.reshape(flat, -1)))
            if not check:
                continue
            # to output order: way-major
            if c.int8:
                w = np.zeros((*shape, e.ways, e.columns, 32), np.int64)
                w[:, :, 0] = codes.view(np.int8)
            else:
                w = np.moveaxis(
                    MXFP4.table[nibbles(codes)].reshape(*shape, e.columns, -1, 32)[..., : e.ways, :], 3, 2
                )
            self.twin.step(
                c, step == 0, a, a_scale, w.reshape(*shape, words, 32),
                np.moveaxis(w_scale, 3, 2).reshape(*shape, words),
            )  # fmt: skip
        if c.drain and check:
            self.results.append(self.twin.drain(c))

    def run(self, sim: Simulation, transfers: int, **pressure: float | int) -> Run:
        inputs = {
            "command": pack(self.commands, len_of(sim, "command")),
            "activations": np.concatenate(self.activations),
            "weights": np.concatenate(self.weights),
        }
        return sim.run(inputs, {"results": transfers}, **pressure)  # type: ignore[arg-type]


def len_of(sim: Simulation, name: str) -> int:
    return sim.ports[f"{name}__payload"][1]


def payloads(codes: NDArray[np.uint8], scales: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Bytes of codes then scales, as the layouts have them, padded to words."""
    raw = np.concatenate([codes, scales.reshape(len(scales), -1)], axis=1)
    raw = np.pad(raw, [(0, 0), (0, -raw.shape[1] % 4)])
    return np.ascontiguousarray(raw).view(np.uint32)


def random_command(rng: np.random.Generator, e: MatrixEngine, bank: int, holds: Command | None) -> Command:
    rows = int(rng.integers(1, e.rows + 1))
    keep = holds is not None and bool(rng.random() < 0.7)
    int8 = ("mxfp4" not in e.formats) or (len(e.formats) == 2 and bool(rng.random() < 0.5))
    tiles = int(rng.integers(1, e.tiles + 1))
    if keep and holds is not None:  # what was not accumulated yet would be undefined
        rows, tiles, int8 = min(rows, holds.rows), min(tiles, holds.tiles), holds.int8
    return Command(
        steps=int(rng.integers(1, 7)), tiles=tiles, rows=rows, height=int(rng.integers(1, rows + 1)), bank=bank,
        keep=keep, drain=bool(rng.random() < 0.7), int8=int8,
    )  # fmt: skip


ENGINES = {
    "both": MatrixEngine(3, 2, 4),
    "int8": MatrixEngine(2, 1, 1, ("mxint8",), 1),
    "fp4": MatrixEngine(1, 2, 2, ("mxfp4",), 2),
    "tall": MatrixEngine(10, 1, 16, ("mxint8",), 1),
}


@pytest.mark.parametrize(
    ("name", "offer", "accept"),
    [("both", 1.0, 1.0), ("both", 0.5, 0.4), ("int8", 0.9, 0.9), ("fp4", 0.8, 1.0), ("tall", 0.9, 0.8)],
)
def test_random_commands_equal_the_twin(name: str, offer: float, accept: float) -> None:
    engine = ENGINES[name]
    feed = Feed(engine, seed=len(name))
    rng = np.random.default_rng(5)
    held: dict[int, Command] = {}
    for _ in range(120):
        bank = int(rng.integers(0, 2))
        c = random_command(rng, engine, bank, held.get(bank))
        feed.add(c)
        if c.keep and (h := held[bank]) and (c.rows, c.tiles) != (h.rows, h.tiles):
            c = Command(**{**c.__dict__, "rows": min(c.rows, h.rows), "tiles": min(c.tiles, h.tiles)})
        held[bank] = c
    want = np.concatenate(feed.results)
    run = feed.run(simulate(engine), len(want), offer=offer, accept=accept, seed=11)
    got = run["results"][:, : want.shape[1]]
    assert (got == want).all(), np.argwhere((got != want).any(axis=1))[:10, 0]
    rest = run["results"][:, -1]
    row_bits = max(1, (engine.rows - 1).bit_length())
    rows, last = rest & ((1 << row_bits) - 1), rest >> (row_bits + max(1, (engine.tiles - 1).bit_length()))
    assert last.sum() == len(feed.results)
    assert rows.max() == engine.rows - 1


def test_split_contraction_at_batch_one() -> None:
    """Batch 1 over three rows: each row its own blocks, three partial sums, a third of the steps."""
    engine = ENGINES["both"]
    feed = Feed(engine, seed=9)
    feed.add(Command(steps=5, tiles=2, rows=3, height=1))
    want = np.concatenate(feed.results)
    run = feed.run(simulate(engine), len(want))
    assert (run["results"][:, : want.shape[1]] == want).all()


@pytest.mark.parametrize("int8", [False, True])
def test_busy_on_a_large_product(int8: bool) -> None:
    """Operands always there: commands, steps and drains follow one another without a gap."""
    engine = ENGINES["both"]
    feed = Feed(engine, seed=1)
    for i in range(12):
        feed.add(Command(steps=40, tiles=4, rows=3, height=3, bank=i % 2, int8=int8), check=False)
    run = feed.run(simulate(engine), 12 * 3 * 4)
    beats = run.stamps["weights"]
    assert len(beats) == 12 * 40 * 4
    busy = len(beats) / (beats[-1] - beats[0] + 1)
    assert busy == 1.0, busy
    assert run.stamps["results"][-12] - beats[-1] == FIRST_RESULT


def test_busy_on_as_many_tiles_as_rows() -> None:
    """Rows load one a cycle, beside the beats of as many tiles: ten rows, ten of sixteen tiles, every cycle a beat."""
    engine = ENGINES["tall"]
    feed = Feed(engine, seed=1)
    for i in range(4):
        feed.add(Command(steps=20, tiles=10, rows=10, height=10, bank=i % 2, int8=True), check=False)
    beats = feed.run(simulate(engine), 4 * 10 * 10).stamps["weights"]
    assert beats[-1] - beats[0] + 1 == len(beats) == 4 * 20 * 10


def test_the_second_way_keeps_its_sums_while_weights_are_mxint8() -> None:
    """An accumulator of the second way is not written by an MXINT8 product into the first."""
    engine = ENGINES["both"]
    feed = Feed(engine, seed=4)
    words = engine.columns
    feed.add(Command(steps=2, tiles=2, rows=2, height=2, drain=False))
    second = feed.twin.accumulators[0].reshape(engine.rows, engine.tiles, engine.ways, words)[:, :, 1].copy()
    feed.add(Command(steps=2, tiles=2, rows=2, height=2, keep=True, drain=False, int8=True))
    feed.twin.accumulators[0].reshape(engine.rows, engine.tiles, engine.ways, words)[:, :, 1] = second
    feed.add(Command(steps=1, tiles=2, rows=2, height=2, keep=True))
    want = np.concatenate(feed.results)
    run = feed.run(simulate(engine), len(want))
    assert (run["results"][:, : want.shape[1]] == want).all()


def test_short_rounds_wait_for_the_adder() -> None:
    """One tile and one group: a block every LOOP cycles; two groups of one row: twice as many."""
    engine = ENGINES["both"]
    for rows, height, expected in ((1, 1, 4), (2, 1, 2)):
        feed = Feed(engine, seed=2)
        feed.add(Command(steps=50, tiles=1, rows=rows, height=height))
        want = np.concatenate(feed.results)
        run = feed.run(simulate(engine), len(want))
        assert (run["results"][:, : want.shape[1]] == want).all()
        beats = run.stamps["weights"]
        assert (beats[-1] - beats[0]) / (len(beats) - 1) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("name", list(ENGINES))
def test_lint(name: str) -> None:
    assert lint(verilog(ENGINES[name])) == []
