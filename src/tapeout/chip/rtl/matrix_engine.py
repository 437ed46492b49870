"""The matrix engine: rows × columns of dot-product units; activations held in rows, weights stream down columns.

A command is a product of up to `rows` rows of activations with up to tiles × columns × ways outputs. The
contraction is walked in *steps*: a step loads one 32-element block into each row, then streams the weights that
meet it, one word per column and cycle. A word goes down its column one row per cycle. Each unit keeps one
accumulator per tile (and way), so blocks of one output are `tiles` cycles apart and in increasing order; the
next step's activations load meanwhile, and a finished command's accumulators drain from their bank while
the next command fills the other.

Split contraction: with few rows of activations, `height` of them form a group and the rows hold several
groups, each a different block of the contraction. In a step the weights come group by group, and each word
reaches only its group. Every group's partial sum drains as rows of its own; the program adds them
(`numerics.product.Split`, interleaved).

Timing (cycles): an accumulator takes a block every LOOP cycles, so a step of g groups and t tiles takes
max(g·t, LOOP, rows loaded), back to back; a command's
first result appears on the stream FIRST_RESULT cycles after its last weight word went in, or when the drain
before it is done; then a row and tile per cycle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl import dot_unit
from tapeout.chip.rtl.accumulator_file import AccumulatorFile
from tapeout.chip.rtl.activation_row import ActivationRow
from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, awake, delay, place, register
from tapeout.chip.rtl.dot_unit import ACCUMULATE, LOOP, DotUnit
from tapeout.chip.rtl.weight_column import WeightColumn

# From the cycle a weight word is taken to the cycle its sum can be read in row 0: the column's register, the
# unit's, and the pipeline.
READABLE = 2 + ACCUMULATE + LOOP
READ = ACCUMULATE - 1  # from the unit's first register to the cycle its accumulator is read
FIRST_RESULT = READABLE + 2  # through the drain queue and the output register
STEP_BITS = 16


class MatrixEngine(Block):
    """Streams: `command`, `activations` (one row's block), `weights` (a word for every column), `results`.

    `results` carries columns × ways FP32 words (way-major: word way·columns + column is output
    tile·columns·ways + way·columns + column; with MXINT8 only way 0, the rest reads 0), with their row and
    tile, row after row. `active`: a weight word was taken in this cycle; `last_issued`: the last one of a command;
    `wants_weights`, `wants_activations`: it waited for one or the other.
    """

    def __init__(
        self,
        rows: int = 4,
        columns: int = 4,
        tiles: int = 8,
        formats: tuple[str, ...] = ("mxfp4", "mxint8"),
        ways: int = 2,
        lanes: int = 32,
    ) -> None:
        if tiles < 1 or tiles & (tiles - 1):
            raise ValueError(f"tiles {tiles} is not a power of two")
        self.rows, self.columns, self.tiles, self.lanes = rows, columns, tiles, lanes
        self.formats, self.ways = tuple(sorted(formats)), ways
        self.unit = DotUnit(self.formats, ways, lanes)
        self.column = WeightColumn(self.formats, ways, lanes)
        self.file = AccumulatorFile(2 * tiles, ways)
        self.row = ActivationRow(lanes)
        row, tile = bits_for_index(rows), bits_for_index(tiles)
        self.step_layout = data.StructLayout(
            {
                "tiles": tile,  # less one
                "rows": row,  # active rows less one
                "height": row,  # rows of a group less one
                "bank": 1,
                "keep": 1,  # add to what the bank holds instead of starting from +0
                "drain": 1,  # send the results after the last step
                "int8": 1,  # weights are MXINT8
            }
        )
        self.command_layout = data.StructLayout(
            {"steps": STEP_BITS, "step": self.step_layout}
        )  # steps less one
        self.codes_bits = len_codes = 8 * lanes if self.unit.halves == 2 else 4 * lanes
        super().__init__(
            {
                "command": In(stream.Signature(self.command_layout)),
                "activations": In(stream.Signature(data.StructLayout({"codes": 8 * lanes, "scale": 8}))),
                "weights": In(
                    stream.Signature(
                        data.StructLayout(
                            {
                                "codes": data.ArrayLayout(len_codes, columns),
                                "scales": data.ArrayLayout(8 * ways, columns),
                            }
                        )
                    )
                ),
                "results": Out(
                    stream.Signature(
                        data.StructLayout({"words": 32 * ways * columns, "row": row, "tile": tile, "last": 1})
                    )
                ),
                "active": Out(1),
                "last_issued": Out(1),
                "wants_weights": Out(1),
                "wants_activations": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"matrix_engine_{self.rows}x{self.columns}_{self.tiles}t_{self.unit.module_name[9:]}"

    def placed(self) -> Iterable[Block]:
        return (self.unit, self.column, self.file, self.row)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # from a row's load or a weight word to the last sum that comes of it
        self._at_work = awake(
            m, (self.activations.valid & self.command.valid) | self.active, self.rows + READABLE + LOOP + 4
        )
        rows_placed = [place(m, f"row{r}", self.row, self._at_work) for r in range(self.rows)]
        full, steps = self._load(m, rows_placed)
        token, request, busy = self._issue(m, full, steps)
        files = self._grid(m, token, rows_placed)
        self._drain(m, request, busy, files)
        return m

    def _load(self, m: Module, rows: list[Any]) -> tuple[Signal, Any]:
        """Fills the free slot of the rows; a full slot carries the step it is for."""
        full = Signal(2)  # cleared by the issuer
        steps = [Signal(self.described, name=f"step{i}", reset_less=True) for i in range(2)]
        slot, row, step = Signal(), Signal(bits_for_index(self.rows)), Signal(STEP_BITS)
        command = self.command.payload
        fire = Signal()
        m.d.comb += [
            self.activations.ready.eq(self.command.valid & ~Mux(slot, full[1], full[0])),
            fire.eq(self.activations.valid & self.activations.ready),
        ]
        last_row, last_step = row == command.step.rows, step == command.steps
        m.d.comb += self.command.ready.eq(fire & last_row & last_step)
        for r, placed in enumerate(rows):
            m.d.comb += [
                placed.load.eq(fire & (row == r)),
                placed.load_slot.eq(slot),
                placed.codes.eq(self.activations.payload.codes),
                placed.scale_in.eq(self.activations.payload.scale),
            ]
        with m.If(fire):
            m.d.sync += row.eq(Mux(last_row, 0, row + 1))
            with m.If(last_row):
                m.d.sync += [slot.eq(~slot), step.eq(Mux(last_step, 0, step + 1))]
                for i in range(2):
                    with m.If(slot == i):
                        m.d.sync += [
                            full[i].eq(1),
                            steps[i].of.eq(command.step),
                            steps[i].start.eq(step == 0),
                            steps[i].end.eq(last_step),
                        ]
        return full, steps

    @property
    def described(self) -> data.StructLayout:
        """A step as the issuer sees it: the command's, and whether it is the first and the last of it."""
        return data.StructLayout({"of": self.step_layout, "start": 1, "end": 1})

    @property
    def token_layout(self) -> data.StructLayout:
        """What travels down the rows beside a weight word."""
        return data.StructLayout(
            {"mask": self.rows, "index": self.file_index, "zero": 1, "int8": 1, "slot": 1, "valid": 1}
        )

    @property
    def file_index(self) -> int:
        """Bits that number an accumulator, over both sets."""
        return bits_for_index(2 * self.tiles)

    def _issue(self, m: Module, full: Signal, steps: list[Any]) -> tuple[Any, Any, Signal]:
        """Takes weight words for the oldest full slot; returns the token at the columns' top registers."""
        slot, tile, low = Signal(), Signal(bits_for_index(self.tiles)), Signal(bits_for_index(self.rows))
        busy = Signal(2)  # banks that are to be drained
        now = Signal(self.described)
        m.d.comb += now.eq(Mux(slot, steps[1].as_value(), steps[0].as_value()))
        above = Signal(range(2 * self.rows + 1))  # first row of the next group
        m.d.comb += above.eq(low + now.of.height + 1)
        token = Signal(self.token_layout, name="issued")
        mask = Cat(
            (low <= r if r + 1 < 1 << len(low) else Const(1, 1))
            & (r < above)
            & (r <= now.of.rows if r else 1)
            for r in range(self.rows)
        )
        m.d.comb += [
            token.mask.eq(mask),
            token.index.eq(Cat(tile, now.of.bank) if self.tiles > 1 else now.of.bank),
            token.zero.eq(now.start & ~now.of.keep),
            token.int8.eq(now.of.int8),
            token.slot.eq(slot),
        ]
        # an accumulator whose addition is still under way must not be read
        hazard = Cat(
            old.valid & (old.index == token.index) & (old.mask & token.mask).any()
            for old in self._history(m, token)
        ).any()
        spaced = ~hazard | token.zero
        ready, fire = Signal(), Signal()
        m.d.comb += [
            ready.eq(Mux(slot, full[1], full[0]) & spaced & ~Mux(now.of.bank, busy[1], busy[0])),
            self.weights.ready.eq(ready),
            fire.eq(ready & self.weights.valid),
            self.active.eq(fire),
            self.wants_weights.eq(ready & ~self.weights.valid),
            self.wants_activations.eq(~Mux(slot, full[1], full[0]) & self.command.valid),
        ]
        last_tile = tile == now.of.tiles
        last_beat = last_tile & (above > now.of.rows)
        finish = fire & last_beat & now.end & now.of.drain
        with m.If(fire):
            m.d.sync += tile.eq(Mux(last_tile, 0, tile + 1))
            with m.If(last_tile):
                m.d.sync += low.eq(Mux(last_beat, 0, above[: len(low)]))
            with m.If(last_beat):
                m.d.sync += slot.eq(~slot)
                for i in range(2):
                    with m.If(slot == i):
                        m.d.sync += full[i].eq(0)
        m.d.comb += self.last_issued.eq(fire & last_beat & now.end)
        with m.If(finish):
            for b in range(2):
                with m.If(now.of.bank == b):
                    m.d.sync += busy[b].eq(1)

        m.d.comb += token.valid.eq(fire)
        # the request to drain arrives when row 0's last sum can be read
        request = Signal(data.StructLayout({"of": self.step_layout, "valid": 1}), name="request")
        m.d.comb += [
            request.of.eq(delay(m, now.of.as_value(), READABLE)),
            request.valid.eq(delay(m, finish, READABLE, reset=True)),
        ]
        self._int8_now = now.of.int8
        return self._newest, request, busy

    def _history(self, m: Module, token: Any) -> list[Any]:
        """The tokens of the last LOOP - 1 cycles, newest first."""
        found = []
        for age in range(1, LOOP):
            kept = Signal(self.token_layout, name=f"age{age}", reset_less=True)
            valid = Signal(name=f"age{age}_valid")
            m.d.sync += [kept.eq(token), valid.eq(token.valid)]
            token = Signal(self.token_layout, name=f"aged{age}")
            m.d.comb += [token.eq(kept), token.valid.eq(valid)]
            found.append(token)
        self._newest = found[0]
        return found

    def _grid(self, m: Module, token: Any, rows: list[Any]) -> list[list[Any]]:
        """The columns' tops, the units, their accumulators, and the control that goes down beside the weights."""
        tops = []
        for c in range(self.columns):
            top = place(m, f"column{c}", self.column, self._at_work)
            m.d.comb += [
                top.codes.eq(self.weights.payload.codes[c]),
                top.scales_in.eq(self.weights.payload.scales[c]),
                top.int8.eq(self._int8_now),
            ]
            tops.append((top.digits, top.scales))
        files = []
        for r, row in enumerate(rows):
            m.d.comb += [row.select.eq(token.valid & token.mask[r]), row.slot.eq(token.slot)]
            here = Signal(self.token_layout, name=f"token{r}", reset_less=True)
            valid = Signal(name=f"valid{r}")
            m.d.sync += [here.eq(token), valid.eq(token.valid)]
            write = valid & here.mask[r]
            # the operand is read a cycle before the adder takes it
            early = delay(m, here.index, READ - 1, name=f"early_index{r}")
            index, zero = register(m, early, f"index{r}"), delay(m, here.zero, READ, name=f"zero{r}")
            before = delay(m, early, LOOP, name=f"early_write_index{r}")
            writes_next = delay(m, write, READ + LOOP - 1, reset=True, name=f"write{r}")
            second_next = delay(m, ~here.int8, READ + LOOP - 1, name=f"second{r}")
            enables = Cat(writes_next, writes_next & second_next)[: self.ways]
            write_index = register(m, before, f"write_index{r}")
            writes = delay(m, enables, 1, reset=True, name=f"writes{r}")
            forward = register(m, Mux(early == before, enables, 0), f"forward{r}")
            line = []
            for c in range(self.columns):
                unit = place(m, f"unit{r}_{c}", self.unit, self._at_work)
                file = place(m, f"file{r}_{c}", self.file, self._at_work)
                m.d.comb += [
                    unit.digits_in.eq(tops[c][0]),
                    unit.scales_in.eq(tops[c][1]),
                    unit.activations.eq(row.activations),
                    unit.triples.eq(row.triples),
                    unit.scale.eq(row.scale),
                    unit.int8.eq(here.int8),
                    file.index.eq(index),
                    file.zero.eq(zero),
                    file.forward.eq(forward),
                    unit.accumulator.eq(file.operand),
                    file.sums.eq(unit.sums),
                    file.write_index.eq(write_index),
                    file.write.eq(writes),
                ]
                tops[c] = (unit.digits, unit.scales)
                line.append(file)
            files.append(line)
            passed = Signal(self.token_layout, name=f"passed{r}")
            m.d.comb += [passed.eq(here), passed.valid.eq(valid)]
            token = passed
        return files

    def _drain(self, m: Module, request: Any, busy: Signal, files: list[list[Any]]) -> None:
        """Sends a bank, row after row and tile after tile, through one output register."""
        queue = [Signal(self.step_layout, name=f"queued{i}", reset_less=True) for i in range(2)]
        waiting = Signal(2)
        row, tile = Signal(bits_for_index(self.rows)), Signal(bits_for_index(self.tiles))
        out = self.results
        free, done = Signal(), Signal()
        bank = queue[0].bank
        index = Cat(tile, bank) if self.tiles > 1 else bank
        lines = []
        for line in files:
            for file in line:
                m.d.comb += file.drain_index.eq(index)
            words = [
                file.drained[32 * way : 32 * way + 32] if not way else
                Mux(queue[0].int8, 0, file.drained[32 * way : 32 * way + 32])
                for way in range(self.ways) for file in line
            ]  # fmt: skip
            lines.append(Cat(*words))
        last = (tile == queue[0].tiles) & (row == queue[0].rows)
        m.d.comb += [free.eq(~out.valid | out.ready), done.eq(waiting[0] & free & last)]
        with m.If(free):
            m.d.sync += out.valid.eq(waiting[0])
            with m.If(waiting[0]):
                m.d.sync += [
                    out.payload.words.eq(Array(lines + lines[:1] * (-len(lines) & (2 ** len(row) - 1)))[row]),
                    out.payload.row.eq(row),
                    out.payload.tile.eq(tile),
                    out.payload.last.eq(last),
                    tile.eq(Mux(tile == queue[0].tiles, 0, tile + 1)),
                ]
                with m.If(tile == queue[0].tiles):
                    m.d.sync += row.eq(Mux(last, 0, row + 1))
        with m.If(done):
            m.d.sync += [queue[0].eq(queue[1]), waiting.eq(waiting >> 1)]
            for b in range(2):
                with m.If(bank == b):
                    m.d.sync += busy[b].eq(0)
        with m.If(request.valid):
            with m.If((waiting == 0) | ((waiting == 1) & done)):
                m.d.sync += [queue[0].eq(request.of), waiting[0].eq(1)]
            with m.Else():
                m.d.sync += [queue[1].eq(request.of), waiting[1].eq(1)]


@dataclass(frozen=True)
class Command:
    """A command as software writes it; the counts are counts, not less one."""

    steps: int
    tiles: int
    rows: int
    height: int
    bank: int = 0
    keep: bool = False
    drain: bool = True
    int8: bool = False

    def pack(self, engine: MatrixEngine) -> int:
        """The payload of the command stream."""
        step = {
            "tiles": self.tiles - 1, "rows": self.rows - 1, "height": self.height - 1, "bank": self.bank,
            "keep": self.keep, "drain": self.drain, "int8": self.int8,
        }  # fmt: skip
        constant = engine.command_layout.const({"steps": self.steps - 1, "step": step})
        return int(constant.as_value().value)

    @property
    def groups(self) -> int:
        """Parts of the contraction that are in the rows at a time."""
        return -(-self.rows // self.height)


class Twin:
    """What the engine computes: accumulators by bank, row and output, fed step by step."""

    def __init__(self, rows: int, columns: int, tiles: int, ways: int) -> None:
        self.columns, self.ways = columns, ways
        self.words = columns * ways
        self.accumulators = np.zeros((2, rows, tiles * self.words), np.uint32)

    def step(
        self,
        command: Command,
        first: bool,
        activations: NDArray[np.int8],
        scales: NDArray[np.integer],
        weights: NDArray[np.integer],
        weight_scales: NDArray[np.integer],
    ) -> None:
        """One step: activations [rows, 32] with scales [rows]; weights [groups, tiles, words, 32], as integers."""
        for row in range(command.rows):
            group = row // command.height
            for tile in range(command.tiles):
                at = slice(tile * self.words, (tile + 1) * self.words)
                acc = self.accumulators[command.bank, row, at]
                if first and not command.keep:
                    acc = np.zeros_like(acc)
                n = len(acc)
                self.accumulators[command.bank, row, at] = dot_unit.twin(
                    np.repeat(activations[row : row + 1], n, axis=0), np.repeat(scales[row], n),
                    weights[group, tile], weight_scales[group, tile], 6 if command.int8 else 1, acc,
                )  # fmt: skip

    def drain(self, command: Command) -> NDArray[np.uint32]:
        """The results in the order of the stream: [rows × tiles, words]; what MXINT8 does not make reads 0."""
        words = self.accumulators[command.bank, : command.rows, : command.tiles * self.words]
        words = words.reshape(command.rows * command.tiles, self.words).copy()
        if command.int8:
            words[:, self.columns :] = 0
        return words
