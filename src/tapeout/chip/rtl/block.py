"""How blocks are written, placed in one another, and turned into Verilog.

A block is an Amaranth component whose module name follows from its parameters. A block that is used many
times is *placed*: the parent instantiates it by name and it is emitted once, so that elaboration, synthesis
and Verilator see one module however many copies there are.

Conventions of every port:
- Streams are `amaranth.lib.stream`: a transfer happens in a cycle where `valid` and `ready` are both 1;
  `valid` never waits for `ready`, and once up stays up with its payload unchanged until the transfer.
- A `Signal` that is not in a stream is sampled every cycle, or is static while the block is busy, and its
  description says which.
- One clock (`clk`) and one synchronous reset (`rst`, active high). Data registers have no reset: only
  registers that say whether data is meaningful do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockSignal, Const, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In


@dataclass(frozen=True)
class Port:
    """One port of a module."""

    name: str
    width: int
    is_input: bool


@dataclass(frozen=True)
class Verilog:
    """Verilog text with the name and ports of its top module (clock and reset are not listed)."""

    top: str
    ports: tuple[Port, ...]
    text: str
    clocked: bool = True


class Block(wiring.Component):
    """A component that can be placed. Subclasses set `module_name` and list what they place in `placed`.

    `combinational`: the block has no register and no clock port.
    """

    combinational = False
    _MustUse__silence = True  # placed blocks are elaborated when they are emitted, some of them never here

    @property
    def module_name(self) -> str:
        """A legal Verilog name that determines the module's contents."""
        raise NotImplementedError

    def placed(self) -> Iterable[Block]:
        """The blocks this one instantiates by name."""
        return ()

    def foreign(self) -> Iterable[str]:
        """Verilog source of modules it instantiates that are not blocks (memories)."""
        return ()

    def behaviour(self) -> str | None:
        """The body of its Verilog module for a simulator (see `simulating`), where that is not its elaboration."""
        return None


def ports_of(block: Block) -> tuple[Port, ...]:
    """The ports in the order of the signature."""
    found = []
    for path, member, value in block.signature.flatten(block):
        name = "__".join(str(p) for p in path)
        found.append(Port(name, len(Value.cast(value)), member.flow == In))
    return tuple(found)


def place(m: Module, name: str, block: Block, active: Value | None = None) -> Any:
    """Instantiate `block` as submodule `name`; returns its interface, as its inside would see it.

    Drive the members that are inputs of the block and read the others. `active`: 0 only in cycles whose clock edge
    changes nothing in the block that is ever looked at (see `awake`). A simulator gives no clock in those, so that
    blocks at rest cost it nothing; silicon has one clock.
    """
    interface = block.signature.create(path=(name,))
    ports: dict[str, Any] = {}
    for path, member, value in block.signature.flatten(interface):
        key = "__".join(str(p) for p in path)
        ports[("i_" if member.flow == In else "o_") + key] = value
    if not block.combinational:
        ports |= {"i_clk": gated_clock(m, name, active), "i_rst": ResetSignal()}
    m.submodules[name] = Instance(block.module_name, **ports)
    return interface


def gated_clock(m: Module, name: str, active: Value | None) -> Value:
    """The clock of what is called `name`, with `active` as in `place`."""
    if active is None or not simulating():
        return ClockSignal()
    clock = Signal(name=f"{name}_clk")
    m.submodules[f"{name}_gate"] = Instance(
        "clock_gate", i_clk=ClockSignal(), i_enable=active | ResetSignal(), o_gated=clock
    )
    return clock


def awake(m: Module, event: Value, cycles: int) -> Value:
    """1 in a cycle with `event` and in the `cycles` after it: long enough for what it started to have ended.
    For `active` of `place`; of no meaning, and no cost, in silicon."""
    if not simulating():
        return Const(1, 1)
    left = Signal(range(cycles + 1), name="awake")
    with m.If(event):
        m.d.sync += left.eq(cycles)
    with m.Elif(left.any()):
        m.d.sync += left.eq(left - 1)
    return event | left.any()


# A latch that is open while the clock is low: what comes out are whole pulses.
CLOCK_GATE = """module clock_gate(input clk, input enable, output gated);
  reg open;
  always @* if (!clk) open = enable;
  assign gated = clk & open;
endmodule
"""


def register(m: Module, value: Any, name: str | None = None) -> Any:
    """A data register (no reset) that follows `value` one cycle later; same shape."""
    from amaranth.lib import data

    if isinstance(value, data.View):
        r = Signal(value.shape(), name=name, reset_less=True)
    else:
        value = Value.cast(value)
        r = Signal(value.shape(), name=name or "reg", reset_less=True)
    m.d.sync += r.eq(value)
    return r


def delay(m: Module, value: Any, cycles: int, reset: bool = False, name: str | None = None) -> Any:
    """`value` that many cycles later, without reset unless asked for (valid bits need one)."""
    for _ in range(cycles):
        if reset:
            r = Signal(Value.cast(value).shape(), name=name or "valid")
            m.d.sync += r.eq(value)
            value = r
        else:
            value = register(m, value, name)
    return value


def _modules(block: Block, seen: dict[str, Block], foreign: dict[str, None]) -> None:
    for child in block.placed():
        if child.module_name not in seen:
            _modules(child, seen, foreign)
    seen[block.module_name] = block
    foreign.update(dict.fromkeys(block.foreign()))


_SIMULATING: ContextVar[bool] = ContextVar("simulating", default=False)


def simulating() -> bool:
    """Whether what is being elaborated is for a simulator: the same registers and bits, written word by word
    (`*`, `+`) where silicon wants gates of its own. Tests hold the two forms equal."""
    return _SIMULATING.get()


def verilog(block: Block, simulation: bool = False) -> Verilog:
    """The Verilog of `block` and everything below it; the same input gives the same text.

    `simulation`: in the form that simulates faster, see `simulating`.
    """
    token = _SIMULATING.set(simulation)
    try:
        return _verilog(block)
    finally:
        _SIMULATING.reset(token)


def _verilog(block: Block) -> Verilog:
    import tempfile
    from pathlib import Path

    from amaranth.back import rtlil
    from pyosys import libyosys

    seen: dict[str, Block] = {}
    foreign: dict[str, None] = {}
    _modules(block, seen, foreign)
    parts = [*foreign, *([CLOCK_GATE] if _SIMULATING.get() else [])]
    with tempfile.TemporaryDirectory() as folder:
        for name, one in seen.items():
            if _SIMULATING.get() and (body := one.behaviour()) is not None:
                parts.append(_behavioural(one, body))
                continue
            source, target = Path(folder, "x.il"), Path(folder, "x.v")
            source.write_text(rtlil.convert(one, name=name, emit_src=False))
            design = libyosys.Design()
            for command in (
                f"read_rtlil {source}",
                "proc -nomux -norom",
                "memory_collect",
                "attrmap -remove init",  # silicon has no initial values; reset is what there is
                "opt_clean -purge",
                f"write_verilog -norename -noattr {target}",
            ):
                design.run_pass(f"tee -q {command}")
            body = target.read_text().split("*/", 1)[1]  # without Yosys' version line
            body = _ZEROED_MEMORY.sub("", body)
            parts.append(_renumbered(_ordered(body.strip())) + "\n")
    return Verilog(block.module_name, ports_of(block), "\n".join(parts), not block.combinational)


def _behavioural(block: Block, body: str) -> str:
    """A module with the block's ports around a body of procedural Verilog; outputs are variables."""
    clocks = () if block.combinational else (Port("clk", 1, True), Port("rst", 1, True))
    ports = ",\n".join(
        f"  {'input' if p.is_input else 'output reg'} [{p.width - 1}:0] {p.name}"
        for p in (*clocks, *ports_of(block))
    )
    return f"module {block.module_name}(\n{ports}\n);\n{body.strip()}\nendmodule\n"


# Memories start with what they start with; only tables of constants (nonzero) keep their contents.
_ZEROED_MEMORY = re.compile(r"^ *initial begin\n(?: *\S+ *\[\d+\] = \d+'h0+;\n)+ *end\n", re.M)


def _ordered(text: str) -> str:
    """Yosys writes aliases in an order that depends on what the process did before; here they are sorted."""
    found: list[str] = []
    run: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.startswith("  assign "):
            run.append(line)
            continue
        found += sorted(run, key=lambda x: re.sub(r"\$auto\$[\w.:$]+", "", x))
        found.append(line)
        run = []
    return "\n".join(found[:-1])


def _renumbered(text: str) -> str:
    """Yosys numbers what it invents from one counter for the whole process; here each module starts at 1."""
    found: dict[str, str] = {}
    return re.sub(r"\$auto\$[\w.:$]+", lambda x: found.setdefault(x[0], f"$auto${len(found) + 1}"), text)
