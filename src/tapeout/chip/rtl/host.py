"""The host interface: registers behind AXI4-Lite, a doorbell, an interrupt.

The map below is the definition: the block, the register map that ships with a build, and tests follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import ARGUMENTS, PC_BITS, REGISTER_BITS
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.counters import COUNTERS
from tapeout.chip.rtl.parity import PATH_BITS, PATHS
from tapeout.chip.rtl.sequencer import CAUSE_BITS

IDENTITY = 0x7A9E_0002  # "tape", version 2
ADDRESS_BITS = 12
PLACE_BITS = 32


@dataclass(frozen=True)
class Csr:
    """A 32-bit register. `bits` names its fields from the lowest up: (name, width)."""

    name: str
    address: int
    access: Literal["read", "read/write", "write 1"]
    about: str
    bits: tuple[tuple[str, int], ...] = ()


def csr_map() -> tuple[Csr, ...]:
    """Every register, by address."""
    status = (("running", 1), ("halted", 1), ("trapped", 1), ("interrupt", 1), ("fault", 1), ("clearing", 1))
    paths = ", ".join(f"{i} {name}" for i, name in enumerate(PATHS, 1))
    found = [
        Csr("identity", 0x00, "read", f"{IDENTITY:#010x}: what this is, and the version of this map"),
        Csr(
            "doorbell",
            0x04,
            "write 1",
            "start the program at `program`, when the scratchpad has been cleared; nothing while running",
            (("start", 1),),
        ),
        Csr("status", 0x08, "read", "halted, trapped and fault stay until the next start; halted with fault: the "
            "wrong word came last, and the results are not to be trusted", status),
        Csr(
            "program_low",
            0x0C,
            "read/write",
            "byte address of the program, a multiple of the memory port's width",
        ),
        Csr("program_high", 0x10, "read/write", "its upper 16 bits"),
        Csr(
            "code",
            0x14,
            "read",
            "the code of the interrupt: that of `interrupt`, or of `halt`",
            (("code", 16),),
        ),
        Csr(
            "acknowledge",
            0x18,
            "write 1",
            "take the interrupt back; `interrupt` waits for it",
            (("taken", 1),),
        ),
        Csr("enable", 0x1C, "read/write", "whether the interrupt signal is raised", (("interrupt", 1),)),
        Csr("cause", 0x20, "read", "why the core trapped (see the ISA manual)", (("cause", CAUSE_BITS),)),
        Csr(
            "at", 0x24, "read", "number of the instruction at which the sequencer stopped", (("pc", PC_BITS),)
        ),
        Csr(
            "fault", 0x28, "read", f"the path on which the first wrong word since the start was found: 0 none, {paths}",
            (("path", PATH_BITS),),
        ),
        Csr(
            "fault_at", 0x2C, "read",
            "byte address in the scratchpad of that word, for paths scratchpad and pad_write; else 0",
        ),
        Csr(
            "inject", 0x30, "read/write",
            "for tests, while not 0: scratchpad 1 stores the lowest 64 bits of every write of a word with one wrong "
            "bit, 2 with two; path: words that take it are sent with a wrong parity (numbers of `fault`)",
            (("scratchpad", 2), ("path", PATH_BITS)),
        ),
    ]  # fmt: skip
    for i in range(ARGUMENTS):
        found.append(
            Csr(f"argument{i}_low", 0x40 + 8 * i, "read/write", f"argument register {i}, as of the doorbell")
        )
        found.append(Csr(f"argument{i}_high", 0x44 + 8 * i, "read/write", "its upper 16 bits"))
    for i, (name, about) in enumerate(COUNTERS.items()):
        found.append(Csr(f"{name}_low", 0x100 + 8 * i, "read", f"{about}; reading it latches the upper half"))
        found.append(
            Csr(f"{name}_high", 0x104 + 8 * i, "read", "upper half, as of the last read of the lower")
        )
    return tuple(found)


class Host(Block):
    """AXI4-Lite subordinate `s_*`, 32 bits; one access at a time. Reads of no register give 0, writes nothing.

    `irq`: level, until acknowledged. `start` pulses with `base` and `arguments` held, not before `clearing` is 0.
    `counters`: 64 bits each. `fault`: a path's number, not 0 while a wrong word is told; `fault_at` with it. `inject`:
    the register.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "s_awaddr": In(ADDRESS_BITS), "s_awvalid": In(1), "s_awready": Out(1),
                "s_wdata": In(32), "s_wstrb": In(4), "s_wvalid": In(1), "s_wready": Out(1),
                "s_bresp": Out(2), "s_bvalid": Out(1), "s_bready": In(1),
                "s_araddr": In(ADDRESS_BITS), "s_arvalid": In(1), "s_arready": Out(1),
                "s_rdata": Out(32), "s_rresp": Out(2), "s_rvalid": Out(1), "s_rready": In(1),
                "irq": Out(1),
                "start": Out(1), "base": Out(REGISTER_BITS), "arguments": Out(REGISTER_BITS * ARGUMENTS),
                "running": In(1), "halted": In(1), "trapped": In(1), "cause": In(CAUSE_BITS),
                "at": In(PC_BITS),
                "interrupt": In(stream.Signature(16)),
                "counters": In(64 * len(COUNTERS)),
                "clearing": In(1), "fault": In(PATH_BITS), "fault_at": In(PLACE_BITS),
                "inject": Out(2 + PATH_BITS),
            }
        )  # fmt: skip

    @property
    def module_name(self) -> str:
        return "host"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        registers = {r.name: r for r in csr_map()}
        halted, trapped, pending, enable = Signal(), Signal(), Signal(), Signal()
        code, high = Signal(16), Signal(32)
        fault, fault_at = Signal(PATH_BITS), Signal(PLACE_BITS)
        program = Signal(REGISTER_BITS)
        arguments = [Signal(REGISTER_BITS, name=f"argument{i}") for i in range(ARGUMENTS)]
        held: dict[str, Value] = {}
        for name, value in [("program", program), *((f"argument{i}", a) for i, a in enumerate(arguments))]:
            held |= {f"{name}_low": value[:32], f"{name}_high": value[32:]}
        inject = Signal(2 + PATH_BITS)
        held |= {"enable": enable, "inject": inject}
        m.d.comb += self.inject.eq(inject)

        # writes: address and data in the same cycle
        write = Signal()
        m.d.comb += [
            write.eq(self.s_awvalid & self.s_wvalid & ~self.s_bvalid),
            self.s_awready.eq(write),
            self.s_wready.eq(write),
        ]
        with m.If(write):
            m.d.sync += self.s_bvalid.eq(1)
        with m.Elif(self.s_bready):
            m.d.sync += self.s_bvalid.eq(0)
        for name, value in held.items():
            with m.If(write & (self.s_awaddr == registers[name].address)):
                for i in range(-(-len(value) // 8)):
                    with m.If(self.s_wstrb[i]):
                        part = value[8 * i : min(8 * i + 8, len(value))]
                        m.d.sync += part.eq(self.s_wdata[8 * i : 8 * i + len(part)])

        def rings(name: str) -> Value:
            return write & (self.s_awaddr == registers[name].address) & self.s_wstrb[0] & self.s_wdata[0]

        waits, rung = Signal(), Signal()  # for the scratchpad
        m.d.comb += [
            rung.eq((rings("doorbell") & ~self.running) | waits),
            self.start.eq(rung & ~self.clearing),
            self.base.eq(program),
        ]
        m.d.sync += waits.eq(rung & self.clearing)
        m.d.comb += self.arguments.eq(Cat(latched_arguments(m, arguments, self.start)))

        # what the core tells
        with m.If(self.start):
            m.d.sync += [halted.eq(0), trapped.eq(0), fault.eq(0), fault_at.eq(0)]
        with m.If(self.fault.any() & (self.start | ~fault.any())):
            m.d.sync += [fault.eq(self.fault), fault_at.eq(self.fault_at)]
        with m.If(self.halted):
            m.d.sync += halted.eq(1)
        with m.If(self.trapped):
            m.d.sync += trapped.eq(1)
        m.d.comb += self.interrupt.ready.eq(~pending)
        with m.If(rings("acknowledge")):
            m.d.sync += pending.eq(0)
        with m.If(self.interrupt.valid & ~pending):
            m.d.sync += [pending.eq(1), code.eq(self.interrupt.payload)]
        with m.If(self.trapped):
            m.d.sync += pending.eq(1)
        m.d.comb += self.irq.eq(pending & enable)

        # reads
        shown = held | {
            "identity": Const(IDENTITY, 32),
            "status": Cat(self.running | waits, halted, trapped, pending, fault.any(), self.clearing),
            "fault": fault,
            "fault_at": fault_at,
            "code": code,
            "cause": self.cause,
            "at": self.at,
        }
        for i, name in enumerate(COUNTERS):
            shown[f"{name}_low"] = self.counters[64 * i : 64 * i + 32]
            shown[f"{name}_high"] = high
        read = Signal()
        m.d.comb += [read.eq(self.s_arvalid & ~self.s_rvalid), self.s_arready.eq(read)]
        with m.If(read):
            m.d.sync += [self.s_rvalid.eq(1), self.s_rdata.eq(0)]
            with m.Switch(self.s_araddr):
                for name, value in shown.items():
                    with m.Case(registers[name].address):
                        m.d.sync += self.s_rdata.eq(value)
                        if name.removesuffix("_low") in COUNTERS:
                            i = list(COUNTERS).index(name.removesuffix("_low"))
                            m.d.sync += high.eq(self.counters[64 * i + 32 : 64 * i + 64])
        with m.Elif(self.s_rready):
            m.d.sync += self.s_rvalid.eq(0)
        return m


def latched_arguments(m: Module, arguments: list[Signal], start: Value) -> list[Signal]:
    """The arguments as they were at the last start."""
    kept = [Signal(REGISTER_BITS, name=f"kept{i}", reset_less=True) for i in range(len(arguments))]
    with m.If(start):
        m.d.sync += [k.eq(a) for k, a in zip(kept, arguments, strict=True)]
    return kept
