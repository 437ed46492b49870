"""Where the core's parity is made and checked: the ends of the streams between its blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from amaranth.hdl import Const, Module, Signal, Value

from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.parity import ParityCheck, ParitySend, number


def taken(stream: Any) -> Value:
    """Whether a word goes over in this cycle."""
    return stream.valid & stream.ready


class Guards:
    """Places both ends beside the streams of a module. `inject`: the host's register. `errors`: (path, told)."""

    def __init__(self, m: Module, inject: Value) -> None:
        self.m, self.path, self.errors = m, inject[2:], list[tuple[str, Signal]]()
        self.placed = 0

    def _flips(self, path: str) -> Value:
        """Whether the host wants this path's parity wrong."""
        return self.path == number(path)

    def _name(self, path: str, kind: str) -> str:
        self.placed += 1
        return f"{path}_{kind}{self.placed}"

    def _send(self, path: str, word: Value, goes: Value) -> Signal:
        send = place(self.m, self._name(path, "send"), ParitySend(len(word)))
        self.m.d.comb += [send.word.eq(word), send.taken.eq(goes), send.inject.eq(self._flips(path))]
        return send.parity

    def _check(self, path: str, word: Value, goes: Value, parity: Value, late: bool) -> None:
        check = place(self.m, self._name(path, "check"), ParityCheck(len(word), late))
        self.m.d.comb += [check.word.eq(word), check.taken.eq(goes), check.parity.eq(parity)]
        self.errors.append((path, check.error))

    def stream(self, path: str, source: Any, sink: Any) -> None:
        """Words as they leave `source`, and as they are taken at `sink`, to which it is connected."""
        sent = self._send(path, Value.cast(source.payload), taken(source))
        self._check(path, Value.cast(sink.payload), taken(sink), sent, late=True)

    def sent(self, path: str, request: Any) -> Signal:
        """The parity of the data that a request writes, for the scratchpad to check."""
        payload = request.payload
        writes = payload.write if "write" in payload.shape().members else Const(1, 1)
        return self._send(path, Value.cast(payload.data), taken(request) & writes)

    def answer(self, path: str, answer: Any, parity: Value) -> None:
        """A read's answer, with the parity that came with it."""
        self._check(path, Value.cast(answer.payload), taken(answer), parity ^ self._flips(path), late=False)


def guards_of(streams: Iterable[Any], ports: Sequence[PadPort], word_bytes: int) -> Iterable[Block]:
    """The blocks that `Guards` places for these."""
    for stream in streams:
        width = len(Value.cast(stream.payload))
        yield ParitySend(width)
        yield ParityCheck(width, late=True)
    for port in ports:
        width = 8 * word_bytes * port.words
        if port.writes:
            yield ParitySend(width)
        if port.reads:
            yield ParityCheck(width, late=False)
