"""From a tree to assembly: operands into registers, and the tokens without which the order would be undefined.

Every command signals a semaphore when it is done. What touches bytes that a command under way writes, or writes what
it touches, waits for that token: its engine does, or the sequencer before it is dispatched. Commands of one engine
need none, except products that read what earlier ones write (`matmul` says so).

In a loop a command's bytes are those of all trips. What is under way at the end of a trip is waited for there, or
(`Loop.carry`) in the next trip, by the sequencer or by the one engine it concerns; a token given before the loop lets
the first trip pass, and the last trip's is left for what comes after, which is also right for a loop of no trips.
A semaphore is used once in a loop's body, because trips overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tapeout.chip.isa.definition import REGISTER_BITS, SEMAPHORES, Engine
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import QUEUE
from tapeout.chip.isa.registry import instructions
from tapeout.chip.verification.programs.layout import FLOATS, RESULTS, TABLES, Layout
from tapeout.chip.verification.programs.tree import (
    Access,
    Branch,
    Command,
    Loop,
    Node,
    Touch,
    Tree,
    touches_of,
    walk,
)

NOTHING = {
    Engine.LOAD: "load",
    Engine.VECTOR: "vadd from=immediate",
    Engine.STORE: "store",
}  # commands that do nothing
OPERANDS = 1  # registers 1 to 8 hold a command's
COUNTERS = 9  # and three hold loops' counts
STEPPED = (12, 13, 14, 15, 28, 29, 30, 31)  # operands that change from trip to trip
END_CODE = 77


@dataclass
class Open:
    """A command under way, as far as the program knows; `inherited`: what its engine waited for ends with it."""

    semaphore: int
    engine: Engine
    own: list[Touch]
    inherited: list[Touch] = field(default_factory=list)
    taken: set[int] = field(default_factory=set)  # no other may signal these meanwhile

    def order(self, engine: Engine, touches: Iterable[Touch]) -> tuple[set[str], set[str]]:
        """(hazards that need a token, hazards that the engine's own order settles) of a later command."""
        needs: set[str] = set()
        settled: set[str] = set()
        for mine, old in ((True, self.own), (False, self.inherited)):
            for x in old:
                for t in touches:
                    if not t.meets(x):
                        continue
                    kind = ("WAW" if t.writes else "RAW") if x.writes else "WAR"
                    reads_sums = mine and engine == Engine.MATRIX and kind == "RAW"
                    tied = engine == self.engine and not reads_sums
                    (settled if tied else needs).add(f"{x.space} {kind}")
        return needs, settled


@dataclass
class Scope:
    """A straight piece of program. `barred`: semaphores of what is outside; `once`: each is used at most once."""

    open: list[Open] = field(default_factory=list)
    barred: set[int] = field(default_factory=set)
    once: bool = False
    used: set[int] = field(default_factory=set)

    def free(self) -> list[int]:
        """Semaphores that may be signalled."""
        busy = self.barred | {s for o in self.open for s in (o.semaphore, *o.taken)}
        if self.once:
            busy = busy | self.used
        return [s for s in range(SEMAPHORES) if s not in busy]


class Lowering:
    """`text` is the program; `hazards` counts (engine, engine, hazard, how) that it orders."""

    def __init__(self, tree: Tree, g: Geometry) -> None:
        self.g, self.at = g, Layout.of(g)
        self.lines: list[str] = []
        self.labels = self.depth = 0
        self.stepped: list[int] = list(STEPPED)
        self.varying: dict[tuple[int, str], int] = {}  # (command, operand) → register
        self.held: dict[int, tuple[int, int, int]] = {}  # bank → rows, tiles, format
        self.hazards: Counter[tuple[str, str, str, str]] = Counter()
        self.features: Counter[str] = Counter()
        self.behind: dict[Engine, int] = {}  # commands dispatched behind one that waits
        root = Scope()
        self.preamble()
        self.nodes(tree.nodes, root)
        self.sync(root, list(root.open))
        self.epilogue()

    @property
    def text(self) -> str:
        """Assembly."""
        return "\n".join(self.lines) + "\n"

    def preamble(self) -> None:
        """Indices, without which an indexed command might go anywhere, and something in the registers."""
        low, high = self.at.tables
        for at in range(low, high, TABLES[1] - TABLES[0]):
            size = min(high - at, TABLES[1] - TABLES[0])
            self.transfer("load", at, TABLES[0], size)
        self.transfer("load", self.at.floats[0], FLOATS[0], min(16384, self.at.floats[1] - self.at.floats[0]))
        for r in range(16, 28):
            self.put(r, (0x9E3779B97F4A7C15 * r & (1 << REGISTER_BITS) - 1) >> 2 * (r - 16))

    def transfer(self, name: str, pad: int, memory: int, size: int) -> None:
        """A whole range, waited for."""
        for r, value in ((1, 1), (2, size), (3, pad), (4, memory)):
            self.put(r, value)
        self.lines.append(f"{name} pad=r3 memory=r4 bytes=r2 n0=r1 n1=r1 signal=15")
        self.lines.append("sync wait=15")

    def epilogue(self) -> None:
        """Everything that can be seen, to memory."""
        for r in range(1, 32):
            self.lines.append(f"write a=r{r} imm={self.at.registers[0] + 8 * r}")
        self.transfer("store", 0, RESULTS, self.at.used)
        self.lines.append(f"halt code={END_CODE}")

    def put(self, register: int, value: int) -> None:
        """A register's value, modulo its width."""
        value &= (1 << REGISTER_BITS) - 1
        value -= (1 << REGISTER_BITS) if value >> (REGISTER_BITS - 1) else 0
        self.lines.append(f"add rd=r{register} imm={value}")

    def sync(self, scope: Scope, some: list[Open]) -> None:
        """The sequencer waits for these."""
        if some:
            self.behind.clear()
            self.lines.append("sync wait=" + ",".join(str(o.semaphore) for o in some))
            scope.open = [o for o in scope.open if o not in some]

    def conflicts(self, scope: Scope, engine: Engine, touches: Iterable[Touch], how: str) -> list[Open]:
        """What has to end before; `how` it is waited for is noted."""
        found, touches = [], list(touches)
        for one in scope.open:
            needs, settled = one.order(engine, touches)
            for hazard in needs:
                self.hazards[one.engine.name, engine.name, hazard, how] += 1
            for hazard in settled:
                self.hazards[one.engine.name, engine.name, hazard, "order of the engine"] += 1
            if needs:
                found.append(one)
        return found

    def nodes(self, nodes: tuple[Node, ...], scope: Scope, trips: int = 1) -> None:
        """In order."""
        for node in nodes:
            if isinstance(node, Command):
                self.command(node, scope, trips)
            elif isinstance(node, Access):
                self.sync(scope, self.conflicts(scope, Engine.SEQUENCER, [node.touch], "sync"))
                self.lines.append(node.text)
            elif isinstance(node, Loop):
                self.loop(node, scope)
            elif isinstance(node, Branch):
                self.branch(node, scope, trips)
            else:
                self.lines.append(node.text)

    def command(self, c: Command, scope: Scope, trips: int) -> None:
        """Its operands, its tokens, itself; left out where a loop's body has no semaphore left for it."""
        if not scope.free():
            if scope.once or not scope.open:
                self.features["left out for want of a semaphore"] += 1
                return
            self.sync(scope, list(scope.open))
        touches = c.over(trips)
        how = "token" if c.by_engine else "sync"
        waits = self.conflicts(scope, c.engine, touches, how)
        if not c.by_engine:
            self.sync(scope, waits)
            waits = []
        scope.open = [o for o in scope.open if o not in waits]
        taken = {s for o in waits for s in (o.semaphore, *o.taken)}
        semaphore = next((s for s in scope.free() if s not in taken), None)
        if semaphore is None:  # the tokens it takes are still about
            self.lines.append("sync wait=" + ",".join(str(o.semaphore) for o in waits))
            waits, taken, semaphore = [], set(), scope.free()[0]
        scope.used.add(semaphore)
        operands = self.operands(c)
        tail = f" wait={','.join(str(o.semaphore) for o in waits)}" if waits else ""
        self.lines.append(f"{c.name} {operands} {self.fields(c)}{tail} signal={semaphore}")
        self.features[f"{len(waits)} tokens awaited at once" if len(waits) > 1 else "commands"] += 1
        if waits or c.engine in self.behind:
            self.behind[c.engine] = self.behind.get(c.engine, -1) + 1
            self.features["queue full"] += self.behind[c.engine] == QUEUE
        inherited = [t for o in waits for t in (*o.own, *o.inherited)]
        scope.open.append(Open(semaphore, c.engine, list(touches), inherited, taken))

    def operands(self, c: Command) -> str:
        """Registers 1 to 8, or those that a loop steps."""
        parts = []
        for i, slot in enumerate(s for s in instructions()[c.name].slots if s.name):
            value = c.operands.get(slot.name, 0)
            held = self.varying.get((id(c), slot.name))
            if held is None and value:
                self.put(OPERANDS + i, value)
            register = held if held is not None else OPERANDS + i if value else 0
            parts.append(f"{slot.name}=r{register}")
        return " ".join(parts)

    def fields(self, c: Command) -> str:
        """The immediate, `keep` only where the bank holds sums of this shape."""
        values = dict(c.fields)
        if c.name == "matmul":
            shape = (values["rows"], values["tiles"], values["format"])
            if values["keep"] and self.held.get(values["bank"]) != shape:
                values["keep"] = 0
            self.held[values["bank"]] = shape
        parts = []
        for f in instructions()[c.name].fields:
            if f.name in values:
                v = values[f.name]
                parts.append(f"{f.name}={f.choices[v] if f.choices else hex(v) if f.kind == 'float' else v}")
        return " ".join(parts)

    def branch(self, b: Branch, scope: Scope, trips: int) -> None:
        """Tokens balance on both ways: what the arm needs is waited for before, what it starts within."""
        for engine, touch, _ in list(touches_of(b.arm, trips)):
            self.sync(scope, self.conflicts(scope, engine, [touch], "sync"))
        self.labels += 1
        label = f"b{self.labels}"
        self.lines.append(f"{b.text} target={label}")
        inner = Scope(barred=self._outside(scope), once=scope.once)
        held = dict(self.held)
        self.nodes(b.arm, inner, trips)
        self.sync(inner, list(inner.open))
        scope.used |= inner.used
        self.lines.append(f"{label}:")
        self.held = {k: v for k, v in held.items() if self.held.get(k) == v}

    def _outside(self, scope: Scope) -> set[int]:
        """Semaphores that a scope within may not use."""
        busy = scope.barred | {s for o in scope.open for s in (o.semaphore, *o.taken)}
        return busy | (scope.used if scope.once else set())

    def loop(self, loop: Loop, scope: Scope) -> None:
        """See above."""
        needed = list(touches_of(loop.body, loop.count))
        for engine, touch, _ in needed:
            self.sync(scope, self.conflicts(scope, engine, [touch], "sync"))
        if len(scope.free()) < SEMAPHORES // 2 and not scope.once:
            self.sync(scope, list(scope.open))
        counter = COUNTERS + self.depth
        self._count(loop, counter)
        stepped = self._step_registers(loop)
        entered = {b: v for b, v in self.held.items() if self._only(loop, b, v)}
        self.held = dict(entered)
        self.labels += 1
        label = f"l{self.labels}"
        # the body is made first: what is carried has to be known before it
        before, self.lines = self.lines, []
        inner = Scope(barred=self._outside(scope), once=True)
        self.depth += 1
        self.nodes(loop.body, inner, loop.count)
        self.depth -= 1
        body, self.lines = self.lines, before
        top, carried, drained = self._carry(loop, inner, body, set(scope.free()) - inner.used)
        for c, operand, register in stepped:
            body.append(f"add rd=r{register} a=r{register} imm={c.steps[operand]}")
            self.varying.pop((id(c), operand))
            self.stepped.append(register)
        if carried:
            self.lines.append("sync signal=" + ",".join(str(o.semaphore) for o in carried))
        self.lines.append(f"loop count=r{counter} end={label}")
        self.lines += [*top, *body] or ["sync"]
        self.lines.append(f"{label}:")
        scope.used |= inner.used
        scope.open += carried
        for one, engine, semaphore in drained:
            self.lines.append(f"{NOTHING[engine]} wait={one.semaphore} signal={semaphore}")
            scope.open.remove(one)
            taken = {one.semaphore, *one.taken}
            scope.open.append(Open(semaphore, engine, [], [*one.own, *one.inherited], taken))
            scope.used.add(semaphore)
        self.held = {b: v for b, v in entered.items() if self.held.get(b) == v}
        self.features[
            f"loop of {min(loop.count, 2)}{'+' * (loop.count > 1)} trips, count from {loop.source}"
        ] += 1
        self.features[f"loops nested {self.depth + 1}"] += 1
        if len(top) + len(body) > 128:
            self.features["loop that does not fit the window"] += 1

    def _count(self, loop: Loop, register: int) -> None:
        if loop.source == "argument":
            self.lines.append(f"argument rd=r{register} index={loop.at}")
        elif loop.source == "pad":
            self.put(register, loop.count)
            self.lines.append(
                f"write a=r{register} imm={self.at.registers[0]}"
            )  # the place of r0: nobody else's
            self.lines.append(f"read rd=r{register} imm={self.at.registers[0]}")
        else:
            self.put(register, loop.count)

    def _step_registers(self, loop: Loop) -> list[tuple[Command, str, int]]:
        """Registers for operands that change, with their first values."""
        found = []
        for c in loop.body:
            if not isinstance(c, Command):
                continue
            for operand in c.steps:
                if self.stepped:
                    register = self.stepped.pop()
                    self.varying[id(c), operand] = register
                    self.put(register, c.operands[operand])
                    found.append((c, operand, register))
                    self.features["operand stepped by a loop"] += 1
        return found

    def _only(self, loop: Loop, bank: int, shape: tuple[int, int, int]) -> bool:
        """Every product of the body that uses the bank has this shape."""
        some = [n.fields for n in walk(loop.body) if isinstance(n, Command) and n.name == "matmul"]
        return all((f["rows"], f["tiles"], f["format"]) == shape for f in some if f["bank"] == bank)

    def _carry(
        self, loop: Loop, inner: Scope, body: list[str], spare: set[int]
    ) -> tuple[list[str], list[Open], list[tuple[Open, Engine, int]]]:
        """What a trip's end leaves under way: waited for there, or handed to the next trip. (What the next one starts
        with; what is under way after the last; of that, what one engine waited for in its queue: the last token has to
        be taken there as well, by a command that does nothing, with `spare` semaphores to tell that it was.)"""
        if not loop.carry:
            if inner.open:
                body.append("sync wait=" + ",".join(str(o.semaphore) for o in inner.open))
            return [], [], []
        top: list[int] = []
        drained: list[tuple[Open, Engine, int]] = []
        for one in inner.open:
            meets = [
                (engine, node, hazard)
                for engine, touch, node in touches_of(loop.body, loop.count)
                for hazard in one.order(engine, [touch])[0]
            ]
            engines = {e for e, _, _ in meets}
            first = next((n for n in loop.body if any(n is m for _, m, _ in meets)), None)
            line = self._line_of(first, body) if isinstance(first, Command) else None
            by_engine = (
                len(engines) == 1
                and engines <= set(NOTHING)
                and bool(spare)
                and line is not None
                and isinstance(first, Command)
                and first.by_engine
                and f"signal={one.semaphore}" not in body[line]
                and all(isinstance(n, Command) for _, n, _ in meets)
            )
            if by_engine and line is not None:
                body[line] = _with_wait(body[line], one.semaphore)
                drained.append((one, engines.pop(), spare.pop()))
            else:
                top.append(one.semaphore)
            for engine, hazard in {(e, h) for e, _, h in meets}:
                self.hazards[one.engine.name, engine.name, hazard, "from trip to trip"] += 1
        return (["sync wait=" + ",".join(map(str, top))] if top else []), list(inner.open), drained

    def _line_of(self, command: Command, body: list[str]) -> int | None:
        """Where a command of the body itself is, if no other line could be taken for it."""
        found = [i for i, line in enumerate(body) if line.startswith(command.name + " ")]
        return found[0] if len(found) == 1 else None


def _with_wait(line: str, semaphore: int) -> str:
    head, signal = line.rsplit(" signal=", 1)
    if " wait=" in head:
        return f"{head},{semaphore} signal={signal}"
    return f"{head} wait={semaphore} signal={signal}"
