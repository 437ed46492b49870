"""Random commands of the load and store engines: runs of any alignment, indexed runs, turned tiles."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa.geometry import GRANULE, Geometry, round_up
from tapeout.chip.isa.load.transpose import TILE
from tapeout.chip.verification.programs.layout import (
    CODES,
    FLOATS,
    SCALES,
    TABLE_MOST,
    TABLES,
    WORK,
    Layout,
    Range,
)
from tapeout.chip.verification.programs.tree import Command, Touch


class Moves:
    """`rng`: where every choice comes from."""

    def __init__(self, g: Geometry, rng: np.random.Generator) -> None:
        self.g, self.rng, self.at = g, rng, Layout.of(g)

    def between(self, low: int, high: int) -> int:
        """low to high, both included."""
        return int(self.rng.integers(low, max(high, low) + 1))

    def chance(self, p: float) -> bool:
        """True so often."""
        return bool(self.rng.random() < p)

    def pick(self, *choices: int) -> int:
        """One of them."""
        return int(choices[self.between(0, len(choices) - 1)])

    def whole(self, name: str, pad: Range, memory: int) -> Command:
        """All of a range, in one run."""
        size = pad[1] - pad[0]
        operands = {"pad": pad[0], "memory": memory, "bytes": size, "n0": 1, "n1": 1}
        touches = (
            Touch("pad", *pad, name == "load", "pad"),
            Touch("memory", memory, memory + size, name == "store", "memory"),
        )
        return Command(name, operands, {}, touches)

    def source(self, loads_scales: bool, span: int) -> int:
        """Where a load reads: data of its kind, or what was stored."""
        area = SCALES if loads_scales else (FLOATS, CODES, WORK)[self.between(0, 2)]
        return self.between(area[0], area[1] - span)

    def area(self) -> Range:
        """Where a move goes in the scratchpad: values, codes or scales."""
        return (self.at.floats, self.at.floats, self.at.codes, self.at.scales)[self.between(0, 3)]

    def move(self, loads: bool, indexed: bool) -> Command:
        """`load`, `store`, `gather` or `scatter`: up to 5 × 3 runs of up to 300 bytes; none, at times."""
        area = self.area()
        n0, n1 = self.between(0, 5), 1 if indexed else self.between(0, 3)
        size = self.pick(0, 1, 7, 8, 64, self.between(0, 99), self.between(0, 300))
        size = min(size, (area[1] - area[0]) // 16)
        kept = round_up(size, GRANULE)
        pitch = kept + GRANULE * self.between(0, 2) if loads else size + self.between(0, 8)
        count = n0 * n1
        span = max(count - 1, 0) * pitch + (kept if loads else size)
        low = self.between(area[0], area[1] - span)
        low -= low % GRANULE if loads else 0
        if self.chance(0.4):  # words of the scratchpad, the port's rate
            low = max(low - low % self.g.word_bytes, area[0])
        s0 = size + self.between(0, 40) if not indexed else self.pick(size, size + 8, self.g.port_bytes, 3)
        if indexed and not loads:
            s0 = max(s0, size)
        s1 = n0 * s0 + self.between(0, 64) if not loads else self.between(0, 64)
        backwards = loads and not indexed and n0 > 1 and self.chance(0.15)
        reach = (TABLE_MOST - 1) * s0 if indexed else max(n0 - 1, 0) * s0 + max(n1 - 1, 0) * s1
        reach += size
        scales = area == self.at.scales
        memory = self.source(scales, reach) if loads else self.between(WORK[0], WORK[1] - reach)
        if self.chance(0.4):
            memory -= memory % self.g.port_bytes
        first = memory + (n0 - 1) * s0 if backwards else memory
        name = (("store", "scatter"), ("load", "gather"))[loads][indexed]
        operands = {
            "pad": low,
            "memory": first,
            "bytes": size,
            "n0": n0,
            "s0": -s0 if backwards else s0,
            "pitch": pitch,
        }
        touches: list[Touch] = []
        if count and size:
            touches = [
                Touch("pad", low, low + span, loads, "pad"),
                Touch("memory", memory, memory + reach, not loads, "memory"),
            ]
        if indexed:
            tables = self.at.tables
            operands["table"] = self.between(tables[0] // 4, (tables[1] - 4 * n0) // 4) * 4
            touches.append(Touch("pad", operands["table"], operands["table"] + 4 * n0, False, "table"))
        else:
            operands |= {"n1": n1, "s1": s1}
        return Command(name, operands, {}, tuple(touches), self.chance(0.7))

    def table(self) -> Command:
        """New indices."""
        low, high = self.at.tables
        size = min(GRANULE * self.between(1, 32), high - low)
        pad = low + GRANULE * self.between(0, (high - low - size) // GRANULE)
        return self.whole(
            "load", (pad, pad + size), TABLES[0] + 4 * self.between(0, (TABLES[1] - TABLES[0] - size) // 4)
        )

    def transpose(self) -> Command:
        """Up to three tiles or groups of columns, rows of any alignment."""
        word = max(self.g.word_bytes, 1024)
        area = (self.at.codes, self.at.floats)[self.between(0, 1)]
        tiles, groups = [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (2, 2), (0, 1)][self.between(0, 6)]
        if tiles * groups * word > area[1] - area[0]:
            tiles = groups = 1
        size = max(tiles * groups, 1) * word
        low = self.between(area[0] // word, (area[1] - size) // word) * word
        low = max(low, round_up(area[0], self.g.word_bytes))
        s0 = self.pick(32 * groups, 32 * groups + self.between(0, 99), 2 * self.g.port_bytes)
        s0 = max(s0, 32 * groups)
        s1 = self.between(0, 4000)
        reach = max(tiles - 1, 0) * s1 + (TILE - 1) * s0 + 32 * groups
        memory = self.source(False, reach)
        if self.chance(0.4):
            memory -= memory % self.g.port_bytes
        operands = {
            "pad": low, "memory": memory, "bytes": 32 * groups, "n0": tiles, "s0": s0, "split": word, "s1": s1,
            "pitch": groups * word,
        }  # fmt: skip
        touches = (
            Touch("pad", low, low + size, True, "pad"),
            Touch("memory", memory, memory + reach, False, "memory"),
        )
        return Command("transpose", operands, {}, touches if tiles else (), self.chance(0.7))
