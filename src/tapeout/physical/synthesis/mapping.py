"""RTL to gates: Yosys and ABC on one module at a time, each in a process of its own, kept by what went in.

What is done: read, flatten up to the modules that are kept apart, synthesise, legalise every register to a plain
rising-edge flip-flop and put the library's smallest there, map the logic between with ABC (several scripts, from
small to fast; buffered and sized), write JSON. Initial values are gone before registers are mapped, or Yosys would
add inverters to keep them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tapeout.errors import DoesNotHold, InputError, Phrase
from tapeout.files import write_atomic
from tapeout.physical.synthesis.library import RISE, Cell
from tapeout.physical.synthesis.pdk import Kit

MEMORY_MEBIBYTES = 12 * 1024
LIMIT_S = 3600

# Smallest first; the later one restructures for depth. Buffers limit every fanout to 8: the driver of a primary
# input is a flip-flop, and the constraint file says what that can drive.
_FINISH = "buffer -N 8; topo; upsize; dnsize; stime -p"
SCRIPTS = {
    "choice": "strash; &get -n; &st; &dch; &nf; &put; " + _FINISH,
    "depth": "strash; &get -n; &st; &if -g -K 6; &dch; &nf; &put; " + _FINISH,
}


_MODULE = re.compile(r"^module +\\?([\w$]+).*?^endmodule$\n?", re.M | re.S)


def cache_folder() -> Path:
    """Where mapped netlists are kept; TAPEOUT_CACHE or the user's cache directory."""
    base = os.environ.get("TAPEOUT_CACHE") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tapeout" / "synthesis"


def flip_flop(kit: Kit) -> tuple[Cell, str, str, dict[str, str]]:
    """The smallest rising-edge flip-flop: cell, data pin, output pin, and asynchronous pins with the constants
    that switch them off. Raises InputError if the library has none without scan or enable."""
    found = []
    for cell in kit.library.cells.values():
        if not cell.clocked_on or cell.clocked_on.evaluate({cell.clock: 0}) & 1 or not cell.next_state:
            continue
        if len(cell.next_state.inputs) != 1 or avoided(kit, cell.name):
            continue
        if not any(a.kind == "clock" and a.related_edge == RISE for p in cell.outputs for a in p.arcs):
            continue
        idle: dict[str, str] = {}
        for asynchronous in (cell.clear, cell.preset):
            if asynchronous:
                pin = asynchronous.inputs[0]
                idle[pin] = "0" if asynchronous.evaluate({pin: ~0}) & 1 else "1"
        found.append((bool(idle), cell.area_um2, cell.name, cell, idle))
    if not found:
        raise InputError(
            kit.library.where, "cells", Phrase("no plain rising-edge flip-flop"), "a library with one"
        )
    _, _, _, cell, idle = min(found, key=lambda f: f[:3])
    assert cell.next_state
    return cell, cell.next_state.inputs[0], cell.outputs[0].name, idle


def avoided(kit: Kit, name: str) -> bool:
    """Whether mapping leaves that cell alone."""
    return any(fnmatchcase(name, pattern) for pattern in kit.known.avoid)


def register_map(kit: Kit) -> str:
    """Verilog that turns Yosys' plain flip-flop into the library's."""
    cell, d, q, idle = flip_flop(kit)
    assert cell.next_state
    out = cell.pins[q].function
    inverted = bool(cell.next_state.evaluate({d: 0}) & 1)
    if out and out.inputs:
        # the output may be the state or its inverse, and either may be named first
        state_bit = 0 if out.inputs[0] == cell.state[0] else ~0
        inverted ^= bool(out.evaluate({out.inputs[0]: state_bit}) & 1)
    ports = ", ".join(
        [f".{cell.clock}(C)", f".{d}(D)", f".{q}(q)", *(f".{p}(1'b{v})" for p, v in idle.items())]
    )
    joined = "\\$_NOT_ invert (.A(q), .Y(Q));" if inverted else "assign Q = q;"
    return (
        f"module \\$_DFF_P_ (input D, input C, output Q);\n  wire q;\n  {joined}\n"
        f"  {cell.name} _TECHMAP_REPLACE_ ({ports});\nendmodule\n"
    )


def _drive(kit: Kit) -> str:
    """For ABC: a primary input is driven as by the second smallest inverter, an output drives four flip-flops."""
    inverters = [
        c for c in kit.library.cells.values()
        if len(c.pins) == 2 and len(c.inputs) == 1 and (f := c.outputs[0].function) and f.inputs
        and f.evaluate({f.inputs[0]: 0}) & 1 and not c.state and not avoided(kit, c.name)
    ]  # fmt: skip
    if not inverters:
        raise InputError(kit.library.where, "cells", Phrase("no inverter"), "a library with one")
    inverters.sort(key=lambda c: (c.area_um2, c.name))
    cell, data, _, _ = flip_flop(kit)
    load = 2 * sum(cell.pins[data].capacitance_ff)
    return (
        f"set_driving_cell {inverters[min(1, len(inverters) - 1)].name}\nset_load {load:.4f} [all_outputs]\n"
    )


class Mapper:
    """Maps modules of one Verilog text to one library. Raises DoesNotHold where Yosys cannot.

    `boxes`: modules that are never looked into (memory macros), by name before parameters.
    """

    def __init__(
        self, text: str, kit: Kit, boxes: Iterable[str] = ("sram_1rw",), cache: Path | None = None
    ) -> None:
        self.text, self.kit, self.cache = text, kit, cache or cache_folder()
        self.boxes = tuple(b for b in boxes if re.search(rf"^module {b}\b", text, re.M))
        self.chunks = {c[1]: c[0] for c in _MODULE.finditer(text)}
        self.registers, self.drive = register_map(kit), _drive(kit)

    def coarse(self, top: str) -> dict[str, Any]:
        """Modules below `top` as elaborated: name → {"cells": generic gates of its own, "placed": {module: count}}."""
        passes = [
            "read_verilog d.v", f"hierarchy -check -top {top}", *self._black_boxes(),
            "proc", "opt_clean", "memory -nomap", "opt -fast", "write_json out.json",
        ]  # fmt: skip
        modules = self._run(top, passes, "coarse")["modules"]
        found: dict[str, Any] = {}
        for name, one in modules.items():
            if int(one.get("attributes", {}).get("blackbox", "0"), 2):
                continue
            placed: dict[str, int] = {}
            bits = 0
            for cell in one["cells"].values():
                if not cell["type"].startswith("$") or cell["type"].startswith("$paramod"):
                    placed[cell["type"]] = placed.get(cell["type"], 0) + 1
                else:
                    bits += _weight(cell)
            found[name] = {"gates": bits, "placed": placed}
        return found

    def map(self, top: str, script: str, period_ps: float, kept: Iterable[str] = ()) -> dict[str, Any]:
        """Netlist (Yosys' JSON) of `top`, flat but for what is `kept` or a box. `script`: one of SCRIPTS."""
        kept, cells = sorted(kept), sorted(self.kit.library.cells)
        passes = [
            "read_verilog d.v", f"hierarchy -check -top {top}", *self._black_boxes(),
            *(f"blackbox {k}" for k in kept),
            f"synth -flatten -noabc -top {top}", "techmap", "opt -fast -full", "dfflegalize -cell $_DFF_P_ x",
            "techmap", "opt_expr -full", "opt_merge", "opt_clean",  # not `opt`: it would infer resets and enables again
            "rename -wire t:$_DFF_P_", "techmap -map registers.v", "opt_expr", "opt_merge", "opt_clean -purge",
            "abc -liberty lib.lib -script abc -constr constr"
            + "".join([f" -D {period_ps:g}", *(f" -dont_use {c}" for c in cells if avoided(self.kit, c))]),
            "setundef -zero", "splitnets", "opt_clean -purge", "write_json out.json",
        ]  # fmt: skip
        return self._run(top, passes, script, SCRIPTS[script])

    def _black_boxes(self) -> list[str]:
        # by pattern: parameters give a module other names
        return [f"blackbox {b} $paramod*{b}*" for b in self.boxes]

    def _reachable(self, top: str) -> str:
        """The text of `top` and what it places, in the order it came: a module's key does not hang on its parents."""
        found, work = {top}, [top]
        while work:
            names = set(re.findall(r"[A-Za-z_]\w*", self.chunks.get(work.pop(), ""))) & self.chunks.keys()
            work += names - found
            found |= names
        return "\n".join(text for name, text in self.chunks.items() if name in found)

    def _run(self, top: str, passes: list[str], what: str, script: str = "") -> dict[str, Any]:
        text = self._reachable(top)
        key = hashlib.sha256(
            json.dumps(
                [
                    text,
                    self.kit.library.digest,
                    self.registers,
                    self.drive,
                    passes,
                    script,
                    version("pyosys"),
                ]
            ).encode()
        ).hexdigest()
        kept = self.cache / f"{key}.json.gz"
        try:
            return dict(json.loads(gzip.decompress(kept.read_bytes())))
        except (OSError, EOFError, ValueError):
            pass
        with tempfile.TemporaryDirectory(prefix="tapeout-synth-") as name:
            folder = Path(name)
            (folder / "d.v").write_text(text)
            (folder / "registers.v").write_text(self.registers)
            (folder / "constr").write_text(self.drive)
            (folder / "abc").write_text(script.replace("; ", "\n") + "\n")
            if script:
                (folder / "lib.lib").write_text(self.kit.library.text)
            # from within the folder, whose name would else be in names
            lines = [f"tee -q -a log {p}" for p in passes]
            (folder / "passes").write_text("\n".join(lines) + "\n")
            done = subprocess.run(
                [sys.executable, "-I", str(Path(__file__).with_name("yosys_job.py")), str(folder / "passes"),
                 str(MEMORY_MEBIBYTES)],
                capture_output=True, text=True, timeout=LIMIT_S, cwd=folder,
            )  # fmt: skip
            out = folder / "out.json"
            if done.returncode or not out.exists():
                log = (folder / "log").read_text(errors="replace") if (folder / "log").exists() else ""
                errors = [
                    line for line in (log + done.stderr).splitlines() if "ERROR" in line or "Error" in line
                ]
                raise DoesNotHold(
                    f"{what}: Yosys ended with {done.returncode}: {(errors or ['no message'])[-1][:300]}"
                )
            raw = _essence(json.loads(out.read_bytes()))
        self.cache.mkdir(parents=True, exist_ok=True)
        write_atomic(kept, gzip.compress(raw, 3, mtime=0))
        return dict(json.loads(raw))


def _essence(netlist: dict[str, Any]) -> bytes:
    """Yosys' JSON without what hangs on the run: paths of sources, versions."""
    modules = {}
    for name, one in netlist["modules"].items():
        cells = {
            k: {
                "type": c["type"],
                "connections": c.get("connections", {}),
                "parameters": c.get("parameters", {}),
            }
            for k, c in one["cells"].items()
        }
        nets = {
            k: {"hide_name": n.get("hide_name", 0), "bits": n["bits"]} for k, n in one["netnames"].items()
        }
        box = one.get("attributes", {}).get("blackbox", "0")
        modules[name] = {
            "attributes": {"blackbox": box},
            "ports": one["ports"],
            "cells": cells,
            "netnames": nets,
        }
    return json.dumps({"modules": modules}, separators=(",", ":")).encode()


def _weight(cell: dict[str, Any]) -> int:
    """Rough gates of a coarse cell: what its output is wide, times its inputs' width for products and memories."""
    kind, p = cell["type"], cell["parameters"]

    def number(name: str) -> int:
        return int(p[name], 2) if name in p else 0

    if kind.startswith("$mem"):
        return 8 * number("SIZE") * number("WIDTH")
    y = number("Y_WIDTH") or number("WIDTH")
    if kind == "$mul":
        return 6 * number("A_WIDTH") * number("B_WIDTH")
    if kind in ("$add", "$sub", "$neg", "$alu", "$lt", "$le", "$ge", "$gt"):
        return 6 * max(number("A_WIDTH"), number("B_WIDTH"))
    if kind.startswith("$sh"):
        return 3 * y * max(number("B_WIDTH"), 1)
    return (7 if "ff" in kind else 3) * y
