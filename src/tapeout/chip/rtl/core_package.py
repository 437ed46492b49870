"""What a build hands over: Verilog, file list, ISA manual, register map, constraints, test vectors, and what it is.

Everything is derived: the same ChipSpec gives the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from tapeout.chip.isa.assembler import assemble, binary
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Machine
from tapeout.chip.isa.manual import manual
from tapeout.chip.isa.registry import instructions
from tapeout.chip.rtl.block import Block, Verilog, verilog
from tapeout.chip.rtl.core import Core
from tapeout.chip.rtl.host import csr_map
from tapeout.chip.rtl.limits import check_buildable
from tapeout.chip.rtl.matrix_engine import MatrixEngine
from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError, Phrase

MEMORY, PROGRAM = 1 << 16, 0x8000

# Each touches what the others do not; memory before and after are those of the executable ISA.
VECTORS = {
    "copy": """
        # four strided blocks in and out, double-buffered
        add rd=r1 imm=1
        add rd=r2 imm=96
        add rd=r4 imm=4
        add rd=r5 imm=0x4000
        add rd=r9 imm=128
        sync signal=1
        sync signal=1
        loop count=r4 end=done
          load  pad=r6 memory=r7 bytes=r2 n0=r4 s0=r9 n1=r1 pitch=r2 wait=1 signal=0
          store pad=r6 memory=r5 bytes=r2 n0=r4 s0=r9 n1=r1 pitch=r2 wait=0 signal=1
          add rd=r7 a=r7 imm=512
          add rd=r5 a=r5 imm=512
          xor rd=r6 a=r6 imm=512
        done: halt code=1
        """,
    "chosen": """
        # a table of indices made by the sequencer chooses rows to gather and places to scatter to
        add rd=r1 imm=1
        add rd=r2 imm=40
        add rd=r3 imm=4
        add rd=r4 imm=0x300000005
        add rd=r5 imm=0x200000009
        add rd=r6 imm=64
        write a=r4 b=r6
        write a=r5 b=r6 imm=8
        read rd=r7 b=r6 imm=4
        mul rd=r8 a=r7 b=r2
        add rd=r9 imm=0x100
        add rd=r10 imm=0x6000
        sync signal=1
        gather  pad=r9 memory=r8 bytes=r2 n0=r3 s0=r2 table=r6 pitch=r2 wait=1 signal=2
        scatter pad=r9 memory=r10 bytes=r2 n0=r3 s0=r2 table=r6 pitch=r2 wait=2 signal=3
        interrupt code=7 wait=3
        halt code=2
        """,
}


@dataclass(frozen=True)
class Vector:
    """A program with memory before (the program in place at PROGRAM) and after, and the codes the host sees."""

    program: list[int]
    before: np.ndarray
    after: np.ndarray
    codes: list[int]


def vector(name: str, geometry: Geometry) -> Vector:
    """One of VECTORS, executed by `isa.machine`."""
    program = assemble(VECTORS[name], name)
    before = np.random.default_rng(len(name)).integers(0, 256, MEMORY, dtype=np.uint8)
    code = np.frombuffer(binary(program), np.uint8)
    before[PROGRAM : PROGRAM + len(code)] = code
    after = before.copy()
    state = Machine(geometry, after, PROGRAM).run()
    return Vector(program, before, after, [*state.interrupts, state.halted or 0])


def blocks(spec: ChipSpec, where: object) -> dict[str, Block]:
    """The top modules of a build. Raises InputError for a ChipSpec that the RTL does not cover."""
    check_buildable(spec, where)
    core = spec.core
    engine = core.matrix
    ways = Geometry.of(core).ways
    try:
        return {
            "core": Core(core),
            "matrix_engine": MatrixEngine(
                engine.rows, engine.columns, Geometry.of(core).tiles, engine.formats, ways, engine.lanes
            ),
        }
    except ValueError as e:
        raise InputError(where, "core", Phrase(e), "a configuration that the RTL covers") from None


def package(spec: ChipSpec, tops: dict[str, Verilog]) -> dict[str, str | bytes]:
    """Path in the build folder → contents. `tops`: the Verilog of `blocks`."""
    geometry = Geometry.of(spec.core)
    files: dict[str, str | bytes] = {
        "README.md": readme(spec, tops),
        "isa.md": manual(),
        "registers.md": register_page(),
        "registers.json": json.dumps([r.__dict__ for r in csr_map()], indent=2) + "\n",
        "filelist.f": "".join(f"rtl/{name}.v\n" for name in tops),
    }
    for name, top in tops.items():
        files[f"rtl/{name}.v"] = top.text
        files[f"constraints/{name}.sdc"] = constraints(spec, top)
    for name, text in VECTORS.items():
        v = vector(name, geometry)
        files[f"vectors/{name}.s"] = "\n".join(line.strip() for line in text.strip().splitlines()) + "\n"
        files[f"vectors/{name}.before.bin"] = v.before.tobytes()
        files[f"vectors/{name}.after.bin"] = v.after.tobytes()
        files[f"vectors/{name}.json"] = json.dumps({"program": PROGRAM, "codes": v.codes}) + "\n"
    return files


def constraints(spec: ChipSpec, top: Verilog) -> str:
    """SDC: the clock of the ChipSpec; a fifth of the period outside the block on every port."""
    period = 1 / spec.clock_ghz
    inputs = " ".join(p.name for p in top.ports if p.is_input)
    outputs = " ".join(p.name for p in top.ports if not p.is_input)
    return (
        f"# {spec.name}: {top.top} at {spec.clock_ghz} GHz; times in ns\n"
        f"create_clock -name clk -period {period:.4f} [get_ports clk]\n"
        f"set_clock_uncertainty {0.05 * period:.4f} [get_clocks clk]\n"
        f"set_input_delay {0.2 * period:.4f} -clock clk [get_ports {{rst {inputs}}}]\n"
        f"set_output_delay {0.2 * period:.4f} -clock clk [get_ports {{{outputs}}}]\n"
    )


def register_page() -> str:
    """The register map as Markdown."""
    lines = ["# Host registers", "", "32 bits each, AXI4-Lite; addresses in bytes.", ""]
    lines += ["| address | name | access | | fields |", "|---|---|---|---|---|"]
    for r in csr_map():
        at, fields = 0, []
        for name, width in r.bits:
            fields.append(f"{at + width - 1}:{at} {name}" if width > 1 else f"{at} {name}")
            at += width
        lines.append(f"| `{r.address:#05x}` | {r.name} | {r.access} | {r.about} | {', '.join(fields)} |")
    return "\n".join(lines) + "\n"


def readme(spec: ChipSpec, tops: dict[str, Verilog]) -> str:
    """What the folder holds and what it does not."""
    core, g = spec.core, Geometry.of(spec.core)
    absent = ", ".join(f"`{n}`" for n in sorted(set(instructions()) - Core(core).names))
    missing = f"{absent} trap as unknown opcodes (cause 1).\n" if absent else ""
    return f"""# {spec.name}: one core

Built from a ChipSpec: {core.matrix.rows} × {core.matrix.columns} dot-product units of {core.matrix.lanes} lanes
({", ".join(core.matrix.formats)}), scratchpad of {core.scratchpad.kibibytes} KiB, memory port of
{core.port_bytes} bytes per cycle, {spec.clock_ghz} GHz. One clock `clk`, one synchronous reset `rst`, active high.

| file | what |
|---|---|
| rtl/core.v | sequencer, engines, scratchpad (SECDED), AXI4, AXI4-Lite registers, counters; parity between them |
| rtl/matrix_engine.v | `{tops["matrix_engine"].top}`: the core's, by itself, with stream ports |
| filelist.f | both, for a simulator or a synthesis tool; `sram_1rw` in core.v stands for a memory macro |
| isa.md, registers.md, registers.json | the instruction set; the host's registers |
| constraints/ | SDC: clock, uncertainty, delays of ports |
| vectors/ | programs (`.s`), {MEMORY} bytes of memory before (program at {PROGRAM:#x}) and after, codes |

{missing}A unit has {g.tiles} accumulators for each way and bank. `parity_send_*` and `parity_check_*` have to stay
modules of their own: flattened, the two ends of a path are one signal, and the comparison goes.
"""


def build(spec: ChipSpec, where: object) -> tuple[dict[str, Block], dict[str, Verilog]]:
    """The blocks and their Verilog."""
    found = blocks(spec, where)
    return found, {name: verilog(block) for name, block in found.items()}
