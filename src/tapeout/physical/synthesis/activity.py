"""Gate-level simulation of a mapped netlist, 64 streams to a word, counting what every net does.

Zero delay: a net settles once a cycle, so glitches are not seen. Streams run the same cycles side by side; that the
outputs equal the block's twin on them is the proof that the gates are the model, on those vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import DoesNotHold
from tapeout.physical.synthesis.function import Function
from tapeout.physical.synthesis.netlist import Flat, Nets

Words = NDArray[np.uint64]
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


def pack(values: NDArray[np.uint8], bits: int) -> Words:
    """Streams' values, bytes little end first [streams, bytes] → words [bits, streams / 64]; streams % 64 == 0."""
    spread = np.unpackbits(values, axis=1, bitorder="little")[:, :bits]
    return np.ascontiguousarray(np.packbits(spread.T, axis=1, bitorder="little")).view(np.uint64)


def unpack(words: Words) -> NDArray[np.uint8]:
    """The inverse: [bits, words] → bytes [streams, ⌈bits / 8⌉]."""
    spread = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    return np.ascontiguousarray(np.packbits(spread.T, axis=1, bitorder="little"))


class Simulator:
    """One netlist with `streams` (a multiple of 64) independent copies of its state.

    A cycle: `set` inputs, `settle`, read with `get`, and `clock`. `toggles`: per net, changes of its settled value
    from cycle to cycle over all streams, counted by `clock`; `cycles` that were counted. Memory macros are
    `sram_1rw`, one address for all streams. Raises DoesNotHold for a netlist with latches.
    """

    def __init__(self, flat: Flat, streams: int = 64) -> None:
        if streams % 64 or streams < 64:
            raise ValueError(f"{streams} streams are not a multiple of 64")
        self.flat, self.streams = flat, streams
        self.values = np.zeros((flat.nets + 1, streams // 64), dtype=np.uint64)  # and a spare row
        self.values[1] = _ALL
        self.before = self.values.copy()
        self.toggles = np.zeros(flat.nets + 1, dtype=np.int64)
        self.cycles = 0
        self.first = True
        self._order = _order(flat)
        self._memories = [
            (ports, np.zeros((2 ** len(ports["address"]), len(ports["q"]), streams // 64), dtype=np.uint64))
            for _, _, ports in flat.macros
        ]
        self._flops = [(c, p) for c, p in zip(flat.types, flat.pins, strict=True) if c.flip_flop]

    def set(self, port: str, words: Words) -> None:
        """Give an input port its bits, [bits, streams / 64]; bits beyond those given are 0."""
        nets = self.flat.inputs[port]
        self.values[nets] = 0
        self.values[nets[: len(words)]] = words[: len(nets)]

    def set_all(self, port: str, value: int) -> None:
        """The same value in all streams."""
        nets = self.flat.inputs[port]
        bits = np.array([(value >> i) & 1 for i in range(len(nets))], dtype=np.uint64)
        self.values[nets] = (bits * _ALL)[:, None]

    def get(self, port: str) -> Words:
        """The bits of an output port, settled."""
        return self.values[self.flat.outputs[port]]

    def settle(self) -> None:
        """Evaluate the logic."""
        v = self.values
        for group in self._order:
            given = {n: v[nets] for n, nets in group.inputs.items()}
            for nets, function in group.outputs:
                v[nets] = function.evaluate(given)

    def clock(self, count: bool = True) -> None:
        """A rising edge: count what settled since the last, then give the flip-flops their next state."""
        if count and not self.first:
            self.toggles += np.bitwise_count(self.values ^ self.before).sum(axis=1, dtype=np.int64)
            self.cycles += 1
        self.first = False
        np.copyto(self.before, self.values)
        updates = [u for ports, words in self._memories for u in self._access(ports, words)]
        for cell, pins in self._flops:
            assert cell.next_state
            at = {n: k for k, n in enumerate(cell.pins)}
            state = cell.next_state.evaluate({n: self.values[pins[:, at[n]]] for n in cell.next_state.inputs})
            q = {cell.state[0]: state, cell.state[-1]: ~state}
            updates += [
                (pins[:, at[o.name]], o.function.evaluate(q)) for o in cell.outputs if o.function is not None
            ]
        for nets, value in updates:
            self.values[nets] = value

    def _access(self, ports: dict[str, Nets], words: Words) -> list[tuple[Nets, Words]]:
        """What a memory macro does at the edge; its new output, if it read. Address and enables are every stream's."""
        control = self.values[np.concatenate((ports["enable"], ports["write"], ports["address"]))]
        if ((control != 0) & (control != _ALL)).any():
            raise DoesNotHold(f"{self.flat.top}: streams differ in what they ask of a memory")
        bits = [int(b) for b in control[:, 0] != 0]
        enable, write = bits[0], bits[1 : 1 + len(ports["write"])]
        row = sum(b << i for i, b in enumerate(bits[1 + len(write) :]))
        granule = len(ports["q"]) // len(write)
        for g in (g for g, w in enumerate(write) if enable and w):
            at = slice(g * granule, (g + 1) * granule)
            words[row, at] = self.values[ports["data"][at]]
        return [(ports["q"], words[row].copy())] if enable and not any(write) else []


@dataclass(frozen=True, eq=False)
class _Group:
    """Cells of one type at one level: nets by input pin, and each output's nets with its function."""

    inputs: dict[str, Nets]
    outputs: list[tuple[Nets, Function]]


def _order(flat: Flat) -> list[_Group]:
    """Groups, drivers before what they drive."""
    depth = np.zeros(flat.nets + 1, dtype=np.int64)
    logic = [(c, p) for c, p in zip(flat.types, flat.pins, strict=True) if not c.flip_flop]
    if any(c.latch for c, _ in logic):
        raise DoesNotHold(f"{flat.top}: has latches")
    levels = [np.zeros(len(p), dtype=np.int64) for _, p in logic]
    changed = True
    while changed:
        changed = False
        for k, (cell, pins) in enumerate(logic):
            ins = [i for i, p in enumerate(cell.pins.values()) if not p.output]
            if not ins:
                continue
            levels[k] = depth[pins[:, ins]].max(axis=1) + 1
            for i, p in enumerate(cell.pins.values()):
                there = pins[:, i] >= 0
                if p.output and (depth[pins[there, i]] != levels[k][there]).any():
                    depth[pins[there, i]] = levels[k][there]
                    changed = True
        if depth.max() > flat.nets:
            raise DoesNotHold(f"{flat.top}: a combinational loop")
    steps = []
    for (cell, all_pins), level in zip(logic, levels, strict=True):
        for one in np.unique(level):
            pins = all_pins[level == one]  # an open pin is −1: the spare row at the end
            at = {n: pins[:, i] for i, n in enumerate(cell.pins)}
            group = _Group(
                {p.name: at[p.name] for p in cell.inputs},
                [(at[p.name], p.function) for p in cell.outputs if p.function is not None],
            )
            steps.append((int(one), cell.name, group))
    return [g for _, _, g in sorted(steps, key=lambda s: s[:2])]
