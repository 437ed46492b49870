"""A package checked from its files alone.

Files are compared with the manifest first. What would run code of the package (the testbench) runs only if every file
is as the manifest says; a manifest that was made anew for other files is caught by what follows: the executable
definition of the instruction set must come to the same memory as the vectors, and so must the RTL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.chip.isa.assembler import assemble, binary
from tapeout.chip.isa.definition import Trap
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Machine
from tapeout.chip.toml import load
from tapeout.errors import DoesNotHold, InputError, MissingDependency, Phrase, TapeoutError
from tapeout.files import read_json, read_text
from tapeout.physical.floorplan.gds import cells
from tapeout.physical.handoff.manifest import differences, read_manifest
from tapeout.physical.handoff.netlist import instances, missing, modules, ports
from tapeout.physical.handoff.simulate import testbench_output, tool
from tapeout.physical.handoff.syntax import sdc_problems, upf_problems
from tapeout.physical.handoff.vectors import arguments


@dataclass
class Report:
    """What was found. `problems`: each names its file; `done`: checks that passed; `skipped`: with the reason."""

    folder: str
    problems: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check(folder: Path, simulate: bool = True, say: Callable[[str], None] = lambda words: None) -> Report:
    """Check the package in `folder`. Raises InputError if it is no package at all."""
    if not folder.is_dir():
        raise InputError(folder, "", Phrase("no folder"), "a package")
    found = read_manifest(folder)
    report = Report(str(folder))

    def step(name: str, what: Callable[[], list[str]]) -> None:
        say(name)
        try:
            wrong = what()
        except MissingDependency as e:
            report.skipped.append(f"{name}: {e}")
            return
        except (TapeoutError, OSError, ValueError, KeyError, IndexError, TypeError) as e:
            wrong = [str(e) or type(e).__name__]
        report.problems.extend(wrong)
        if not wrong:
            report.done.append(name)

    step("files as in the manifest", lambda: differences(folder, found["files"]))
    as_made = report.holds
    top = found["top"]
    step("file list complete", lambda: _filelist(folder, top))
    step("lint", lambda: _lint(folder, top))
    step("constraints", lambda: _intent(folder, top, "constraints/core.sdc"))
    step("power intent", lambda: _intent(folder, top, "power/core.upf"))
    step("floorplan", lambda: _floorplan(folder))
    step("vectors on the executable instruction set", lambda: _vectors(folder))
    if not simulate:
        report.skipped.append("testbench: not asked for")
    elif not as_made:
        report.skipped.append("testbench: files differ from the manifest")
    elif tool() is None:
        report.skipped.append("testbench: neither Verilator with a C++ compiler nor Icarus is here")
    else:
        step(f"testbench ({tool()})", lambda: _testbench(folder))
    return report


def _sources(folder: Path) -> list[str]:
    lines = read_text(folder / "filelist.f").split()
    for name in lines:
        if name.startswith("/") or ".." in Path(name).parts or not name.startswith("rtl/"):
            raise InputError(folder / "filelist.f", "", name, "a file under rtl/")
    return lines


def _rtl(folder: Path) -> dict[str, str]:
    """Modules of all files of the list."""
    text = "".join(read_text(folder / name) for name in _sources(folder))
    return modules(text)


def _filelist(folder: Path, top: str) -> list[str]:
    sources = _sources(folder)
    wrong = [f"filelist.f: {n} twice" for n in sorted(set(sources)) if sources.count(n) > 1]
    wrong += [f"filelist.f: {n} is not there" for n in sources if not (folder / n).is_file()]
    there = {p.relative_to(folder).as_posix() for p in (folder / "rtl").glob("*")}
    wrong += [f"{n}: not in filelist.f" for n in sorted(there - set(sources))]
    if wrong:
        return wrong
    return [f"filelist.f: module {m} is in no file" for m in missing(_rtl(folder), top)]


def _lint(folder: Path, top: str) -> list[str]:
    from tapeout.chip.rtl.block import Verilog
    from tapeout.simulator.rtl.lint import lint

    text = "".join(read_text(folder / name) + "\n" for name in _sources(folder))
    stated = read_text(folder / "reports/lint.txt")
    kinds = [line.split(":")[0] for line in stated.splitlines() if line.startswith("%")]
    wrong = []
    for line in lint(Verilog(top, (), text)):
        kind = line.split(":")[0]
        if kind in kinds:  # one that the package states
            kinds.remove(kind)
        else:
            wrong.append(f"rtl: lint: {line}")
    return wrong[:5]


def _intent(folder: Path, top: str, name: str) -> list[str]:
    body = _rtl(folder)[top]
    text = read_text(folder / name)
    if name.endswith(".sdc"):
        wrong = sdc_problems(text, ports(body))
    else:
        wrong = upf_problems(text, [i.name for i in instances(body)])
    return [f"{name}: {words}" for words in wrong]


def _floorplan(folder: Path) -> list[str]:
    name = "floorplan/floorplan.gds"
    found = cells((folder / name).read_bytes(), name)
    want = read_json(folder / "floorplan/cells.json")
    if found == want:
        return []
    differ = sorted(
        n for n in {*found["cells"], *want["cells"]} if found["cells"].get(n) != want["cells"].get(n)
    )
    return [f"{name}: cells differ from floorplan/cells.json: {', '.join(differ[:8]) or 'layers'}"]


def _vectors(folder: Path) -> list[str]:
    """Each program on `isa.machine`: the words are those of the assembly, and memory and codes come out as stated."""
    geometry = Geometry.of(load(folder / "chip.toml").core)
    wrong = []
    for line in read_text(folder / "vectors/index.txt").splitlines():
        name, base_text, cause_text, count, *codes_text = line.split()
        base, cause = int(base_text, 16), int(cause_text)
        codes = [int(c, 16) for c in codes_text]
        if len(codes) != int(count) or "/" in name:
            wrong.append(f"vectors/index.txt: {name}: {count} codes announced, {len(codes)} given")
            continue
        program = [int(w, 16) for w in read_text(folder / f"vectors/{name}.program.hex").split()]
        before, after = (_memory(folder / f"vectors/{name}.{x}.hex") for x in ("before", "after"))
        size = 1 << max(16, (max(len(before), len(after)) - 1).bit_length())
        before, after = (np.pad(m, (0, size - len(m))) for m in (before, after))
        code = np.frombuffer(binary(program), np.uint8)
        if not np.array_equal(before[base : base + len(code)], code):
            wrong.append(f"vectors/{name}.before.hex: does not hold the program of {name}.program.hex")
            continue
        if not cause and assemble(read_text(folder / f"vectors/{name}.s"), name) != program:
            wrong.append(f"vectors/{name}.s: is not the program of {name}.program.hex")
            continue
        got = before.copy()
        trap, seen = 0, list[int]()
        try:
            state = Machine(geometry, got, base, arguments()).run()
            seen = [*state.interrupts, state.halted or 0]
        except Trap as e:
            trap = int(e.cause)
        if trap != cause or (not cause and seen != codes):
            wrong.append(f"vectors/index.txt: {name}: cause {trap} and codes {seen}, not {cause} and {codes}")
        elif not np.array_equal(got, after):
            at = int(np.flatnonzero(got != after)[0])
            wrong.append(f"vectors/{name}.after.hex: differs from the executable instruction set at {at:#x}")
    return wrong


def _memory(path: Path) -> np.ndarray:
    """A hex file of bytes as the testbench reads it; from address 0 to its last byte."""
    runs: list[tuple[int, list[int]]] = [(0, [])]
    for word in read_text(path).split():
        if word.startswith("@"):
            runs.append((int(word[1:], 16), []))
        else:
            runs[-1][1].append(int(word, 16))
    size = max(at + len(data) for at, data in runs)
    if size > 1 << 28:
        raise InputError(path, "", Phrase(f"an address of {size:#x}"), "at most 256 MiB")
    memory = np.zeros(size, np.uint8)
    for at, data in runs:
        memory[at : at + len(data)] = data
    return memory


def _testbench(folder: Path) -> list[str]:
    output = testbench_output(folder, _sources(folder))
    lines = output.splitlines()
    last = next((line for line in reversed(lines) if line.startswith("RESULT: ")), "RESULT: none")
    names = [line.split()[0] for line in read_text(folder / "vectors/index.txt").splitlines()]
    passed = {line.split()[1].rstrip(":") for line in lines if line.startswith("PASS ")}
    wrong = [f"vectors/{n}: the RTL does not come to what is expected" for n in names if n not in passed]
    if not last.startswith("RESULT: PASS") and not wrong:
        wrong.append(f"tb/tb_core.sv: {last}")
    return wrong


def as_json(report: Report) -> dict[str, Any]:
    """Plain values."""
    return {"folder": report.folder, "holds": report.holds, "problems": report.problems, "passed": report.done,
            "skipped": report.skipped}  # fmt: skip


def raise_if_broken(report: Report) -> None:
    """Raise DoesNotHold with how much is wrong."""
    if not report.holds:
        more = f" (and {len(report.problems) - 1} more)" if len(report.problems) > 1 else ""
        raise DoesNotHold(f"{report.folder}: {report.problems[0]}{more}")
