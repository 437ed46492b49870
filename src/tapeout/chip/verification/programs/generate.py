"""Random trees: what a compiler writes and what it would not."""

from __future__ import annotations

from dataclasses import replace

from tapeout.chip.isa.definition import ARGUMENTS
from tapeout.chip.isa.geometry import GRANULE, Geometry
from tapeout.chip.isa.machine import QUEUE
from tapeout.chip.isa.matrix.matmul import NAMES as FORMATS
from tapeout.chip.verification.programs.layout import TABLE_MOST, WORK
from tapeout.chip.verification.programs.tree import Access, Branch, Command, Loop, Node, Scalar, Touch, Tree
from tapeout.chip.verification.programs.vectors import NAMES, Vectors

SCALARS = ("add", "sub", "mul", "and", "or", "xor", "shl", "shr", "min", "max", "less", "equal")
CONDITIONS = ("equal", "unequal", "less", "at_least")
FREE = (16, 27)  # registers that scalar instructions may write
WINDOW = 128
DEPTH = 3


class Generator(Vectors):
    """One program from `rng`; `names`: the instructions that the core has."""

    def __init__(self, g: Geometry, rng: object, names: frozenset[str], size: int) -> None:
        super().__init__(g, rng)  # type: ignore[arg-type]
        self.names, self.size = names, size
        self.arguments = [self.pick(0, 1, 2, 3, 5) for _ in range(ARGUMENTS)]
        self.recent: list[Command] = []
        self.vectors = [n for n in NAMES if n in names]
        # most commands meet in a small part of each area
        self.everywhere = self.at
        sizes = {"tables": 128, "floats": 2048, "codes": 8192, "scales": 1024}
        hot = {}
        for name, size in sizes.items():
            low, high = getattr(self.at, name)
            hot[name] = (low, min(low + size, high))
        self.hot = replace(self.at, **hot)

    def tree(self) -> Tree:
        """The program."""
        nodes: list[Node] = []
        while len(nodes) < self.size:
            kind = self.between(0, 99)
            if kind < 55:
                nodes.append(self.command())
            elif kind < 63:
                nodes.append(self.scalar())
            elif kind < 70:
                nodes.append(self.access())
            elif kind < 79:
                nodes.append(self.loop(0))
            elif kind < 85:
                nodes.append(self.chain())
            elif kind < 91:
                nodes.append(self.branch())
            elif kind < 95:
                nodes += self.flood()
            elif kind < 98:
                nodes.append(Scalar(f"interrupt code={self.between(0, 65535)}"))
            else:
                nodes.append(self.long_loop())
        return Tree(tuple(nodes), tuple(self.arguments))

    def command(self, engine: str = "") -> Command:
        """Any engine's; often one that reads or overwrites what a recent one touched."""
        kinds = [k for k in ("load", "matrix", "vector", "store") if k != "matrix" or "matmul" in self.names]
        kinds = [k for k in kinds if k != "vector" or self.vectors]
        self.at = self.hot if self.chance(0.65) else self.everywhere
        engine = engine or kinds[self.between(0, len(kinds) - 1)]
        made: Command | None = None
        if engine == "matrix":
            before = [c for c in self.recent if c.name == "matmul"]
            made = self.again(before[-1]) if before and self.chance(0.3) else self.matmul()
        elif engine == "vector":
            made = self.vector(self.vectors[self.between(0, len(self.vectors) - 1)])
        elif engine == "load" and self.chance(0.2) and "transpose" in self.names:
            made = self.transpose()
        elif engine == "load" and self.chance(0.1):
            made = self.table()
        if made is None:
            made = self.move(engine != "store", self.chance(0.3))
        if self.recent and self.chance(0.5):
            made = self.near(made, self.recent[self.between(0, len(self.recent) - 1)])
        self.recent = [*self.recent[-5:], made]
        return made

    @property
    def used(self) -> int:
        """Bytes of the scratchpad in use."""
        return self.everywhere.used

    def near(self, one: Command, other: Command) -> Command:
        """A move to or from the very bytes that another touches, if `one` is a move that fits."""
        if one.name not in ("load", "store"):
            return one
        loads = one.name == "load"
        there = [
            t
            for t in other.touches
            if t.space == "pad" and t.low >= self.everywhere.floats[0] and t.high > t.low
        ]
        if not there:
            return one
        target = there[self.between(0, len(there) - 1)]
        low, high = target.low // GRANULE * GRANULE, -(-target.high // GRANULE) * GRANULE
        high = min(high, low + 4096, self.used)
        memory = [t for t in other.touches if t.space == "memory" and t.high - t.low >= high - low]
        again = bool(memory) and self.chance(0.5) and (loads or memory[0].writes)
        at = memory[0].low if again else next(t.low for t in self.whole_of(one, high - low))
        return replace(self.whole(one.name, (low, high), at), by_engine=one.by_engine)

    def whole_of(self, one: Command, size: int) -> list[Touch]:
        """Where in memory a move of this size may go."""
        loads = one.name == "load"
        low = self.source(False, size) if loads else self.between(WORK[0], WORK[1] - size)
        return [Touch("memory", low, low + size, not loads)]

    def scalar(self) -> Scalar:
        """Of registers, of constants, of both."""
        rd, a, b = (self.between(*FREE) for _ in range(3))
        imm = self.between(-(1 << 47), (1 << 47) - 1) >> self.between(0, 47)
        which = self.between(0, 3)
        if which == 3 and self.chance(0.3):
            return Scalar(f"argument rd=r{rd} index={self.between(0, ARGUMENTS - 1)}")
        tail = ("" if which == 0 else f" b=r{b}") + ("" if which == 1 else f" imm={imm}")
        return Scalar(f"{SCALARS[self.between(0, len(SCALARS) - 1)]} rd=r{rd} a=r{a}{tail}")

    def access(self) -> Access:
        """A read of anything, a write of values."""
        self.at = self.hot if self.chance(0.7) else self.everywhere
        area = (self.at.floats, self.at.codes, self.at.tables)[self.between(0, 2)]
        register = self.between(*FREE)
        near = [t for c in self.recent for t in c.touches if t.space == "pad" and t.high > t.low]
        near = [t for t in near if t.low >= self.at.floats[0]]
        if self.chance(0.5) and near and self.chance(0.6):
            at = near[self.between(0, len(near) - 1)].low // GRANULE * GRANULE
            return Access(f"write a=r{register} imm={at}", Touch("pad", at, at + GRANULE, True))
        if self.chance(0.4) and area != self.at.tables:
            at = self.between(area[0] // GRANULE, area[1] // GRANULE - 1) * GRANULE
            return Access(f"write a=r{register} imm={at}", Touch("pad", at, at + GRANULE, True))
        at = self.between(area[0] // 4, area[1] // 4 - 1) * 4
        if near and self.chance(0.6):
            at = near[self.between(0, len(near) - 1)].low // 4 * 4
        return Access(f"read rd=r{register} imm={at}", Touch("pad", at, at + 4, False))

    def branch(self) -> Branch:
        """Around a few instructions, some of them of engines."""
        arm = [self.scalar() if self.chance(0.6) else self.command() for _ in range(self.between(0, 3))]
        a, b = self.between(*FREE), self.between(*FREE)
        if self.chance(0.3):
            b = a
        imm = f" imm={self.between(-(1 << 21), (1 << 21) - 1)}" if self.chance(0.3) else ""
        condition = CONDITIONS[self.between(0, 3)]
        return Branch(f"branch a=r{a} b=r{b} if={condition}{imm}", tuple(arm))

    def loop(self, depth: int) -> Loop:
        """Of few trips; a body of few commands, some of whose addresses move on."""
        source = ("constant", "argument", "pad")[self.between(0, 2)]
        at = self.between(0, ARGUMENTS - 1)
        count = self.arguments[at] if source == "argument" else self.pick(0, 1, 2, 3, 4)
        body: list[Node] = []
        for _ in range(self.between(1, 4)):
            kind = self.between(0, 9)
            if kind < 5:
                body.append(self.stepping(self.command(), count))
            elif kind < 7:
                body.append(self.scalar())
            elif kind < 8:
                body.append(self.access())
            elif kind < 9 and depth + 1 < DEPTH:
                body.append(self.loop(depth + 1))
            else:
                body.append(self.branch())
        return Loop(count, source, at, tuple(body), self.chance(0.7))

    def chain(self) -> Loop:
        """Every engine on the same few bytes, in any order: each is in the way of the others, now and in the next trip.
        Values through the vector engine into codes, products of them into values, out to memory and in again."""
        self.at = self.everywhere
        base, at = self.hot.floats[0], self.hot.codes[0] // 256 * 256 + 256
        scales, work = -(-self.hot.scales[0] // 256) * 256, WORK[0] + 8 * self.between(0, 999)
        bytes_ = 256
        values, more = (base, base + bytes_), (base + 512, base + 512 + bytes_)
        some: list[Node] = [
            self.whole("load", values, self.between(0, 0x8000)),
            self.whole("load", more, work),
            self.whole("store", (values, more)[self.between(0, 1)], work),
        ]
        if "vquantise" in self.vectors:
            operands = {"a": base, "out": at, "n": 64, "rows": 1, "b": scales}
            touches = (
                Touch("pad", *values, False),
                Touch("pad", at, at + 64, True),
                Touch("pad", scales, scales + 8, True),
            )
            some.append(Command("vquantise", operands, {"format": 1}, touches))
        if "vadd" in self.vectors:
            sums = (Touch("pad", *values, False), Touch("pad", *more, True))
            operands = {"a": base, "out": more[0], "n": 64, "rows": 1}
            some.append(Command("vadd", operands, {"from": 2, "imm": 0x3F800000}, sums))
        product = self.matmul() if "matmul" in self.names else None
        if product:
            reach = product.fields["tiles"] * self.g.pitch(FORMATS[product.fields["format"]])
            drains = reach <= 4096 and base + reach <= self.everywhere.floats[1]
            # one row, of what was quantised; its results over the values
            touched = [
                Touch("pad", at, at + 64, False),
                Touch("pad", scales, scales + 8, False),
                *product.touches[:2],
            ]
            touched += [Touch("pad", base, base + reach, True)] if drains else []
            operands = product.operands | {"a": at, "ascale": scales, "out": base, "steps": 1, "sa": 0}
            fields = product.fields | {"rows": 1, "height": 1, "keep": 0, "drain": int(drains)}
            some.append(Command("matmul", operands, fields, tuple(touched)))
        register = self.between(*FREE)
        some.append(Access(f"read rd=r{register} imm={base}", Touch("pad", base, base + 4, False)))
        some.append(Access(f"write a=r{register} imm={base + 8}", Touch("pad", base + 8, base + 16, True)))
        low = self.hot.tables[0]
        if "vtopk" in self.vectors:
            chosen = (Touch("pad", *values, False), Touch("pad", low, low + 32, True))
            operands = {"a": base, "out": low, "n": 64, "rows": 1}
            some.append(Command("vtopk", operands, {"k": 8}, chosen))
            for name in ("gather", "scatter"):
                operands = {
                    "pad": base,
                    "memory": work,
                    "bytes": 24,
                    "n0": 4,
                    "s0": 24,
                    "table": low,
                    "pitch": 24,
                }
                loads = name == "gather"
                touches = (
                    Touch("pad", base, base + 96, loads), Touch("memory", work, work + 24 * TABLE_MOST, not loads),
                    Touch("pad", low, low + 16, False),
                )  # fmt: skip
                some.append(Command(name, operands, {}, touches))
        order = self.rng.permutation(len(some))
        body = [some[int(i)] for i in order[: self.between(2, 5)]]
        made = [replace(n, by_engine=self.chance(0.6)) if isinstance(n, Command) else n for n in body]
        return Loop(self.pick(1, 2, 3, 4), "constant", 0, tuple(made), self.chance(0.85))

    def stepping(self, c: Command, count: int) -> Command:
        """Its memory address moves from trip to trip, if all of them stay inside."""
        touches = [t for t in c.touches if t.operand == "memory"]
        if not touches or self.chance(0.4):
            return c
        step = self.pick(GRANULE, self.g.port_bytes, self.between(1, 500))
        low, high = WORK if touches[0].writes else (0, WORK[1])
        if touches[0].high + step * count > high or touches[0].low < low or "table" in c.operands:
            return c
        return replace(c, steps={"memory": step})

    def long_loop(self) -> Loop:
        """A body that the window of instructions does not hold."""
        body = tuple(self.scalar() for _ in range(WINDOW + self.between(0, 40)))
        return Loop(self.pick(2, 3), "constant", 0, body)

    def flood(self) -> list[Node]:
        """More commands than a queue holds behind one that waits."""
        self.at = self.everywhere
        first = self.whole("load", (self.at.floats[0], self.at.floats[0] + 4096), self.between(0, 0x1000))
        engine = ("matrix", "vector", "store")[self.between(0, 2)]
        waits = self.whole(
            "store", (self.at.floats[0], self.at.floats[0] + 8), WORK[0] + self.between(0, 999)
        )
        some: list[Node] = [first]
        if engine == "vector" and self.vectors:
            at = self.at.floats[0]
            touches = (Touch("pad", at, at + 32, False, "a"), Touch("pad", at + 8192, at + 8224, True, "out"))
            operands = {"a": at, "out": at + 8192, "n": 8, "rows": 1}
            if at + 8224 <= self.at.floats[1]:
                waits = Command("vexp2", operands, {}, touches)
        some.append(replace(waits, by_engine=True))
        engine = waits.engine.name.lower()
        return [*some, *(self.command(engine) for _ in range(QUEUE + 3))]
