"""The memory port: AXI4, one word a transaction.

Reads of the instruction fetch and of the load engine share the read channels, told apart by ID (answers of one ID
come in order); writes are the store engine's. Every transaction is one beat of the port's width, aligned: DMA asks
for a word every cycle, and memories of this kind take 32 or 64 bytes an access, so longer bursts would carry
nothing more. A response other than OKAY is an error.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.dma_store import write_layout

FETCH, LOAD = 0, 1


class MemoryPort(Block):
    """Streams of the core inside; AXI4 signals outside (`axi_araddr` …), as a manager."""

    def __init__(self, port_bytes: int) -> None:
        if port_bytes & (port_bytes - 1) or not 1 <= port_bytes <= 128:
            raise ValueError(f"a memory port of {port_bytes} bytes: AXI4 has 1 to 128")
        self.port_bytes = port_bytes
        answer = data.StructLayout({"data": 8 * port_bytes, "error": 1})
        super().__init__(
            {
                "fetch": In(stream.Signature(REGISTER_BITS)),
                "fetched": Out(stream.Signature(answer)),
                "load": In(stream.Signature(REGISTER_BITS)),
                "loaded": Out(stream.Signature(answer)),
                "write": In(stream.Signature(write_layout(port_bytes))),
                "acknowledged": Out(1),
                "refused": Out(1),
            }
            | axi(port_bytes)
        )

    @property
    def module_name(self) -> str:
        return f"memory_port_{self.port_bytes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # reads: an offer stays as it is until it is taken; instructions first, they are few
        held, who = Signal(), Signal()
        pick = Signal()
        m.d.comb += [
            pick.eq(Mux(held, who, Mux(self.fetch.valid, FETCH, LOAD))),
            self.axi_arvalid.eq(Mux(pick == FETCH, self.fetch.valid, self.load.valid)),
            self.axi_araddr.eq(Mux(pick == FETCH, self.fetch.payload, self.load.payload)),
            self.axi_arid.eq(pick),
            self.fetch.ready.eq(self.axi_arready & (pick == FETCH)),
            self.load.ready.eq(self.axi_arready & (pick == LOAD)),
        ]
        m.d.sync += [held.eq(self.axi_arvalid & ~self.axi_arready), who.eq(pick)]
        for side in ("ar", "aw"):
            m.d.comb += [
                getattr(self, f"axi_{side}len").eq(0),
                getattr(self, f"axi_{side}size").eq(self.port_bytes.bit_length() - 1),
                getattr(self, f"axi_{side}burst").eq(1),
            ]
        answers = {FETCH: self.fetched, LOAD: self.loaded}
        for number, answer in answers.items():
            m.d.comb += [
                answer.valid.eq(self.axi_rvalid & (self.axi_rid == number)),
                answer.payload.data.eq(self.axi_rdata),
                answer.payload.error.eq(self.axi_rresp[1]),
            ]
        m.d.comb += self.axi_rready.eq(Mux(self.axi_rid == FETCH, self.fetched.ready, self.loaded.ready))
        # writes: address and data go independently
        address_gone, data_gone = Signal(), Signal()
        both = Signal()
        m.d.comb += [
            self.axi_awvalid.eq(self.write.valid & ~address_gone),
            self.axi_awaddr.eq(self.write.payload.address),
            self.axi_awid.eq(0),
            self.axi_wvalid.eq(self.write.valid & ~data_gone),
            self.axi_wdata.eq(self.write.payload.data),
            self.axi_wstrb.eq(self.write.payload.strobe),
            self.axi_wlast.eq(1),
            both.eq((address_gone | self.axi_awready) & (data_gone | self.axi_wready)),
            self.write.ready.eq(both),
            self.axi_bready.eq(1),
            self.acknowledged.eq(self.axi_bvalid),
            self.refused.eq(self.axi_bvalid & self.axi_bresp[1]),
        ]
        with m.If(self.write.valid):
            m.d.sync += [
                address_gone.eq((address_gone | self.axi_awready) & ~both),
                data_gone.eq((data_gone | self.axi_wready) & ~both),
            ]
        return m


def axi(port_bytes: int) -> dict[str, Any]:
    """The AXI4 signals of a manager with one-bit IDs (AMBA AXI, IHI 0022; what has a default there is left out)."""
    channel = {"addr": REGISTER_BITS, "id": 1, "len": 8, "size": 3, "burst": 2}
    members: dict[str, Any] = {}
    for side in ("ar", "aw"):
        members |= {f"axi_{side}{name}": Out(width) for name, width in channel.items()}
        members |= {f"axi_{side}valid": Out(1), f"axi_{side}ready": In(1)}
    members |= {
        "axi_rdata": In(8 * port_bytes), "axi_rid": In(1), "axi_rresp": In(2), "axi_rlast": In(1),
        "axi_rvalid": In(1), "axi_rready": Out(1),
        "axi_wdata": Out(8 * port_bytes), "axi_wstrb": Out(port_bytes), "axi_wlast": Out(1),
        "axi_wvalid": Out(1), "axi_wready": In(1),
        "axi_bresp": In(2), "axi_bid": In(1), "axi_bvalid": In(1), "axi_bready": Out(1),
    }  # fmt: skip
    return members
