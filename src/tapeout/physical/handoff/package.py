"""Everything an implementation partner is given of a chip, as path → contents. The same chip gives the same bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.manual import manual
from tapeout.chip.rtl.block import Verilog, verilog
from tapeout.chip.rtl.core import Core
from tapeout.chip.rtl.core_package import blocks, register_page
from tapeout.chip.rtl.host import csr_map
from tapeout.chip.spec import ChipSpec
from tapeout.chip.toml import to_toml
from tapeout.errors import DoesNotHold
from tapeout.physical.floorplan.checks import refuse
from tapeout.physical.floorplan.die import floorplan
from tapeout.physical.floorplan.files import files as floorplan_files
from tapeout.physical.floorplan.gds import cells
from tapeout.physical.handoff.evidence import coverage, proved
from tapeout.physical.handoff.intent import sdc, upf
from tapeout.physical.handoff.manifest import manifest
from tapeout.physical.handoff.netlist import Memory, counts, memories, missing, modules, ports
from tapeout.physical.handoff.staging import MANIFEST
from tapeout.physical.handoff.testbench import hexadecimal, index, program_hex, testbench
from tapeout.physical.handoff.vectors import Vector, vectors
from tapeout.physical.handoff.words import limits_page, readme
from tapeout.simulator.rtl.lint import WAIVED, lint
from tapeout.simulator.rtl.random_programs import design_key, recorded

TOP = "core"


def package(
    spec: ChipSpec, where: object, say: Callable[[str], None] = lambda words: None
) -> dict[str, str | bytes]:
    """The files. `say` is told what is under way.

    Raises InputError for a chip that cannot be laid out or that the RTL does not cover, MissingDependency without the
    `rtl` and `silicon` extras, DoesNotHold if lint finds an error.
    """
    refuse(spec, where)
    plan = floorplan(spec)
    refuse(spec, where, plan)
    core = blocks(spec, where)["core"]
    assert isinstance(core, Core)
    say("floorplan")
    files: dict[str, str | bytes] = {f"floorplan/{k}": v for k, v in floorplan_files(plan).items()}
    layout = files["floorplan/floorplan.gds"]
    assert isinstance(layout, bytes)
    files["floorplan/cells.json"] = _json(cells(layout))
    say("RTL")
    text = verilog(core)
    found = modules(text.text)
    if absent := missing(found, TOP):
        raise DoesNotHold(f"{spec.name}: modules that are placed but not there: {', '.join(absent)}")
    files |= {f"rtl/{name}.v": body for name, body in found.items()}
    files["filelist.f"] = "".join(f"rtl/{name}.v\n" for name in found)
    say("lint")
    warnings = lint(Verilog(text.top, text.ports, text.text))
    files["reports/lint.txt"] = _lint(warnings)
    if errors := [w for w in warnings if w.startswith("%Error")]:
        raise DoesNotHold(f"{spec.name}: lint: {errors[0]}")
    pins = ports(found[TOP])
    files["constraints/core.sdc"] = sdc(spec, pins)
    files["power/core.upf"] = upf(spec, found[TOP])
    listed = memories(found, TOP)
    files["memories.csv"] = _memories(listed, spec)
    files["interface/pins.csv"] = _pins(pins)
    files["interface/registers.json"] = _json([asdict(r) for r in csr_map()])
    files["interface/registers.md"] = register_page()
    files["isa.md"] = manual()
    files["chip.toml"] = to_toml(spec)
    say("test vectors")
    g = Geometry.of(spec.core)
    made = vectors(g, core.names)
    files |= _vectors(made)
    size = max(len(v.before) for v in made)
    files["tb/tb_core.sv"] = testbench(spec.core.port_bytes, size, pins)
    covered = coverage(made, core.names)
    files["reports/coverage.json"] = _json(covered)
    results = proved(spec, list(found), say)
    files["reports/formal.json"] = _json(results)
    programs = recorded(design_key(core))
    if programs:
        files["reports/programs.json"] = _json(programs)
    often = counts(found, TOP)
    files["reports/hierarchy.csv"] = _csv(["module", "instances in a core"], sorted(often.items()))
    broken = [r["proof"] for r in results if not r["holds"]]
    for name in broken:
        say(f"note: a proof does not hold: {name}")
    if warnings:
        say(f"note: lint: {len(warnings)} warnings")
    files["LIMITS.md"] = limits_page(spec, core, plan, covered, len(warnings), broken, programs)
    files["README.md"] = readme(spec, core, plan, made, listed, covered, results, len(warnings), programs)
    files[MANIFEST] = manifest(spec.name, TOP, files)
    return dict(sorted(files.items()))


def _vectors(made: Sequence[Vector]) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"vectors/index.txt": index(made)}
    for v in made:
        files[f"vectors/{v.name}.s"] = f"# {v.about}\n{v.text}"
        files[f"vectors/{v.name}.program.hex"] = program_hex(v.program)
        files[f"vectors/{v.name}.before.hex"] = hexadecimal(v.before)
        files[f"vectors/{v.name}.after.hex"] = hexadecimal(v.after)
    return files


def _lint(warnings: Sequence[str]) -> str:
    lines = ["Verilator --lint-only -Wall over all files of filelist.f, top module core.", "", "Waived:"]
    lines += [f"  {name}: {why}" for name, why in WAIVED.items()]
    lines += ["", f"Warnings and errors: {len(warnings)}", *warnings]
    return "\n".join(lines) + "\n"


def _memories(listed: Sequence[Memory], spec: ChipSpec) -> str:
    """SRAM macros first, then the arrays that become registers or register files."""
    rows = []
    for m in sorted(
        listed, key=lambda m: (m.kind != "macro", -m.words * m.bits * m.instances, m.module, m.name)
    ):
        ecc = "SECDED, 8 check bits on 64 data bits, in the bits listed" if m.kind == "macro" else "none"
        access = "1 read or write" if m.kind == "macro" else "as in the RTL"
        rows.append([
            m.kind, m.module, m.name, m.words, m.bits, access, m.granule, m.instances,
            m.instances * spec.cores, m.words * m.bits * m.instances, ecc,
        ])  # fmt: skip
    return _csv(
        ["kind", "module", "name", "words", "bits", "ports", "bits written together", "instances in a core",
         "instances in the chip", "bits in a core", "error correction"],
        rows,
    )  # fmt: skip


def _pins(pins: dict[str, tuple[str, int]]) -> str:
    about = {"axi_": "AXI4 manager, to memory", "s_": "AXI4-Lite subordinate, from the host"}
    single = {
        "clk": "clock",
        "rst": "reset, synchronous, active high",
        "irq": "interrupt, a level until acknowledged",
    }
    rows = [
        [name, direction, width, next((w for p, w in about.items() if name.startswith(p)), single.get(name, ""))]
        for name, (direction, width) in sorted(pins.items(), key=lambda x: (x[0] not in ("clk", "rst"), x[0]))
    ]  # fmt: skip
    return _csv(["pin", "direction", "width", "interface"], rows)


def _csv(head: Sequence[str], rows: Any) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return out.getvalue()


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
