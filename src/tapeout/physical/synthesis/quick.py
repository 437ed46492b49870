"""Area and register-to-register delay of one block, in seconds: Yosys and ABC, no wires, no clock tree.

For judging a pipeline while writing it. The delay is ABC's over its mapped logic (slews and loads from the
library's tables, no wire) plus a flip-flop's clock-to-output and set-up from the same library.
"""

from __future__ import annotations

import gzip
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tapeout.chip.rtl.block import Verilog
from tapeout.errors import DoesNotHold, InputError, Phrase

# Smallest first; the first whose delay meets the target is taken. The later ones restructure for depth.
FINISH = "buffer -c -N 16; topo; upsize -c; dnsize -c; stime -p\n"
STRATEGIES = (
    "strash; &get -n; &fraig -x; &put; scorr; dc2; dch -f; &get -n; &nf; &put; " + FINISH,
    "strash; &get -n; &st; &dch; &nf; &put; " + FINISH,
    "strash; &get -n; &st; &if -g -K 6; &dch; &nf; &put; " + FINISH,
    "strash; dch -f; if -g -K 6; strash; dch -f; map -B 0.9; " + FINISH,
)


@dataclass(frozen=True)
class Result:
    """One block in one library."""

    area_um2: float
    cells: int
    flip_flops: int
    logic_ns: float  # longest combinational path, as mapped
    register_ns: float  # flip-flop clock-to-output plus set-up

    @property
    def period_ns(self) -> float:
        """Register to register."""
        return self.logic_ns + self.register_ns


def liberty_text(path: Path) -> str:
    """The text of a Liberty file, gzipped or not. Raises InputError if it is not one."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except FileNotFoundError:
        raise InputError(path, "", Phrase("nothing there"), "a Liberty file") from None
    except (OSError, EOFError, UnicodeDecodeError, gzip.BadGzipFile) as e:
        raise InputError(path, "", Phrase(e), "a Liberty file, gzipped or plain") from None
    if not re.search(r"\blibrary\s*\(", text) or text.count("{") != text.count("}"):
        raise InputError(path, "", Phrase("a truncated or foreign text"), "a Liberty file")
    if not re.search(r"\bff\s*\(", text):
        raise InputError(path, "cells", Phrase("no flip-flop"), "a library with one")
    return text


def synthesise(
    design: Verilog,
    liberty: Path,
    target_ns: float = 0.8,
    register_ns: float = 0.085,
    boxes: tuple[str, ...] = (),
) -> Result:
    """Map `design`, flattened, by the smallest strategy that meets `target_ns` (the fastest if none does).

    `register_ns`: clock-to-output plus set-up of the flip-flop (0.071 + 0.010 ns for ASAP7's DFFHQNx1 at
    20 ps slew and 2.9 fF, from its tables, rounded up). `boxes`: modules left out of area and delay; memory
    macros always are. Raises InputError for a bad library.
    """
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        text = liberty_text(liberty)
        (at / "lib.lib").write_text(text)
        (at / "d.v").write_text(design.text)
        results: list[Result] = []
        left_out = tuple(b for b in ("sram_1rw", *boxes) if f"module {b}" in design.text)
        for script in STRATEGIES:
            (at / "abc").write_text(script)
            results.append(_map(design.top, at, "asap7" in text[:2000].lower(), register_ns, left_out))
            if results[-1].period_ns <= target_ns:
                return results[-1]
        return min(results, key=lambda r: r.period_ns)


def _map(top: str, at: Path, asap7: bool, register_ns: float, boxes: tuple[str, ...]) -> Result:
    from pyosys import libyosys

    ys = libyosys.Design()

    def run(command: str, log: str = "") -> None:
        ys.run_pass(f"tee {'-q -o ' + str(at / log) if log else '-q'} {command}")

    run(f"read_verilog {at}/d.v")
    run(f"hierarchy -top {top}")
    for box in boxes:  # by attribute: parameters have given the module other names
        run(f"blackbox {box} $paramod*{box}*")
    run(f"synth -flatten -noabc -top {top}")
    run("techmap")
    run("opt -fast -full")
    # Left alone, dfflibmap takes ASAP7's largest flip-flop for everything.
    dont = "-dont_use DFFHQx4* -dont_use DFFHQNx2* -dont_use DFFHQNx3* -dont_use DFFLQ* -dont_use DFFASR*"
    run(f"dfflibmap {dont if asap7 else ''} -liberty {at}/lib.lib")
    run(f"abc -liberty {at}/lib.lib -script {at}/abc", "abc.log")
    run("setundef -zero")
    run("opt_clean -purge")
    run(f"stat -liberty {at}/lib.lib", "stat.log")
    log, stat = (at / "abc.log").read_text(), (at / "stat.log").read_text()
    delay = re.findall(r"Delay = *([\d.]+) ps", log)
    area = re.findall(r"Chip area for[^:]*: *([\d.]+)", stat)
    cells = re.findall(r"^ *(\d+) +[\d.eE+-]+ cells$", stat, re.M)
    if not delay or not area:
        raise DoesNotHold(f"{top}: Yosys mapped nothing; its log ends: {log[-200:]!r}")
    flops = sum(int(n) for n in re.findall(r"^ *(\d+) +[\d.eE+-]+ +\S*(?:DFF|dff)\S*$", stat, re.M))
    return Result(
        float(area[-1]), int(cells[-1]) if cells else 0, flops, float(delay[-1]) / 1000, register_ns
    )
