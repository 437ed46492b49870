"""What the load and the store engine share: their ports, the address half, and the queue of pieces under way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.dma_address import DmaAddress
from tapeout.chip.rtl.head_fifo import queue_of
from tapeout.chip.rtl.sequencer import CAUSE_BITS, pad_request
from tapeout.chip.rtl.sequencer_dispatch import COMMAND


class DmaEngine(Block):
    """`command`; `pad_request`, `pad_answer`: the scratchpad; `done` pulses when a command's last byte is where it
    goes; `error` with `cause`. `members`: the side of memory. `under_way`: pieces between their request and its answer.
    """

    kind: str

    def __init__(
        self, port_bytes: int, pad_bytes: int, word_bytes: int, outstanding: int, under_way: int,
        members: dict[str, Any],
    ) -> None:  # fmt: skip
        self.port_bytes, self.pad_bytes, self.word_bytes = port_bytes, pad_bytes, word_bytes
        self.outstanding, self.bytes = outstanding, min(port_bytes, word_bytes)
        self.port_bits, self.word_bits = port_bytes.bit_length() - 1, word_bytes.bit_length() - 1
        self.address = DmaAddress(port_bytes, pad_bytes, word_bytes, aligned=self.kind == "load")
        # of the memory address a load keeps what is within a word of the port; a store writes there
        fields = {n: f.shape for n, f in self.address.piece_layout}
        self.described = data.StructLayout(
            fields | ({"memory": max(self.port_bits, 1)} if self.kind == "load" else {})
        )
        self.queue = queue_of(self.described.size, under_way)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "pad_request": Out(stream.Signature(pad_request(pad_bytes // word_bytes, word_bytes))),
                "pad_answer": In(stream.Signature(8 * word_bytes)),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
            | members
        )

    @property
    def module_name(self) -> str:
        return f"dma_{self.kind}_{self.port_bytes}_{self.pad_bytes}_{self.word_bytes}_{self.outstanding}"

    def placed(self) -> Iterable[Block]:
        return (self.address, self.queue)

    def set_up(self, m: Module, asked: Any) -> tuple[Any, Any, Any]:
        """Places the address half and the queue; returns (address, queue, the queue's piece). A piece goes out as a
        request, which `asked` says is taken, and into the queue together; one without bytes only into the queue."""
        address, queue = place(m, "address", self.address), place(m, "queue", self.queue)
        asks = address.piece.payload.moves
        kept = Signal(self.described)
        for name, _ in self.described:
            m.d.comb += kept[name].eq(address.piece.payload[name])
        m.d.comb += [
            address.command.valid.eq(self.command.valid),
            address.command.payload.eq(self.command.payload),
            self.command.ready.eq(address.command.ready),
            queue.i.payload.eq(kept),
            queue.i.valid.eq(address.piece.valid & (asked | ~asks)),
            address.piece.ready.eq(queue.i.ready & (asked | ~asks)),
        ]
        described = Signal(self.described)
        m.d.comb += described.eq(queue.o.payload)
        return address, queue, described
