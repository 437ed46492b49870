"""Programs on the executable ISA against `numerics`, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble, binary
from tapeout.chip.isa.definition import Cause, Trap
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.layout import pack_rows, pack_weights, row_bytes
from tapeout.chip.isa.machine import Machine, execute
from tapeout.chip.isa.state import State
from tapeout.errors import DoesNotHold
from tapeout.numerics import fp32, vector
from tapeout.numerics.attention import factor
from tapeout.numerics.convert import quantise
from tapeout.numerics.formats import FORMATS, MXINT8, Mx
from tapeout.numerics.product import Split, matmul

TINY = Geometry.of(load("tiny").core)
CODE = 0x8000


def wide(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Values over many binades, so that the order of a sum shows."""
    return (rng.standard_normal(shape) * np.exp2(rng.integers(-12, 12, shape))).astype(np.float32)


def run(
    text: str, data: dict[int, NDArray[np.generic]] | None = None, arguments: tuple[int, ...] = (),
    seed: int | None = None, geometry: Geometry = TINY,
) -> State:  # fmt: skip
    """Memory of 64 KiB with `data` at its addresses, the program behind it."""
    memory = np.zeros(0x10000, np.uint8)
    for address, values in (data or {}).items():
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        memory[address : address + len(raw)] = raw
    return execute(geometry, assemble(text), memory, arguments, CODE, seed)


def floats(state: State, address: int, n: int) -> NDArray[np.uint32]:
    """Bits of n FP32 values in memory."""
    return state.memory[address : address + 4 * n].copy().view(np.uint32)


def constants(**registers: int) -> str:
    return "".join(f"add rd={name} imm={value}\n" for name, value in registers.items())


def test_scalar_arithmetic() -> None:
    m = 1 << 48
    s = run(
        constants(r1=-7, r2=3)
        + """
        add rd=r3 a=r1 b=r2 imm=1
        sub rd=r4 a=r1 b=r2
        mul rd=r5 a=r1 b=r2
        and rd=r6 a=r1 imm=0xff
        or  rd=r7 a=r2 imm=8
        xor rd=r8 a=r2 b=r2
        shl rd=r9 a=r2 imm=46
        shr rd=r10 a=r1 imm=40
        min rd=r11 a=r1 b=r2
        max rd=r12 a=r1 b=r2
        less rd=r13 a=r1 b=r2
        equal rd=r14 a=r1 imm=-7
        shl rd=r15 a=r2 imm=48
        add rd=r0 imm=5
        write a=r1 imm=64
        read rd=r16 imm=68
        argument rd=r17 index=2
        interrupt code=9
        halt code=3
        """,
        arguments=(1, 2, 1 << 47),
    )
    want = [
        0,
        m - 7,
        3,
        m - 3,
        m - 10,
        m - 21,
        0xF9,
        11,
        0,
        3 << 46 & m - 1,
        0xFF,
        m - 7,
        3,
        1,
        1,
        0,
        0xFFFF,
        1 << 47,
    ]
    assert s.registers[:18] == want
    assert (s.halted, s.interrupts) == (3, [9])


@pytest.mark.parametrize(("outer", "inner"), [(3, 4), (1, 1), (0, 5), (5, 0)])
def test_loops_take_their_trips_from_registers(outer: int, inner: int) -> None:
    """Two loops that end together, one that a branch goes round early."""
    s = run(
        """
        argument rd=r1 index=0
        argument rd=r2 index=1
        loop count=r1 end=done
          add rd=r3 a=r3 imm=1
          loop count=r2 end=done
            add rd=r4 a=r4 imm=1
            branch a=r4 imm=2 if=less target=done
            add rd=r5 a=r5 imm=1
        done:
        halt
        """,
        arguments=(outer, inner),
    )
    n = outer * inner
    assert s.registers[3:6] == [outer, n, max(n - 1, 0)]


@pytest.mark.parametrize("name", ["mxint8", "mxfp4"])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_gemm(name: str, seed: int | None) -> None:
    """Two parts of the contraction (`keep`), weights of the second loaded while the first is multiplied."""
    rng = np.random.default_rng(1)
    m, k, tiles = 3, 256, 2
    n = tiles * TINY.outputs(name)
    a, w = quantise(wide(rng, m, k), MXINT8), quantise(wide(rng, n, k), FORMATS[name])
    halves = [pack_weights(part(w, i, 4), TINY, tiles) for i in (0, 4)]
    rows, per = pack_rows(a), row_bytes(k)
    codes, scales = len(halves[0][0]), len(halves[0][1])
    data = {
        0: rows,
        0x2000: np.concatenate([h[0] for h in halves]),
        0x6000: np.concatenate([h[1] for h in halves]),
    }
    s = run(
        constants(r1=1, r2=len(rows), r3=0x2000, r4=codes, r5=0x6000, r6=scales, r7=per, r8=4, r9=k)
        + constants(r10=0x4000, r11=0x8000, r12=0xC000, r13=0xD000, r14=128, r15=0x10000, r16=128, r17=k + 4)
        + f"""
        load pad=r0 memory=r0 bytes=r2 n0=r1 n1=r1
        load pad=r10 memory=r3 bytes=r4 n0=r1 n1=r1
        load pad=r12 memory=r5 bytes=r6 n0=r1 n1=r1 signal=0
        add rd=r3 a=r3 b=r4
        add rd=r5 a=r5 b=r6
        load pad=r11 memory=r3 bytes=r4 n0=r1 n1=r1
        load pad=r13 memory=r5 bytes=r6 n0=r1 n1=r1 signal=0
        matmul a=r0 ascale=r9 sa=r7 w=r10 wscale=r12 steps=r8 rows={m} height={m} tiles={tiles} format={name} wait=0
        add rd=r20 imm=128
        add rd=r21 imm=0x14000
        # the scales of blocks 4 to 7 do not start at a boundary of 32: bring them to one
        add rd=r22 imm={k + 4}
        add rd=r23 imm=4
        add rd=r24 imm={m}
        load pad=r21 memory=r22 bytes=r23 n0=r24 s0=r7 n1=r1 pitch=r7 signal=1
        matmul a=r20 ascale=r21 sa=r7 w=r11 wscale=r13 out=r15 so=r16 \
           steps=r8 rows={m} height={m} tiles={tiles} format={name} keep=1 drain=1 wait=0,1 signal=2
        add rd=r25 imm=0x7000
        add rd=r26 imm={4 * n}
        store pad=r15 memory=r25 bytes=r26 n0=r24 s0=r26 n1=r1 pitch=r16 wait=2
        halt
        """,
        data,
        seed=seed,
    )  # fmt: skip
    want = fp32.bits(matmul(a, w)).reshape(-1)
    assert TINY.pitch(name) == 4 * TINY.outputs(name)
    assert (floats(s, 0x7000, m * n) == want).all()


def part(w: Mx, first: int, blocks: int) -> Mx:
    """Some blocks of each row."""
    per = w.format.bits * 32 // 8
    return Mx(
        w.format,
        np.ascontiguousarray(w.codes[:, first * per : (first + blocks) * per]),
        w.scales[:, first : first + blocks],
    )


@pytest.mark.parametrize("name", ["mxint8", "mxfp4"])
def test_split_contraction(name: str) -> None:
    """One row of activations in three groups: three partial sums of interleaved blocks, added in order."""
    rng = np.random.default_rng(2)
    k, ways = 32 * 8, 3
    n = TINY.outputs(name)
    a, w = quantise(wide(rng, 1, k), MXINT8), quantise(wide(rng, n, k), FORMATS[name])
    codes, scales = pack_weights(w, TINY, 1, groups=ways)
    steps = -(-8 // ways)
    row = np.zeros(32 * steps * ways + 32, np.uint8)
    row[:k], row[32 * steps * ways :][:8] = a.codes.view(np.uint8), a.scales
    s = run(
        constants(r1=1, r2=len(row), r3=0x2000, r4=len(codes), r5=0x4000, r6=len(scales), r7=steps, r8=len(row) - 32)
        + constants(r9=32, r10=0x8000, r11=0x8020, r12=0x8040, r13=n)
        + f"""
        load pad=r0 memory=r0 bytes=r2 n0=r1 n1=r1
        load pad=r3 memory=r3 bytes=r4 n0=r1 n1=r1
        load pad=r5 memory=r5 bytes=r6 n0=r1 n1=r1 signal=0
        matmul a=r0 ascale=r8 w=r3 wscale=r5 out=r10 so=r9 \
           steps=r7 rows={ways} height=1 format={name} drain=1 wait=0 signal=1
        vadd a=r10 b=r11 out=r10 n=r13 rows=r1 wait=1
        vadd a=r10 b=r12 out=r10 n=r13 rows=r1 signal=2
        add rd=r14 imm={4 * n}
        add rd=r15 imm=0x7000
        store pad=r10 memory=r15 bytes=r14 n0=r1 n1=r1 wait=2
        halt
        """,
        {0: row, 0x2000: codes, 0x4000: scales},
    )  # fmt: skip
    want = fp32.bits(matmul(a, w, [Split(ways, "interleaved")])).reshape(-1)
    assert (floats(s, 0x7000, n) == want).all()


def test_softmax_and_rms_norm() -> None:
    rng = np.random.default_rng(3)
    rows, n, epsilon = 3, 50, 1e-5
    x, weight = wide(rng, rows, n) / np.float32(256), wide(rng, n)
    s = run(
        constants(r1=1, r2=rows * 256, r3=n, r4=rows, r5=256, r6=0x1000, r7=0x2000, r8=32, r9=0x3000, r10=0x4000)
        + constants(r11=0x800, r12=4 * n, r13=0x5000)
        + f"""
        load pad=r0 memory=r0 bytes=r2 n0=r1 n1=r1
        load pad=r11 memory=r11 bytes=r12 n0=r1 n1=r1 signal=0
        vmul a=r0 out=r6 n=r3 rows=r4 sa=r5 so=r5 from=immediate imm={float(vector.LOG2E)!r} wait=0
        vgreatest a=r6 out=r7 n=r3 rows=r4 sa=r5 so=r8
        vsub a=r6 out=r6 n=r3 rows=r4 sa=r5 so=r5 b=r7 sb=r8 from=row
        vexp2 a=r6 out=r6 n=r3 rows=r4 sa=r5 so=r5
        vtotal a=r6 out=r7 n=r3 rows=r4 sa=r5 so=r8
        vreciprocal a=r7 out=r7 n=r1 rows=r4 sa=r8 so=r8
        vmul a=r6 out=r6 n=r3 rows=r4 sa=r5 so=r5 b=r7 sb=r8 from=row signal=1
        store pad=r6 memory=r9 bytes=r12 n0=r4 s0=r12 n1=r1 pitch=r5 wait=1

        vmul a=r0 b=r0 out=r10 n=r3 rows=r4 sa=r5 sb=r5 so=r5
        vtotal a=r10 out=r7 n=r3 rows=r4 sa=r5 so=r8
        vmul a=r7 out=r7 n=r1 rows=r4 sa=r8 so=r8 from=immediate imm={1 / n!r}
        vadd a=r7 out=r7 n=r1 rows=r4 sa=r8 so=r8 from=immediate imm={epsilon!r}
        vrsqrt a=r7 out=r7 n=r1 rows=r4 sa=r8 so=r8
        vmul a=r0 out=r10 n=r3 rows=r4 sa=r5 so=r5 b=r7 sb=r8 from=row
        vmul a=r10 out=r10 n=r3 rows=r4 sa=r5 so=r5 b=r11 signal=1
        store pad=r10 memory=r13 bytes=r12 n0=r4 s0=r12 n1=r1 pitch=r5 wait=1
        halt
        """,
        {0: np.pad(x, [(0, 0), (0, 64 - n)]), 0x800: weight},
    )  # fmt: skip
    assert (floats(s, 0x3000, rows * n) == fp32.bits(vector.softmax(x)).reshape(-1)).all()
    assert (floats(s, 0x5000, rows * n) == fp32.bits(vector.rms_norm(x, weight, epsilon)).reshape(-1)).all()


def test_expert_chosen_at_run_time() -> None:
    """top-k of scores; the best expert's row by `read` and `load`, all chosen ones by `gather`, scores by `vtake`."""
    rng = np.random.default_rng(4)
    experts, size = 12, 40
    table = rng.integers(0, 256, (experts, size), dtype=np.uint8)
    scores = wide(rng, experts)
    scores[7] = scores[2] = scores.max()  # a tie: the lower index wins
    s = run(
        constants(r1=1, r2=4 * experts, r3=experts, r4=0x100, r5=0x200, r6=size, r7=0x1000, r8=0x400, r9=3)
        + """
        load pad=r0 memory=r0 bytes=r2 n0=r1 n1=r1 signal=0
        vtopk a=r0 out=r4 n=r3 rows=r1 k=3 wait=0 signal=1,2
        vtake a=r0 b=r4 out=r5 n=r9 rows=r1 signal=3
        gather pad=r8 memory=r7 bytes=r6 n0=r9 s0=r6 table=r4 pitch=r6 wait=1
        sync wait=2
        read rd=r10 b=r4
        mul rd=r11 a=r10 b=r6
        add rd=r11 a=r11 b=r7
        add rd=r12 imm=0x600
        load pad=r12 memory=r11 bytes=r6 n0=r1 n1=r1
        sync wait=3
        halt
        """,
        {0: scores, 0x1000: table},
    )
    best = vector.top_k(scores, 3)
    assert best[0] == 2 and best[1] == 7
    assert (s.pad[0x400 : 0x400 + 3 * size].reshape(3, size) == table[best]).all()
    assert (s.pad[0x600 : 0x600 + size] == table[2]).all()
    assert (s.pad[0x200:0x20C].view(np.float32) == scores[best]).all()


def test_attention_of_one_tile() -> None:
    """Scores against cached keys, a causal mask, softmax weights, values transposed on their way: one head group."""
    from tapeout.numerics.attention import attend

    rng = np.random.default_rng(5)
    heads, d, tile, length = 4, 32, 32, 20
    q = wide(rng, heads, d) / np.float32(64)
    k, v = (quantise(wide(rng, length, d), MXINT8) for _ in range(2))
    scale = d**-0.5
    see = np.ones((heads, length), bool)
    see[:, :3] = False  # a window
    want = attend(q, k, v, see, scale, MXINT8, tile=tile)
    # the cache as it lies: keys by position; scales by position; both padded with zeros
    pad = lambda x: np.pad(x, [(0, tile - length), (0, 0)])  # noqa: E731
    data = {
        0: q, 0x1000: pad(k.codes), 0x2000: pad(k.scales), 0x3000: pad(v.codes), 0x3800: pad(v.scales),
    }  # fmt: skip
    s = run(
        constants(r1=1, r2=heads * d * 4, r3=0x1000, r4=1024, r5=0x2000, r6=32, r7=0x3000, r8=0x3800, r9=4, r10=128)
        + constants(r11=0x4000, r12=0x4020, r13=64, r14=0x5000, r15=3, r16=length, r17=0x6000, r18=0x7000, r19=0x7080)
        + constants(r20=0x7100, r21=0x7180, r22=0x8000)
        + f"""
        load pad=r0 memory=r0 bytes=r2 n0=r1 n1=r1 signal=0
        load pad=r3 memory=r3 bytes=r4 n0=r1 n1=r1
        load pad=r5 memory=r5 bytes=r6 n0=r1 n1=r1 signal=1
        transpose pad=r7 memory=r7 bytes=r6 n0=r1 s0=r6
        load pad=r8 memory=r8 bytes=r6 n0=r1 n1=r1 signal=2
        vquantise a=r0 out=r11 b=r12 n=r6 rows=r9 sa=r10 so=r13 sb=r13 format=mxint8 wait=0 signal=3
        matmul a=r11 ascale=r12 sa=r13 w=r3 wscale=r5 out=r14 so=r10 \
           steps=r1 rows=4 height=4 tiles=8 format=mxint8 drain=1 wait=1,3 signal=4
        vmul a=r14 out=r14 n=r6 rows=r9 sa=r10 so=r10 from=immediate imm={float(factor(scale))!r} wait=4
        vwindow a=r14 out=r14 n=r6 rows=r9 sa=r10 so=r10 low=r15 high=r16 per=4 imm=-inf
        vgreatest a=r14 out=r18 n=r6 rows=r9 sa=r10 so=r6
        vsub a=r14 out=r14 n=r6 rows=r9 sa=r10 so=r10 b=r18 sb=r6 from=row
        vexp2 a=r14 out=r14 n=r6 rows=r9 sa=r10 so=r10
        vtotal a=r14 out=r20 n=r6 rows=r9 sa=r10 so=r6
        vconvert a=r8 out=r22 n=r6 rows=r1 kind=e8m0_f32 wait=2
        vmul a=r14 out=r14 n=r6 rows=r9 sa=r10 so=r10 b=r22
        vwindow a=r14 out=r14 n=r6 rows=r9 sa=r10 so=r10 low=r15 high=r16 per=4 imm=0.0
        vquantise a=r14 out=r11 b=r12 n=r6 rows=r9 sa=r10 so=r13 sb=r13 format=mxint8 signal=3
        # the values' own scales are on the other side: one everywhere
        add rd=r26 imm=0x3820
        add rd=r27 imm=0x7200
        load pad=r27 memory=r26 bytes=r6 n0=r1 n1=r1 signal=5
        matmul a=r11 ascale=r12 sa=r13 w=r7 wscale=r27 out=r17 so=r10 \
           steps=r1 rows=4 height=4 tiles=8 format=mxint8 drain=1 wait=3,5 signal=4
        vreciprocal a=r20 out=r20 n=r1 rows=r9 sa=r6 so=r6 wait=4
        vmul a=r17 out=r17 n=r6 rows=r9 sa=r10 so=r10 b=r20 sb=r6 from=row signal=6
        add rd=r28 imm=0x5000
        store pad=r17 memory=r28 bytes=r10 n0=r9 s0=r10 n1=r1 pitch=r10 wait=6
        halt
        """,
        data | {0x3820: np.full(32, 127, np.uint8)},
    )  # fmt: skip
    assert (floats(s, 0x5000, heads * d) == fp32.bits(want).reshape(-1)).all()


def test_moves() -> None:
    """Tiled loads, stores of single bytes, scatter; what a granule has left becomes zero."""
    rng = np.random.default_rng(6)
    source = rng.integers(1, 256, 4096, dtype=np.uint8)
    s = run(
        constants(
            r1=1, r2=12, r3=3, r4=100, r5=2, r6=20, r7=16, r8=0x1000, r9=0x2000, r10=6, r11=7, r12=0x300
        )
        + constants(r13=5 << 16, r14=0x100000002, r15=0x3000, r16=64)
        + """
        load pad=r12 memory=r1 bytes=r2 n0=r3 s0=r6 n1=r5 s1=r4 pitch=r7 signal=0
        store pad=r12 memory=r9 bytes=r1 n0=r10 s0=r11 n1=r1 pitch=r7 wait=0
        write a=r14
        write a=r5 imm=8
        sync signal=1
        scatter pad=r12 memory=r15 bytes=r2 n0=r3 s0=r16 pitch=r7 wait=1
        halt
        """,
        {0: source},
    )
    runs = [source[1 + 100 * i1 + 20 * i0 :][:12] for i1 in range(2) for i0 in range(3)]
    want = np.zeros((6, 16), np.uint8)
    want[:, :12] = runs
    assert (s.pad[0x300:0x360].reshape(6, 16) == want).all()
    assert (s.memory[0x2000 : 0x2000 + 42 : 7] == want[:, 0]).all()
    for i, at in enumerate((2, 1, 2)):
        if i != 0:
            assert (s.memory[0x3000 + 64 * at :][:12] == want[i, :12]).all()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("load pad=r1 n0=r2 n1=r2 bytes=r2", Cause.ALIGNMENT),
        ("load pad=r3 n0=r2 n1=r2 bytes=r2", Cause.RANGE),
        ("load memory=r3 n0=r2 n1=r2 bytes=r2", Cause.MEMORY),
        ("read rd=r1 b=r1", Cause.ALIGNMENT),
        ("matmul steps=r2 rows=5 height=5", Cause.OPERAND),
        ("matmul steps=r2 rows=2 height=3", Cause.OPERAND),
        ("matmul steps=r0", Cause.OPERAND),
        ("matmul steps=r2 tiles=9", Cause.OPERAND),
        ("vadd a=r1 n=r2 rows=r2", Cause.ALIGNMENT),
        ("vtopk n=r2 rows=r2 k=2", Cause.OPERAND),
        ("vrope n=r2 rows=r2 half=1", Cause.OPERAND),
        ("vrope n=r3 rows=r2 half=4", Cause.OPERAND),
        ("loop count=r2 end=0", Cause.LOOP),
        ("loop count=r2 end=6\nbranch target=0", Cause.LOOP),
        ("loop count=r4 end=6\nsync signal=3\nsync", Cause.SEMAPHORE),
    ],
)
def test_traps(text: str, cause: Cause) -> None:
    with pytest.raises(Trap) as caught:
        run(constants(r1=2, r2=1, r3=1 << 40, r4=100) + text + "\nhalt")
    assert caught.value.cause == cause


def test_a_program_that_waits_for_nothing_is_told() -> None:
    with pytest.raises(DoesNotHold, match=r"load at 0 .*semaphores \[3\]"):
        run("load wait=3\nhalt")
    memory = np.zeros(64, np.uint8)
    memory[:16] = np.frombuffer(binary(assemble("branch target=0")), np.uint8)
    with pytest.raises(DoesNotHold, match="1000 instructions without a halt"):
        Machine(TINY, memory).run(1000)


@pytest.mark.parametrize("seed", range(4))
def test_order_of_engines_does_not_matter(seed: int) -> None:
    """Double buffering with tokens both ways: any order of the engines gives the same memory."""
    source = np.arange(2048, dtype=np.float32)
    s = run(
        constants(r1=1, r2=256, r3=64, r4=8, r5=0x4000)
        + """
        sync signal=1
        sync signal=1
        loop count=r4 end=done
          load pad=r6 memory=r7 bytes=r2 n0=r1 n1=r1 wait=1 signal=0
          vmul a=r6 out=r6 n=r3 rows=r1 from=immediate imm=2.0 wait=0 signal=2
          store pad=r6 memory=r5 bytes=r2 n0=r1 n1=r1 wait=2 signal=1
          add rd=r7 a=r7 b=r2
          add rd=r5 a=r5 b=r2
          xor rd=r6 a=r6 b=r2
        done: halt
        """,
        {0: source},
        seed=seed,
    )
    assert (s.memory[0x4000 : 0x4000 + 2048].view(np.float32) == 2 * source[:512]).all()
