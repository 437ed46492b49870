"""The vector engine's walk over rows and passes: what to read, and what to make of it when it comes.

A pass is what the lanes take at once. It consists of steps of a cycle; a step asks up to one word of each read port and
leaves a description for the operands (`vector_operands`), so the walk runs ahead of the answers.

| instruction | steps of a pass: first port, second port |
|---|---|
| others | a, b |
| vselect | a, b; out |
| vrope, pairs (2i, 2i + 1) | a, cosines; sines |
| vrope, pairs (i, i + half): two passes | lower channels, cosines; upper channels, sines; two without a word |

Reductions have passes of as many elements as the reducers take. Sums of more than eight lanes go through several rows
in turn, a pass of each, as the adders need it (`timing.together`): rows join in the turn of first passes, `places` hold
where each goes on, and the turns go on until the rows, which are equally long, end.

An operand that crosses a boundary of the port's word (more than 8 lanes, and an address that is not a multiple of
a pass) takes a step more, for its first part. The row after the one under way is always ready, so that rows follow
without a gap. A row that is not in the scratchpad stops the engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import REGISTER_BITS
from tapeout.chip.rtl import reducer
from tapeout.chip.rtl.bits import bits_for_index, increment
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.fall_through import FallThrough
from tapeout.chip.rtl.vector_command import CONTROL, Kind, Second, Size, prepared
from tapeout.numerics.formats import BLOCK

FRACTION = (
    BLOCK - 1
).bit_length()  # of the second operand's address: a pass may need part of a scale's block
POSITION = REGISTER_BITS + 2  # bits of a position relative to a window's edge


def block_bytes(lanes: int, word_bytes: int) -> int:
    """Bytes that a read or write port moves at once."""
    return max(4 * lanes, word_bytes, BLOCK)


def description(lanes: int, pad_bytes: int, port_bytes: int) -> data.StructLayout:
    """What a step's answers are: `take` from which port; `part`: they are first parts, to be kept; `split`: they are
    second parts; `fire`: the lanes start, at `step` of the pass (`tail`: of what vrope passes); `first`, `last` pass
    of the row; `row`: which of those that are summed in turn; `count` elements; `low` ≤ lane < `high` are seen;
    addresses."""
    count = lanes.bit_length()
    return data.StructLayout(
        {
            "take": 2, "part": 1, "split": 2, "fire": 1, "step": 2, "tail": 1, "first": 1, "last": 1, "count": count,
            **reducer.row_field(lanes), "low": count, "high": count,
            "a": (pad_bytes - 1).bit_length() + 1, "b": (port_bytes - 1).bit_length(),
        }
    )  # fmt: skip


class VectorFetch(Block):
    """`load` (a `prepared` command's first row is made ready, while there is no walk), `start`
    (in that cycle or later: its walk begins in the next; `control` from then on) → `first`,
    `second`: addresses of words of a read port; `step`: descriptions. `walking`: rows are left; `ending`: the last
    step of the last row is in this cycle. `error`: a row beyond the scratchpad's end."""

    def __init__(self, lanes: int, pad_bytes: int, word_bytes: int) -> None:
        self.lanes, self.pad_bytes, self.word_bytes = lanes, pad_bytes, word_bytes
        self.port_bytes = block_bytes(lanes, word_bytes)
        self.words = self.port_bytes // word_bytes
        self.address_bits = (pad_bytes // word_bytes - 1).bit_length()
        self.layout = description(lanes, pad_bytes, self.port_bytes)
        super().__init__(
            {
                "command": In(prepared(pad_bytes)),
                "load": In(1),
                "start": In(1),
                "control": In(CONTROL),
                "first": Out(stream.Signature(self.address_bits)),
                "second": Out(stream.Signature(self.address_bits)),
                "step": Out(stream.Signature(self.layout)),
                "walking": Out(1),
                "ending": Out(1),
                "error": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"vector_fetch_{self.lanes}_{self.pad_bytes}_{self.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (FallThrough(self.address_bits),)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        c, x, lanes = self.command, self.control, self.lanes
        k = (self.pad_bytes - 1).bit_length()
        port = (self.port_bytes - 1).bit_length()
        pass_bytes = 4 * lanes

        # the row after this one, and what of the command holds throughout
        after = {
            n: Signal(REGISTER_BITS, name=f"after_{n}", reset_less=True) for n in ("a", "b", "out", "rows")
        }
        strides = {n: Signal(REGISTER_BITS, name=n, reset_less=True) for n in ("sa", "sb", "so")}
        names = (
            "n",
            "pad",
            "length_a",
            "length_b",
            "length_out",
            "check_a",
            "check_b",
            "half",
            "per",
            "large",
        )
        kept = {n: Signal(c[n].shape(), name=f"kept_{n}", reset_less=True) for n in names}
        low_row, high_row = (
            Signal(signed(POSITION), name=n, reset_less=True) for n in ("low_row", "high_row")
        )
        # rows of this token after this one; whether there are none, kept beside the count, as wide sums hang on it
        of_token, token_ends = Signal(16, reset_less=True), Signal(reset_less=True)

        # this row
        walking, bad = Signal(), Signal(reset_less=True)
        a, upper, tail = (Signal(k, name=n, reset_less=True) for n in ("a", "upper", "tail"))
        far = Signal(reset_less=True)
        b, sines = (Signal(k + FRACTION, name=n, reset_less=True) for n in ("b", "sines"))
        low, high = (Signal(signed(POSITION), name=n, reset_less=True) for n in ("low", "high"))
        left = Signal(len(c.n), reset_less=True)
        first, in_tail = Signal(reset_less=True), Signal(reset_less=True)
        step, had_part = Signal(2), Signal()

        # of the step; `takes` apart from the engine's control, as requests hang on it (`vector_engine`)
        takes = Signal(reset_less=True)
        with m.If(self.start):
            m.d.sync += takes.eq(c.control.kind == Kind.TAKE)
        nothing = ~kept["n"].any() & (x.kind != Kind.REDUCE)
        # elements left without those that only fill a block; kept beside `left`, as requests hang on it
        real, some = Signal(signed(len(c.n) + 1), reset_less=True), Signal(reset_less=True)
        # elements of a pass: reductions may take fewer than the lanes
        reduces, width = x.kind == Kind.REDUCE, timing.reduced(lanes)
        more, real_more = Signal(), Signal()
        m.d.comb += [
            more.eq(left > lanes if width == lanes else Mux(reduces, left > width, left > lanes)),
            real_more.eq(real > lanes if width == lanes else Mux(reduces, real > width, real > lanes)),
        ]
        taken = lanes if width == lanes else Mux(reduces, width, lanes)
        wide_bytes = pass_bytes if width == lanes else Mux(reduces, 4 * width, pass_bytes)
        rope = x.rope & ~in_tail
        split_rope = rope & ~x.interleaved
        last_step = Mux(split_rope, 3, Mux(rope | x.select, 1, 0))
        need = [Signal(name=f"need{i}") for i in range(2)]
        each = (x.second == Second.VECTOR) | (x.second == Second.SCALES)
        m.d.comb += [
            need[0].eq(some & ~takes & ((step == 0) | ((step == 1) & ~(rope & x.interleaved)))),
            need[1].eq(
                some & ~in_tail & (((step == 0) & (each | ((x.second == Second.ROW) & first))) | ((step == 1) & rope))
            ),
        ]  # fmt: skip
        at = [Signal(k, name="at0"), Signal(k, name="at1")]
        m.d.comb += [at[0].eq(Mux(step == 0, a, upper)), at[1].eq(Mux(step == 0, b, sines)[FRACTION:])]
        sizes: list[Value] = [
            Mux(x.size == Size.F32, wide_bytes, Mux(x.size == Size.BF16, pass_bytes // 2, pass_bytes // 4)),
            Mux(x.second == Second.VECTOR, Mux(rope & x.interleaved, pass_bytes // 2, pass_bytes), 0),
        ]
        crosses: list[Value] = [Const(0, 1), Const(0, 1)]
        if lanes * 4 > BLOCK:
            crosses = [need[i] & ((at[i][:port] + sizes[i]) > self.port_bytes) for i in range(2)]
        crossing = crosses[0] | crosses[1]
        part = crossing & ~had_part
        pass_ends = (step == last_step) & ~part
        tail_left = Signal(len(c.n))
        m.d.comb += tail_left.eq(kept["n"] - Cat(Const(0, 1), kept["half"]))
        row_ends = pass_ends & ~more & (~rope | ~tail_left.any())
        go, starts_row, ends_rows = Signal(), Signal(), Signal()
        # rows that take turns: this one's place among them, the last one's, and where each goes on
        together = timing.together(width)
        turns = Signal(reset_less=True)
        which, top = (Signal(bits_for_index(together), name=n, reset_less=True) for n in ("which", "top"))
        places = [Signal(k, name=f"place{r}", reset_less=True) for r in range(together)]
        joins, turn_ends = Signal(), Signal()
        m.d.comb += [
            joins.eq(turns & first & (which != together - 1) & after["rows"].any()),
            turn_ends.eq(~turns | Mux(first, ~joins, which == top)),
            ends_rows.eq(go & row_ends & turn_ends & ~after["rows"].any()),
            starts_row.eq(go & after["rows"].any() & (row_ends & turn_ends | pass_ends & joins)),
        ]
        if together > 1:
            with m.If(self.start):
                m.d.sync += turns.eq((c.control.kind == Kind.REDUCE) & ~c.control.greatest)
        else:
            m.d.comb += turns.eq(0)

        # requests
        queues = [place(m, n, FallThrough(self.address_bits)) for n in ("first_queue", "second_queue")]
        able = walking & ~bad
        asks, free = [], []
        for i, queue in enumerate(queues):
            asked = Mux(part, crosses[i], need[i])
            asks.append(asked)
            free.append(queue.i.ready)
            block = at[i][port:]
            if lanes * 4 > BLOCK:
                block = (block + (crosses[i] & had_part))[: k - port]
            m.d.comb += [
                queue.i.valid.eq(
                    able & asked & Cat(*free[:i], queues[1 - i].i.ready).all() & self.step.ready
                ),
                queue.i.payload.eq(Cat(Const(0, self.address_bits - (k - port)), block)),
            ]
            outer = self.first if i == 0 else self.second
            m.d.comb += [
                outer.valid.eq(queue.o.valid),
                outer.payload.eq(queue.o.payload),
                queue.o.ready.eq(outer.ready),
            ]
        # descriptions
        d = self.step.payload
        m.d.comb += [
            go.eq(able & self.step.ready & queues[0].i.ready & queues[1].i.ready),
            self.step.valid.eq(able & ~nothing & queues[0].i.ready & queues[1].i.ready),
            d.take.eq(Cat(asks)),
            d.part.eq(part),
            d.split.eq(Cat(crosses) & had_part.replicate(2)),
            d.fire.eq(~part & ~(x.select & (step == 0))),
            d.step.eq(step),
            d.tail.eq(in_tail),
            d.first.eq(first),
            d.last.eq(row_ends),
            d.count.eq(Mux(some, Mux(real_more, taken, real[: len(d.count)]), 0)),
            *(d[n].eq(which) for n in reducer.row_field(lanes)),
            d.low.eq(self._clipped(low)),
            d.high.eq(self._clipped(high)),
            d.a.eq(Cat(at[0], far)),
            d.b.eq(at[1][:port]),
            self.walking.eq(walking),
            self.ending.eq(ends_rows),
            self.error.eq(walking & bad),
        ]

        # the next step
        def forward(register: Any, amount: Value | int) -> None:
            m.d.sync += register.eq(register + amount)

        with m.If(go):
            m.d.sync += had_part.eq(part)
            with m.If(~part):
                m.d.sync += step.eq(Mux(pass_ends, 0, step + 1))
            with m.If(pass_ends):
                advance = Mux(
                    x.size == Size.F32, wide_bytes,
                    Mux(x.size == Size.BF16, pass_bytes // 2, Mux(x.size == Size.BYTE, lanes, lanes // 2)),
                )  # fmt: skip
                scales = x.second == Second.SCALES
                second = Mux(scales, lanes, Mux(rope & x.interleaved, 64 * lanes, 128 * lanes))
                with m.If(turn_ends):
                    m.d.sync += [
                        first.eq(0),
                        left.eq(left - taken),
                        real.eq(real - taken),
                        some.eq(real_more),
                    ]
                with m.If(~takes):
                    forward(a, advance)
                if together > 1:
                    self._take_turns(m, turns, first, turn_ends, which, top, a, places, 4 * width)
                forward(upper, pass_bytes)
                with m.If(x.second != Second.ROW):
                    forward(b, second)
                    forward(sines, second)
                forward(low, -lanes)
                forward(high, -lanes)
                with m.If(~more & rope):
                    m.d.sync += [
                        in_tail.eq(1), a.eq(tail), left.eq(tail_left), real.eq(tail_left), some.eq(tail_left.any())
                    ]  # fmt: skip
        with m.If(ends_rows):
            m.d.sync += walking.eq(0)

        # the next row: of the command that is to start, or of this one
        load = self.load
        source = {n: Mux(load, c[n], after[n]) for n in ("a", "b", "out")}
        static = {n: Mux(load, c[n], kept[n]) for n in names}
        half = static["half"]
        rotates = Mux(load, c.control.rope, x.rope)
        pairs = Mux(load, c.control.interleaved, x.interleaved)
        selects = Mux(load, c.control.select, x.select)
        with m.If(load):
            m.d.sync += [kept[n].eq(c[n]) for n in names]
            m.d.sync += [strides[n].eq(c[n]) for n in strides]
            m.d.sync += [step.eq(0), had_part.eq(0), which.eq(0)]
        with m.If(self.start):
            m.d.sync += walking.eq(c.rows.any())
        elements = Mux(pairs, Cat(Const(0, 1), half), half)
        not_pad = Signal(signed(len(real)))
        m.d.comb += not_pad.eq(Cat(static["n"], Const(0, 1)).as_signed() - static["pad"])
        with m.If(load | starts_row):
            for n, stride in (("a", "sa"), ("b", "sb"), ("out", "so")):
                m.d.sync += after[n].eq(source[n] + Mux(load, c[stride], strides[stride]))
            m.d.sync += after["rows"].eq(Mux(load, c.rows, after["rows"]) - 1)
            m.d.sync += [
                a.eq(source["a"]), far.eq(source["a"][k:].any()), b.eq(Cat(Const(0, FRACTION), source["b"][:k])),
                upper.eq(Mux(selects, source["out"], source["a"] + Cat(Const(0, 2), half))),
                sines.eq(Cat(Const(0, FRACTION), (source["b"] + Cat(Const(0, 2), half))[:k])),
                tail.eq(source["a"] + Cat(Const(0, 3), half)),
                first.eq(1), in_tail.eq(rotates & ~half.any()),
                left.eq(Mux(rotates & half.any(), elements, static["n"])),
                real.eq(Mux(rotates & half.any(), elements, not_pad)),
                some.eq((rotates & half.any()) | (not_pad > 0)),
                bad.eq(self._outside(source, static)),
            ]  # fmt: skip
            for row, now, slot in ((low_row, low, c.b), (high_row, high, c.sb)):
                value = Signal(signed(POSITION), name=f"{now.name}_next")
                further = increment(m, row, token_ends, f"{now.name}_further")[:POSITION]
                m.d.comb += value.eq(Mux(load, slot.as_signed(), further.as_signed()))
                m.d.sync += [row.eq(value), now.eq(value)]
            again = load | token_ends
            m.d.sync += [
                of_token.eq(Mux(again, static["per"], of_token - 1)),
                token_ends.eq(Mux(again, static["per"] == 0, of_token == 1)),
            ]
        return m

    @staticmethod
    def _take_turns(
        m: Module, turns: Value, first: Value, turn_ends: Value, which: Any, top: Any, a: Any, places: list[Any],
        by: int,
    ) -> None:  # fmt: skip
        """The pass of one of several rows has been made: the next row's pass is next, or a new turn."""
        following = Mux(turn_ends, 0, which + 1)
        with m.If(turns):
            m.d.sync += which.eq(following)
            with m.If(first & turn_ends):
                m.d.sync += top.eq(which)
            for r, one in enumerate(places):
                with m.If(which == r):
                    m.d.sync += one.eq(a + by)
                # of a row alone `a` has gone forward by itself
                with m.If((following == r) & ~(turn_ends & (which == 0))):
                    m.d.sync += a.eq(one)

    def _clipped(self, position: Signal) -> Value:
        """Within 0 and lanes."""
        bits = self.lanes.bit_length()
        beyond = position[bits - 1 : -1].any()
        return Mux(position[-1], 0, Mux(beyond, self.lanes, position[:bits]))

    def _outside(self, source: dict[str, Value], static: dict[str, Value]) -> Value:
        """Whether a row of any operand ends beyond the scratchpad."""
        k = (self.pad_bytes - 1).bit_length()
        found: Value = static["large"]
        for n in ("a", "b", "out"):
            address, length = source[n], static[f"length_{n}"]
            wrong = address[k + 1 :].any() | (address[: k + 1] + length > self.pad_bytes)
            found = found | (wrong & static[f"check_{n}"] if n != "out" else wrong)
        return found
