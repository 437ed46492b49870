"""Test vectors: programs over every engine that the core has, with memory before and after as the executable ISA says.

They are made from the instructions' own declarations: every instruction of the core is in one of them, every choice of
every field of the vector instructions too. A program does one thing after another (each operation gives a token that
the sequencer waits for); `overlap` is the one in which engines run beside each other.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from tapeout.chip.isa.assembler import assemble, binary
from tapeout.chip.isa.definition import ARGUMENTS, Cause, Engine, Instruction, Trap
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, round_up
from tapeout.chip.isa.machine import Machine
from tapeout.chip.isa.registry import instructions
from tapeout.physical.handoff.programs import Program, scalar_program, transfer_program

LEAST_MEMORY = 1 << 16


@dataclass(frozen=True)
class Vector:
    """A program at `base` in memory `before`; `after` and `codes` (of interrupts and the end) or `cause` are what must
    come of it. `shows`: instructions it executes, each with the choices of its fields."""

    name: str
    text: str
    program: list[int]
    base: int
    before: np.ndarray
    after: np.ndarray
    codes: tuple[int, ...]
    cause: int
    about: str
    shows: frozenset[tuple[str, str]] = field(default_factory=frozenset)


def arguments() -> tuple[int, ...]:
    """What the host writes into the argument registers."""
    return tuple(0x1111 * (i + 1) | (i + 1) << 32 for i in range(ARGUMENTS))


def vectors(g: Geometry, names: frozenset[str]) -> list[Vector]:
    """All vectors for a core with these instructions; those that its scratchpad is too small for are left out."""
    made = [
        executed(scalar_program(), g, "every scalar operation, loops, branches, arguments, interrupts"),
        executed(transfer_program("copy", g), g, "strided loads and stores"),
        executed(transfer_program("overlap", g), g, "loads and stores beside each other, double-buffered"),
        executed(transfer_program("chosen", g), g, "gather and scatter by a table in the scratchpad"),
        trapped("unknown", g, 0xFF, Cause.OPCODE, "an opcode that is no instruction"),
        trapped("reserved", g, _reserved(), Cause.RESERVED, "a reserved bit"),
    ]
    if "transpose" in names:
        made.append(executed(transfer_program("transpose", g), g, "tiles of 32 rows, turned"))
    if "matmul" in names:
        for form, split, keep in itertools.product(g.formats, (False, True), (False, True)):
            if split and g.rows < 2:
                continue
            name = f"product_{form}" + "_split" * split + "_continued" * keep
            about = f"a product with {form} weights" + ", contraction split" * split + ", in two parts" * keep
            program = product(g, form, split, keep)
            if program is not None:
                made.append(executed(program.named(name), g, about))
    for one in instructions().values():
        if one.engine is Engine.VECTOR and one.name in names:
            program = vector_program(one)
            if program.pad_bytes <= g.pad_bytes:
                made.append(executed(program, g, one.about))
    if {"matmul", "vquantise", "vmul"} <= names and g.pad_bytes >= 32768 and "mxint8" in g.formats:
        chain = product(g, "mxint8", False, False, chained=True)
        if chain is not None:
            made.append(executed(chain.named("layer"), g, "quantise, multiply, scale: three engines in turn"))
    return [v for v in made if v is not None]


def executed(program: Program, g: Geometry, about: str) -> Vector | None:
    """The vector of a program by the executable ISA; None if the scratchpad does not hold what it needs."""
    if program.pad_bytes > g.pad_bytes:
        return None
    words = assemble(program.text, program.name)
    before, base = _memory(program, words)
    after = before.copy()
    state = Machine(g, after, base, arguments()).run()
    shows = frozenset(_shown(words))
    codes = (*state.interrupts, state.halted or 0)
    return Vector(program.name, program.text, words, base, before, after, codes, 0, about, shows)


def trapped(name: str, g: Geometry, word: int, cause: Cause, about: str) -> Vector:
    """A program whose second word traps."""
    words = [*assemble("add rd=r1 imm=1", name), word, *assemble("halt code=1", name)]
    p = Program(name)
    before, base = _memory(p, words)
    after = before.copy()
    try:
        Machine(g, after, base).run()
    except Trap as e:
        if e.cause is not cause:
            raise
    else:
        raise ValueError(f"{name} does not trap")
    text = f"add rd=r1 imm=1\n# {word:#034x}: {about}\nhalt code=1\n"
    return Vector(name, text, words, base, before, after, (), int(cause), about)


def _reserved() -> int:
    halt = instructions()["halt"]
    bit = next(b for b in range(40, 128) if not halt.used >> b & 1)
    return halt.opcode | 1 << bit


def _memory(program: Program, words: list[int]) -> tuple[np.ndarray, int]:
    """Memory with the program's data, and the program behind it."""
    base = round_up(max(program.end, LEAST_MEMORY // 2), 4096)
    size = LEAST_MEMORY
    while size < base + 16 * len(words) + 4096:
        size *= 2
    memory = np.zeros(size, np.uint8)
    for at, data in program.data:
        memory[at : at + len(data)] = data
    code = np.frombuffer(binary(words), np.uint8)
    memory[base : base + len(code)] = code
    return memory, base


def _shown(words: list[int]) -> set[tuple[str, str]]:
    from tapeout.chip.isa.registry import decode

    found = set()
    for bits in words:
        w = decode(bits)
        found.add((w.instruction.name, ""))
        for f, value in zip(w.instruction.fields, w.values, strict=True):
            if f.choices:
                found.add((w.instruction.name, f"{f.name}={f.choices[value]}"))
            elif f.bits == 1:
                found.add((w.instruction.name, f"{f.name}={value}"))
    return found


def wanted(names: frozenset[str]) -> set[tuple[str, str]]:
    """Every instruction of the core, and every choice of each of its fields."""
    found = set()
    for name in names:
        found.add((name, ""))
        for f in instructions()[name].fields:
            if f.choices:
                found |= {(name, f"{f.name}={c}") for c in f.choices}
            elif f.bits == 1:
                found |= {(name, f"{f.name}={v}") for v in (0, 1)}
    return found


def floats(count: int, seed: int) -> np.ndarray:
    """FP32 values as bytes: mostly moderate, some of every special kind."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, count).astype(np.float32)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-42, -3e38, 2**-126], np.float32)
    where = rng.integers(0, count, max(count // 12, 1))
    x[where] = special[rng.integers(0, len(special), len(where))]
    return x.view(np.uint8)


def vector_program(one: Instruction) -> Program:
    """The instruction with every choice of its fields, on rows that end within a pass of the lanes."""
    p = Program(f"vector_{one.name}")
    n, rows, pitch = 40, 3, 192
    size = pitch * rows
    a, b, out = 0, round_up(size, 64), 2 * round_up(size, 64)
    p.pad_bytes = 3 * round_up(size, 64)
    slots = {s.name for s in one.slots}
    values = floats(size // 4, one.opcode)
    second = floats(size // 4, one.opcode + 1)
    if one.name == "vtake":
        second = np.random.default_rng(5).integers(0, n, size // 4).astype("<u4").view(np.uint8)
    if one.name == "vdequantise":
        values = np.random.default_rng(6).integers(0, 256, size, dtype=np.uint8)
        second = np.random.default_rng(7).integers(110, 140, size, dtype=np.uint8)
    p.memory(0, values)
    p.memory(0x1000, second)
    choices = [
        [f"{f.name}={c}" for c in (f.choices or ("0", "1"))] for f in one.fields if f.choices or f.bits == 1
    ]
    fixed = []
    for f in one.fields:
        if f.choices or f.bits == 1:
            continue
        value = {"half": "16", "k": "5", "per": "2", "imm": "1.5"}.get(f.name)
        if value is not None:
            fixed.append(f"{f.name}={value}")
    results = 0x2000
    operands = {
        "a": a, "out": out, "n": n, "rows": rows, "sa": pitch, "so": pitch, "b": b, "sb": pitch, "low": 3, "high": 30,
    }  # fmt: skip
    used = {name: 10 + i for i, name in enumerate(operands) if name in slots}
    for name, register in used.items():
        p.set(register, operands[name])
    for combination in itertools.product(*choices):
        p.load(0, a, size)
        p.load(0x1000, b, size)
        p.load(0, out, size)
        text = " ".join([one.name, *(f"{k}=r{r}" for k, r in used.items()), *fixed, *combination])
        p.engine(text)
        p.store(b, results, 2 * round_up(size, 64))
        results += 2 * round_up(size, 64)
    p.end = max(p.end, results)
    p.add("halt code=9")
    return p


def product(g: Geometry, form: str, split: bool, keep: bool, chained: bool = False) -> Program | None:
    """rows × (steps · 32) by (steps · 32) × (tiles · outputs); None if the scratchpad is too small."""
    p = Program("product")
    rows, tiles, steps = min(g.rows, 8), min(2, g.tiles), 2
    height = rows if not split else max(rows // 2, 1)
    groups = -(-rows // height)
    beats = steps * groups * tiles
    k = steps * groups * BLOCK_BYTES
    codes, wscale = beats * g.beat_bytes(form), round_up(beats * g.scale_bytes(form), 64)
    sa = k + round_up(k // 32, 32)
    so = round_up(tiles * g.pitch(form), 32)
    w = 0
    ws = round_up(codes, 64)
    at = round_up(ws + wscale, 64)
    out = round_up(at + rows * sa, 64)
    p.pad_bytes = round_up(out + rows * so, 64) + (rows * k * 4 if chained else 0)
    rng = np.random.default_rng(len(form) + 2 * split)
    where = {"codes": 0, "scales": round_up(codes, 64)}
    where["rows"] = round_up(where["scales"] + wscale, 64)
    results = round_up(where["rows"] + max(rows * sa, rows * k * 4), 4096)
    p.memory(where["codes"], rng.integers(0, 256, codes, dtype=np.uint8))
    p.memory(where["scales"], rng.integers(118, 134, wscale, dtype=np.uint8))
    p.load(where["codes"], w, codes)
    p.load(where["scales"], ws, wscale)
    if chained:
        x = round_up(out + rows * so, 64)
        p.memory(where["rows"], rng.normal(0, 1, rows * k).astype(np.float32).view(np.uint8))
        p.load(where["rows"], x, rows * k * 4)
        for register, value in ((20, x), (21, at), (22, k), (23, rows), (24, 4 * k), (25, sa), (26, at + k)):
            p.set(register, value)
        p.engine("vquantise a=r20 out=r21 n=r22 rows=r23 sa=r24 so=r25 b=r26 sb=r25 format=mxint8")
    else:
        data = rng.integers(0, 256, (rows, sa), dtype=np.uint8)
        data[:, k:] = rng.integers(118, 134, (rows, sa - k))
        p.memory(where["rows"], data.reshape(-1))
        p.load(where["rows"], at, rows * sa)
    constants: tuple[tuple[int, int], ...] = (
        (10, at), (11, at + k), (12, sa), (13, w),
        (14, ws), (15, out), (16, so), (17, steps),
    )  # fmt: skip
    for register, value in constants:
        p.set(register, value)
    operands = "a=r10 ascale=r11 sa=r12 w=r13 wscale=r14 out=r15 so=r16 steps=r17"
    tail = f"rows={rows} height={height} tiles={tiles} format={form}"
    if keep:
        p.engine(f"matmul {operands} {tail} bank=1")
        p.engine(f"matmul {operands} {tail} bank=1 keep=1 drain=1")
    else:
        p.engine(f"matmul {operands} {tail} drain=1")
    if chained:
        outputs = tiles * g.outputs(form)
        for register, value in ((20, out), (22, outputs), (23, rows), (24, so)):
            p.set(register, value)
        p.engine("vmul a=r20 out=r20 n=r22 rows=r23 sa=r24 so=r24 from=immediate imm=0.5")
    p.store(out, results, rows * so)
    p.end = max(p.end, results + rows * so)
    p.add("halt code=4")
    return p
