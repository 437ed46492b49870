"""The two pages of a package that are prose: what is in it, and what it is not."""

# ruff: noqa: E501 (prose is set as it reads best)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapeout.chip.isa.registry import instructions
from tapeout.chip.rtl.core import Core
from tapeout.chip.spec import ChipSpec
from tapeout.physical.floorplan.checks import findings
from tapeout.physical.floorplan.die import Floorplan
from tapeout.physical.handoff.netlist import Memory
from tapeout.physical.handoff.vectors import Vector
from tapeout.physical.limits import problems


def readme(
    spec: ChipSpec,
    core: Core,
    plan: Floorplan,
    vectors: Sequence[Vector],
    memories: Sequence[Memory],
    covered: dict[str, Any],
    proofs: Sequence[dict[str, Any]],
    warnings: int,
    programs: dict[str, Any] | None,
) -> str:
    """What the package holds and how to start."""
    engine, macros = spec.core.matrix, [m for m in memories if m.kind == "macro"]
    bits = sum(m.words * m.bits * m.instances for m in macros)
    return f"""# {spec.name}: package for implementation

A core of {engine.rows} × {engine.columns} dot-product units of {engine.lanes} lanes ({", ".join(engine.formats)}), scratchpad of
{spec.core.scratchpad.kibibytes} KiB, memory port of {spec.core.port_bytes} bytes per cycle; {spec.cores} of it in the chip, {spec.node},
{spec.clock_ghz:g} GHz. One clock `clk`, one synchronous reset `rst`, active high. What is not here is in LIMITS.md: read it first.

| path | what |
|---|---|
| `chip.toml` | the declaration that everything here is derived from |
| `rtl/`, `filelist.f` | Verilog-2005, one module a file, top `core`; `sram_1rw` stands for a memory macro |
| `constraints/core.sdc` | clock, uncertainty, delays of ports, what is static |
| `power/core.upf` | power intent of a core: three domains |
| `memories.csv` | {sum(m.instances for m in macros)} SRAM macros in a core, {bits / 8192:.0f} KiB with check bits; and the arrays that become registers |
| `floorplan/` | GDSII with layer names, picture, and every block as JSON; `cells.json`: what the GDSII holds |
| `interface/` | pins; the host's registers |
| `isa.md` | the instruction set |
| `vectors/` | {len(vectors)} programs: assembly, words, memory before and after, in hex; `index.txt` lists them |
| `tb/tb_core.sv` | a testbench that runs them all |
| `reports/` | lint, hierarchy, what the vectors execute, proofs |
| `manifest.json` | SHA-256 of every file, versions of the tools |

## Simulate

    verilator --binary --timing -O3 -Wno-fatal -Wno-lint -Wno-style --top-module tb_core -f filelist.f tb/tb_core.sv
    obj_dir/Vtb_core

    iverilog -g2012 -s tb_core -o tb_core.vvp -c filelist.f tb/tb_core.sv
    vvp tb_core.vvp

Both from this folder, without Python. The last line is `RESULT: PASS`. `+only=NAME` runs one program, `+seed=N`, `+stall=PERCENT` and
`+latency=CYCLES` change how memory answers. Icarus takes minutes where Verilator takes seconds.

## Check

    tapeout handoff --check .

compares every file with the manifest, lints, runs the testbench, reads the GDSII back, reads SDC and UPF against the RTL, and
executes every program on the executable definition of the instruction set.

## Evidence

- Lint: {warnings or "no"} warnings (`reports/lint.txt` has them, and what is waived and why).
- Vectors: {covered["executed"]} of {covered["choices"]} instructions and choices of their fields are executed; the core has
  {covered["instructions"]} instructions.
- Proofs: {sum(p["holds"] for p in proofs)} of {len(proofs)} hold for runs of any length (`reports/formal.json`).
{_programs(programs)}- Floorplan: {plan.width:.2f} × {plan.height:.2f} mm, {plan.utilisation:.1%} in use.
"""


def _programs(record: dict[str, Any] | None) -> str:
    """What a campaign of random programs on this RTL found, if there was one."""
    if record is None:
        return ""
    parts = [f"{p['covered']} of {p['of']} {kind}" for kind, p in record["coverage"].items()]
    return (
        f"- Random programs in Verilator against the executable definition, every byte and register: {record['programs']}, of\n"
        f"  which {len(record['failed'])} differ, over {record['cycles']:,} cycles; exercised: {', '.join(parts)}\n"
        "  (`reports/programs.json`, with the holes).\n"
    )


def limits_page(
    spec: ChipSpec, core: Core, plan: Floorplan, covered: dict[str, Any], warnings: int, broken: Sequence[str],
    programs: dict[str, Any] | None,
) -> str:  # fmt: skip
    """What a partner must not take for granted."""
    absent = sorted(set(instructions()) - core.names)
    lines = [
        f"# {spec.name}: known limits",
        "",
        "- **RTL is one core.** Network on chip, memory controllers, PHYs, serial links, host interface, clock generation, reset",
        "  and power management of the chip are not in it. Their areas in the floorplan are the area model's, not a design's.",
        "- **Timing is not closed.** The SDC states the intent; no placement, routing or clock tree stands behind it.",
        "- **No test logic.** Scan, memory BIST and repair are to be inserted; the floorplan keeps area for them.",
        "- **One reset.** After the engines' domain is switched on again `rst` clears the host's registers too.",
        "- **Power intent is of the core alone.** No isolation, switch or retention cell is in the RTL; the signals that drive them",
        "  come from a power manager that is not here. The scratchpad keeps its words only while its supply is on.",
        "- **Memory macros are behavioural.** `sram_1rw`: one port, a read takes a cycle, writes by granule; an implementation puts",
        "  compiled macros of the same ports in its place. A read leaves the output unchanged on a write.",
        "- **Error correction** covers the scratchpad (SECDED on 64 bits); parity on 64 bits covers data between blocks, and",
        "  both trap. Addresses and masks on those paths, the instruction window, other register arrays and AXI4 have neither.",
        "  `parity_send_*` and `parity_check_*` must stay modules of their own (no ungrouping): flattened, the two ends of a",
        "  path are one signal and the check disappears. A wrong word that comes last is told by `fault` after `halted`.",
        "- **The floorplan is at block level**, from areas and edges whose confidence the tables state; no bumps, no power grid.",
        "- **Coverage** counts instructions and choices of their fields in the vectors, not toggles or lines of the RTL.",
        "- **Proofs** are of blocks with narrow data where no decision depends on it; arithmetic is compared, not proved.",
    ]
    if programs is None:
        lines.append(
            "- **Random programs** have not been run on this RTL here: `tapeout build chip.toml --check` does."
        )
    elif programs["failed"]:
        lines.append(f"- **Random programs that differ**: {'; '.join(programs['failed'])}.")
    if broken:
        lines.append(f"- **Proofs that do not hold**: {'; '.join(broken)}.")
    if warnings:
        lines.append(f"- **Lint**: {warnings} warnings (`reports/lint.txt`).")
    if absent:
        lines += ["- **Instructions that this core lacks**, which trap as unknown opcodes (cause 1): "
                  + ", ".join(f"`{n}`" for n in absent) + "."]  # fmt: skip
    if covered["not_executed"]:
        lines += ["- **Not executed by any vector**: " + ", ".join(f"`{n}`" for n in covered["not_executed"]) + "."]  # fmt: skip
    lines += [f"- **Floorplan**: {words}." for words in findings(plan)["warnings"]]
    lines += [f"- **Limit of the chip as declared**: {words}." for words in problems(spec)]
    return "\n".join(lines) + "\n"
