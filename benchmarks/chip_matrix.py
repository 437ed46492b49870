"""The matrix engine on the scratchpad and on memory, in RTL: busy cycles of a large product, share of the memory port
of a decode-shaped one, rate of MXFP4 against MXINT8. Bytes are random; `tests/chip/rtl/test_matrix.py` compares bits.

    python benchmarks/chip_matrix.py [--chip tiny] [--latency 100]
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.geometry import Geometry, round_up
from tapeout.chip.isa.layout import row_bytes
from tapeout.chip.rtl.core import Core
from tapeout.simulator.rtl.core import CoreSimulation, Outcome

MEMORY, CODE = 1 << 22, 0x3F0000


def run(core: Core, text: str, latency: int) -> Outcome:
    """A program on random memory."""
    data = np.random.default_rng(0).integers(0, 256, MEMORY, dtype=np.uint8)
    got = CoreSimulation(core, data, latency=latency).run(assemble(text), CODE)
    assert got.cause is None, got
    return got


def numbers(**registers: int) -> str:
    """Instructions that set registers r1 …, in order."""
    return "".join(f"add rd={r} imm={v}\n" for r, v in registers.items())


def product(g: Geometry, format: str, blocks: int, k: int) -> str:
    """blocks × rows activations of k elements against a full bank of outputs, everything in the scratchpad."""
    steps, tiles = k // 32, g.tiles
    w = steps * tiles * g.beat_bytes(format)
    wscale = w + steps * tiles * g.scale_bytes(format)
    a = round_up(wscale, 64)
    row, line = row_bytes(k), tiles * g.pitch(format)
    out = g.pad_bytes - 4 * g.rows * line
    assert a + 2 * g.rows * row <= out, "the scratchpad is too small"
    one = (
        "matmul a=r1 ascale=r2 sa=r3 w=r0 wscale=r5 out=r6 so=r7 steps=r8 "
        f"rows={g.rows} height={g.rows} tiles={tiles} drain=1 format={format} "
    )
    return (
        numbers(r1=a, r2=a + k, r3=row, r5=w, r6=out, r7=line, r8=steps, r9=blocks // 2)
        + f"loop count=r9 end=done\n{one} bank=0\n{one} bank=1\ndone: halt\n"
    )


def decode(g: Geometry, format: str, chunks: int, m: int, k: int) -> str:
    """m rows of k elements against chunks × a bank of outputs, weights from memory, double-buffered."""
    groups = g.rows // m  # the contraction is split over the rows that the batch leaves free
    steps, tiles = k // 32 // groups, g.tiles
    codes = steps * groups * tiles * g.beat_bytes(format)
    chunk = round_up(codes + steps * groups * tiles * g.scale_bytes(format), 1024)
    row, line = row_bytes(k), tiles * g.pitch(format)
    a = 2 * chunk
    out = a + round_up(m * row, 1024)
    assert out + g.rows * line <= g.pad_bytes, "the scratchpad is too small"
    sa = row if m == g.rows else 0  # with one row of activations every group reads the same
    assert m in (1, g.rows)
    body = ""
    for half in (0, 1):
        body += (
            f"load pad=r{10 + half} memory=r12 bytes=r13 n0=r14 n1=r14 wait={half} signal={2 + half}\n"
            f"matmul a=r1 ascale=r2 sa=r3 w=r{10 + half} wscale=r{15 + half} out=r6 so=r7 steps=r8 rows={g.rows} "
            f"height={m} tiles={tiles} bank={half} drain=1 format={format} wait={2 + half} signal={half}\n"
            "add rd=r12 a=r12 b=r13\n"
        )
    return (
        numbers(r1=a, r2=a + k, r3=sa, r6=out, r7=line, r8=steps, r9=chunks // 2, r10=0, r11=chunk, r12=0)
        + numbers(r13=chunk, r14=1, r15=codes, r16=chunk + codes)
        + f"sync signal=0\nsync signal=1\nloop count=r9 end=done\n{body}done: halt\n"
    )


def measure(chip: str, latency: int) -> dict[str, float | int | str]:
    """Every figure."""
    core = Core(load(chip).core)
    g = Geometry.of(core.core)
    found: dict[str, float | int | str] = {"chip": chip, "latency": latency}
    began = time.monotonic()
    rate = {}
    for format in ("mxfp4", "mxint8"):
        runs = [run(core, product(g, format, n, 1024), latency) for n in (8, 40)]
        active, cycles = (
            b - a for a, b in zip(*((r.counters["matrix_active"], r.cycles) for r in runs), strict=True)
        )
        found[f"busy_{format}"] = active / cycles
        found[f"busy_whole_program_{format}"] = runs[1].counters["matrix_active"] / runs[1].cycles
        rate[format] = active / cycles * g.rows * 32 * g.outputs(format)
        found[f"macs_per_cycle_{format}"] = rate[format]
        for m in (1, g.rows):
            runs = [run(core, decode(g, format, n, m, 1024), latency) for n in (8, 32)]
            words, cycles = (
                b - a for a, b in zip(*((r.counters["load_beats"], r.cycles) for r in runs), strict=True)
            )
            found[f"port_share_{format}_{m}_rows"] = words / cycles
            whole = runs[1].counters["load_beats"] / runs[1].cycles
            found[f"port_share_whole_program_{format}_{m}_rows"] = whole
    found["mxfp4_over_mxint8"] = rate["mxfp4"] / rate["mxint8"]
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chip", default="tiny")
    parser.add_argument("--latency", type=int, default=100)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.chip, arguments.latency), indent=2))
