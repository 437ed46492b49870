"""From items to 128-bit words: registers, constants, branches, barriers.

Engines take all operands from registers. Scalars keep one while they live; constants, and sums of a scalar and a
constant, are made when needed and kept as long as there is room: what is needed latest goes first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tapeout.chip.isa.definition import REGISTER_MASK, REGISTERS, Engine, Instruction, encode, word
from tapeout.compiler.ir import Calculate, Item, Loop, Op, Ref, Scalar, Stop, Value, named
from tapeout.compiler.program import Operator
from tapeout.compiler.synchronise import ENGINES, semaphore
from tapeout.errors import DoesNotHold

Key = tuple[Any, ...]  # ("c", value), ("s", scalar) or ("p", scalar, value)
Place = Callable[[str], int]
ZERO: Key = ("c", 0)
ONE: Key = ("c", 1)
UNEQUAL = 1  # of `branch`


@dataclass(eq=False)
class _Step:
    """One instruction to come; `uses` by slot name. `kind`: op, calculate, skip (branch if the count is 0 to `mark`),
    loop (to `mark`), close (its end), mark (of a skip), stop (branch to `mark` unless the scalar is 0), finish (its
    end)."""

    kind: str
    instruction: Instruction | None
    uses: dict[str, Key]
    fields: dict[str, int]
    origin: Operator
    rd: Scalar | None = None
    wait: tuple[int, ...] = ()
    signal: tuple[int, ...] = ()
    mark: _Step | None = None
    at: int = -1  # instruction number, of marks


@dataclass
class Code:
    """Words and what each is for."""

    words: list[int] = field(default_factory=list)
    origin: list[Operator] = field(default_factory=list)


def resolve(value: Value, base: Place) -> Key:
    """The key of an operand; `base` gives a region's address."""
    if isinstance(value, int):
        return ("c", value & REGISTER_MASK)
    if isinstance(value, Scalar):
        return ("s", value)
    number = value.offset + (value.buffer.address if isinstance(value, Ref) else base(value.region))
    if value.plus is None:
        return ("c", number)
    return ("p", value.plus, number) if number else ("s", value.plus)


def emit(items: list[Item], base: Place, code: Code) -> None:
    """Append the instructions of `items` to `code`."""
    steps: list[_Step] = []
    finish = _Step("finish", None, {}, {}, Operator(None, "start"))
    _flatten(items, base, steps, finish)
    steps.append(finish)
    _Registers(steps, code).run()


def _flatten(items: list[Item], base: Place, steps: list[_Step], finish: _Step) -> None:
    for item in items:
        if isinstance(item, Op):
            uses = {name: resolve(v, base) for name, v in item.operands.items()}
            steps.append(
                _Step("op", item.instruction, uses, dict(item.fields), item.origin,
                      wait=tuple(item.wait), signal=tuple(item.signal))
            )  # fmt: skip
        elif isinstance(item, Calculate):
            steps.append(_calculation(item, base))
        elif isinstance(item, Stop):
            steps.append(
                _Step("stop", named("branch"), {"a": ("s", item.more)}, {}, item.origin, mark=finish)
            )
        else:
            _loop(item, base, steps, finish)


def _calculation(item: Calculate, base: Place) -> _Step:
    uses: dict[str, Key] = {}
    if item.a is not None:
        uses["a"] = ("s", item.a)
    if item.b is not None:
        uses["b"] = ("s", item.b)
    fields: dict[str, int] = {}
    if item.instruction.name == "argument":
        fields["index"] = item.index
    else:
        number = int(resolve(item.constant, base)[1])
        fields["imm"] = number - (1 << 48) if number >> 47 else number
    return _Step("calculate", item.instruction, uses, fields, item.origin, item.rd, tuple(item.wait))


def _loop(item: Loop, base: Place, steps: list[_Step], finish: _Step) -> None:
    end = _Step("mark", None, {}, {}, item.origin)
    close = _Step("close", None, {}, {}, item.origin)
    aside = [
        tuple(s for s, count in item.pending.items() if count > n)
        for n in range(max(item.pending.values(), default=0))
    ]
    steps.append(_Step("skip", named("branch"), {"a": ("s", item.count)}, {}, item.origin, mark=end))
    _barrier(item.origin, steps)
    steps.extend(_Step("calculate", named("sync"), {}, {}, item.origin, wait=tokens) for tokens in aside)
    steps.append(_Step("loop", named("loop"), {"count": ("s", item.count)}, {}, item.origin, mark=close))
    _flatten(item.body, base, steps, finish)
    _barrier(item.origin, steps)
    steps.append(close)
    steps.extend(_Step("calculate", named("sync"), {}, {}, item.origin, signal=tokens) for tokens in aside)
    steps.append(end)


def _barrier(origin: Operator, steps: list[_Step]) -> None:
    """Every engine tells when it has come here; the sequencer goes on when all have."""
    nothing = {Engine.LOAD: "load", Engine.MATRIX: "matmul", Engine.VECTOR: "vadd", Engine.STORE: "store"}
    tokens = []
    for i, engine in enumerate(ENGINES):
        matrix = engine == Engine.MATRIX
        uses = (
            {"steps": ONE} if matrix else {}
        )  # the matrix engine has no empty command: one block, not drained
        fields = {"rows": 1, "height": 1, "tiles": 1, "format": 1} if matrix else {}
        if engine == Engine.VECTOR:
            fields["from"] = 2
        tokens.append(semaphore(i, len(ENGINES)))
        steps.append(_Step("op", named(nothing[engine]), uses, fields, origin, signal=(tokens[-1],)))
    steps.append(_Step("calculate", named("sync"), {}, {}, origin, wait=tuple(tokens)))


class _Registers:
    """Assigns registers while it encodes."""

    def __init__(self, steps: list[_Step], code: Code) -> None:
        self.steps, self.code = steps, code
        self.free = list(range(REGISTERS - 1, 0, -1))
        self.held: dict[Key, int] = {}
        self.pinned: set[Key] = set()
        self.scalar: dict[Scalar, int] = {}
        self.positions: dict[Key, list[int]] = {}
        self.last: dict[Scalar, int] = {}
        self.written: list[set[int]] = []  # registers written since each skip, innermost last
        self._analyse()

    def _analyse(self) -> None:
        defined: dict[Scalar, int] = {}
        open_loops: list[tuple[int, _Step]] = []
        inside: dict[Scalar, list[tuple[int, _Step]]] = {}
        for i, step in enumerate(self.steps):
            if step.kind == "loop":
                assert step.mark is not None
                open_loops.append((i, step.mark))
            if step.kind in ("mark", "close"):
                open_loops = [o for o in open_loops if o[1] is not step]
                step.at = i
            for key in step.uses.values():
                self.positions.setdefault(key, []).append(i)
                if key[0] != "c":
                    self.last[key[1]] = i
                    if open_loops:
                        inside.setdefault(key[1], []).extend(open_loops)
            if step.rd is not None:
                defined.setdefault(step.rd, i)
                self.last[step.rd] = max(self.last.get(step.rd, i), i)
                if open_loops and defined[step.rd] < open_loops[0][0]:
                    inside.setdefault(step.rd, []).extend(open_loops)
        for scalar, loops in inside.items():
            for start, mark in loops:
                if defined.get(scalar, -1) < start:
                    self.last[scalar] = max(self.last[scalar], mark.at)

    def run(self) -> None:
        """Encode every step."""
        fixes: list[tuple[int, _Step, _Step]] = []  # word, its step, the mark it aims at
        saved: dict[_Step, tuple[dict[Key, int], set[Key]]] = {}
        words: dict[int, dict[str, Any]] = {}
        for i, step in enumerate(self.steps):
            if step.kind == "mark":
                before, pinned = saved.pop(step)
                touched = self.written.pop()
                if self.written:
                    self.written[-1] |= touched
                self._restore(before, pinned, touched)
                step.at = len(self.code.words)
            elif step.kind in ("close", "finish"):
                step.at = len(self.code.words)
            elif step.kind == "stop":
                assert step.mark is not None
                fixes.append((len(self.code.words), step, step.mark))
                words[len(self.code.words)] = {"a": self._register(step.uses["a"], i, step), "if": UNEQUAL}
                self._append(0, step.origin)
            elif step.kind == "skip":
                register = self._register(step.uses["a"], i, step)
                assert step.mark is not None
                fixes.append((len(self.code.words), step, step.mark))
                words[len(self.code.words)] = {"a": register, "if": 0}
                self._append(0, step.origin)
                saved[step.mark] = (dict(self.held), set(self.pinned))
                self.written.append(set())
            elif step.kind == "loop":
                assert step.mark is not None
                self._pin(i, step)
                register = self._register(step.uses["count"], i, step)
                fixes.append((len(self.code.words), step, step.mark))
                words[len(self.code.words)] = {"count": register}
                self._append(0, step.origin)
            else:
                self._encode(i, step)
            self._release(i)
        for at, step, mark in fixes:
            assert step.instruction is not None
            target = {"end": mark.at} if step.kind == "loop" else {"target": mark.at}
            self.code.words[at] = encode(word(step.instruction, (), (), **{**words[at], **target}))

    def _restore(self, before: dict[Key, int], pinned: set[Key], touched: set[int]) -> None:
        """After a mark: what was known before the skip and not overwritten since."""
        self.held = {
            k: r
            for k, r in before.items()
            if r not in touched and (k[0] == "c" or self.scalar.get(k[1], 0) not in {0, *touched})
        }
        self.pinned = pinned
        taken = {*self.held.values(), *self.scalar.values()}
        self.free = [r for r in range(REGISTERS - 1, 0, -1) if r not in taken]

    def _pin(self, i: int, step: _Step) -> None:
        """Before a loop: forget what is held but for constants of the body, as many as there is room for."""
        stop = next(j for j in range(i, len(self.steps)) if self.steps[j] is step.mark)
        counts: dict[Key, int] = {}
        for s in self.steps[i + 1 : stop]:
            for key in s.uses.values():
                if key[0] == "c" and key[1]:
                    counts[key] = counts.get(key, 0) + 1
        local = {s.rd for s in self.steps[i:stop] if s.rd is not None and s.rd not in self.scalar}
        room = REGISTERS - 1 - len(self.scalar) - min(len(local), 6) - 11
        keep = sorted(counts, key=lambda k: -counts[k])[: max(room, 0)]
        for key in list(self.held):
            if key not in keep and key not in self.pinned:
                self.free.append(self.held.pop(key))
        for key in keep:
            self._register(key, i, step)
        self.pinned |= set(keep)

    def _encode(self, i: int, step: _Step) -> None:
        assert step.instruction is not None
        operands: dict[str, int] = {n: self._register(k, i, step) for n, k in step.uses.items()}
        if step.rd is not None:
            if step.rd not in self.scalar:
                if self.last.get(step.rd, i) == i:  # never used
                    self._append_word(step, operands | {"rd": 0})
                    return
                self.scalar[step.rd] = self._take(i, step)
            operands["rd"] = self.scalar[step.rd]
            self._note(operands["rd"])
            for key in [k for k in self.held if k[0] == "p" and k[1] is step.rd]:
                self.free.append(self.held.pop(key))
        self._append_word(step, operands)

    def _append_word(self, step: _Step, operands: dict[str, int]) -> None:
        assert step.instruction is not None
        self._append(
            encode(word(step.instruction, step.wait, step.signal, **{**operands, **step.fields})), step.origin
        )

    def _append(self, bits: int, origin: Operator) -> None:
        self.code.words.append(bits)
        self.code.origin.append(origin)

    def _note(self, register: int) -> None:
        if self.written:
            self.written[-1].add(register)

    def _register(self, key: Key, i: int, step: _Step) -> int:
        """The register that holds `key`, made now if it is in none."""
        if key == ZERO:
            return 0
        if key[0] == "s":
            return self.scalar[key[1]]
        if key in self.held:
            return self.held[key]
        register = self._take(i, step)
        self.held[key] = register
        self._note(register)
        number = int(key[-1])
        operands = {"rd": register, "imm": number - (1 << 48) if number >> 47 else number}
        if key[0] == "p":
            operands["a"] = self.scalar[key[1]]
        self._append(encode(word(named("add"), (), (), **operands)), step.origin)
        return register

    def _take(self, i: int, step: _Step) -> int:
        """A free register; the one whose constant is needed latest if there is none."""
        if self.free:
            return self.free.pop()
        busy = set(step.uses.values()) | self.pinned
        candidates = [k for k in self.held if k not in busy]
        if not candidates:
            raise DoesNotHold(f"compiler: {step.origin}: more values at a time than registers")
        return self.held.pop(max(candidates, key=lambda k: self._next(k, i)))

    def _next(self, key: Key, i: int) -> int:
        at = self.positions.get(key, [])
        found = bisect_right(at, i)
        return at[found] if found < len(at) else 1 << 60

    def _release(self, i: int) -> None:
        """Registers of scalars that are done; sums of them go too."""
        for scalar in [s for s in self.scalar if self.last[s] <= i]:
            self.free.append(self.scalar.pop(scalar))
            for key in [k for k in self.held if k[0] == "p" and k[1] is scalar]:
                self.free.append(self.held.pop(key))
