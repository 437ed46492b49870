"""A step on a chip of ours in the cycle simulator: the busiest core's share, split as the estimate splits it.

What the core does is simulated: matrix, vector and load engines, scratchpad, its share of the memory's bandwidth. What
others do is as the estimate has it: collectives between chips, the exchange across the mesh of cores, copies of
activations that the core's port takes; the program waits for them where they come. Cores that have a whole tile of
attention each are not in step, so what one does not load while it computes goes to the others and comes back to it:
`SLACK`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from tapeout.chip.isa.layout import row_bytes
from tapeout.chip.spec import ChipSpec
from tapeout.errors import DoesNotHold
from tapeout.estimate import chip_attention
from tapeout.estimate.chip import ChipEstimate, StageTime, estimate_chips
from tapeout.estimate.chip_constants import (
    CORE_SYNC_CYCLES,
    NOC_CYCLES_PER_HOP,
    STEP_OVERHEAD_SECONDS,
)
from tapeout.estimate.chip_design import BLOCK, DesignArrays
from tapeout.estimate.chip_matrix import Split, block_bytes_of, split
from tapeout.estimate.chip_memory import Flow
from tapeout.estimate.chip_stages import QUANTISE_OPERATIONS, Stage
from tapeout.estimate.chip_work import ChipWork
from tapeout.simulator.cycle import Memory, native, simulate
from tapeout.simulator.cycle.assembled import BASE, REGIONS, STREAMS
from tapeout.simulator.cycle.share import Attention, Choice, Part, Product, Vectors, program
from tapeout.workload.operators import Number

SLACK = 4096  # cycles: about a tile of attention, and little beside a layer
# Layers of the longer run at least; kinds of layers come so often at least; of so many kinds at most.
LAYERS, PERIOD, MOST_LAYERS = 8, 8, 8
LONGEST, LIMIT = 20, 1_000_000  # a run of more than so many times the estimate, and cycles, has gone wrong
INPUTS_PART = 4  # the inputs of a product have at most this part of the scratchpad


@dataclass(frozen=True)
class Compared:
    """One step: `estimated_s` by the closed form, `simulated_s` with the core's share simulated, of which `others_s`
    is what other cores and chips take, and rare layers, as estimated. `stages`: name, estimated and simulated seconds.
    `cycles` and `instructions`: of the longer run.
    """

    estimated_s: float
    simulated_s: float
    others_s: float
    cycles: int
    instructions: int
    stages: tuple[tuple[str, float, float], ...]

    @property
    def difference(self) -> float:
        """Simulated over estimated, less 1."""
        return self.simulated_s / self.estimated_s - 1


def compare(chip: ChipSpec, work: ChipWork, *, whole: bool = False) -> Compared:
    """Estimate and simulation of `work`, a single operating point. Layers repeat: two runs are made, the second of
    twice as many layers as the first, and all others take as long as those that it has more; `whole`: one run of all.
    Kinds of layers that are too rare to be among those take as long as estimated.

    Raises DoesNotHold where the cycle simulator cannot
    run the share: formats that it does not have, a scratchpad too small for what the split puts there."""
    d = DesignArrays.of(chip)
    native.library()  # told before anything is made if it is not there
    e = estimate_chips(d, work, breakdown=True, dtype=np.float64)
    if not np.isfinite(e.seconds):
        raise DoesNotHold(f"{chip.name}: the model cannot be split so")
    core = chip.core
    if core.matrix.lanes != BLOCK:
        raise DoesNotHold(
            f"{chip.name}: units of {core.matrix.lanes} lanes, where the cycle simulator has {BLOCK}"
        )
    parts = _Parts(d, e)
    some = parts.layers if whole else min(parts.few, parts.layers)
    runs = []
    for layers in (some // 2, some) if some < parts.layers else (some,):
        sequence = parts.sequence(layers)
        try:
            made = program(core, sequence, parts.slower())
        except (
            AssertionError
        ) as error:  # what the compiler's own lowering keeps to and a strange split may not
            raise DoesNotHold(f"{chip.name}: no program for the core's share: {error}") from None
        t = simulate(
            core, made.code, base=BASE, memory=parts.memory(), origin=made.origin, operators=len(made.operators),
            limit=round(LONGEST * float(e.seconds) * float(d.clock_hz)) + LIMIT,
        )  # fmt: skip
        by = {o.name: int(n) for o, n in zip(made.operators, t.operator_cycles[:-1], strict=True)}
        runs.append((t, by))
    t, by = runs[-1]
    more = (parts.layers - some) / (some - some // 2) if len(runs) > 1 else 0.0
    cycles = t.cycles + more * (t.cycles - runs[0][0].cycles)
    spent = {name: n + more * (n - runs[0][1].get(name, 0)) for name, n in by.items()}
    clock = float(d.clock_hz)
    simulated = cycles / clock + parts.rare_s + STEP_OVERHEAD_SECONDS
    return Compared(
        float(e.seconds), simulated, parts.others_s, t.cycles, t.instructions,
        tuple((x.stage.name, _one(x.time_s), spent.get(x.stage.name, 0.0) / clock) for x in e.stage_times),
    )  # fmt: skip


class _Parts:
    """The stages of an estimate as parts of one core."""

    def __init__(self, d: DesignArrays, e: ChipEstimate) -> None:
        self.d, self.times = d, e.stage_times
        with np.errstate(divide="ignore", invalid="ignore"):
            self.flow = Flow.of(d)
        self.cores = _one(d.cores)
        self.clock = _one(d.clock_hz)
        self.share = _one(self.flow.bandwidth) / self.cores / self.clock  # bytes a cycle of a core
        # the same at most: its link may be narrower than its port
        self.port = min(_one(d.port_bytes), _one(d.noc_bytes))
        self.rates: dict[str, float] = {}
        self.apart = False  # cores go through several tiles of attention each, and are not in step
        self.names: list[str] = []
        repeats = [_one(t.stage.repeats) for t in self.times]
        self.layers = max(round(max(repeats, default=1.0)), 1)
        whole = [i for i, r in enumerate(repeats) if r > 1]
        self.first, self.last = (min(whole), max(whole)) if whole else (0, -1)
        part = [r / self.layers for r in repeats[self.first : self.last + 1] if r]
        # layers of several kinds come in turn: so many until they start again
        turns = (Fraction(r).limit_denominator(PERIOD).denominator for r in part if r >= 1 / PERIOD)
        period = math.lcm(*turns)
        self.few = max(2 * (period if period <= MOST_LAYERS else 2), LAYERS)
        self.rare_s = 0.0
        self.others_s = 0.0

    def sequence(self, layers: int) -> list[Part]:
        """The parts of a step with so many layers: each kind of stage as often as its share of all layers."""
        found: list[Part] = []
        order = list(self._order(layers))
        missing = [t for i, t in enumerate(self.times) if i not in order and t.stage.kind != "collective"]
        self.rare_s = self.others_s = sum(_one(t.time_s) for t in missing)
        pending = 0
        for i in order:
            t = self.times[i]
            scale = self.layers / layers if self.first <= i <= self.last else 1.0
            if t.stage.kind == "collective":
                wait = _one(t.network_s) / max(_one(t.stage.repeats), 1e-9) * self.clock
                self.others_s += scale * wait / self.clock
                pending += round(wait)
                continue
            for part in self._of(t):
                others = part.wait + pending
                self.others_s += scale * part.wait / self.clock
                found.append(replace(part, wait=others))
                pending = 0
        return found

    def _order(self, layers: int) -> Iterator[int]:
        yield from range(self.first)
        for layer in range(layers):
            for i in range(self.first, self.last + 1):
                r = _one(self.times[i].stage.repeats) / self.layers
                if int((layer + 1) * r + 1e-9) > int(layer * r + 1e-9):
                    yield i
        yield from range(self.last + 1, len(self.times))

    def memory(self) -> Memory:
        """Memory as the core sees it, once the parts are made."""
        if self.cores == 1:
            slow = self.share < float(self.d.port_bytes)
            return Memory(round(_one(self.flow.latency_s) * self.clock), self.share if slow else None)
        return Memory(
            round(_one(self.flow.latency_s) * self.clock), min(self.share, self.port),
            regions=tuple((REGIONS.index(name), rate) for name, rate in self.rates.items()),
            slack=SLACK if self.apart else 0,
        )  # fmt: skip

    def slower(self) -> dict[str, float]:
        """How much slower than its port memory is to the core, by region, once the parts are made."""
        port = float(self.d.port_bytes)
        if self.cores == 1:
            return dict.fromkeys(REGIONS, max(port / self.share, 1.0))
        rates = dict.fromkeys(REGIONS, min(self.share, self.port)) | self.rates
        return {region: max(port / rate, 1.0) for region, rate in rates.items()}

    def _exchange(self) -> float:
        """Cycles in which cores meet and results cross the mesh."""
        if self.cores == 1:
            return 0.0
        return NOC_CYCLES_PER_HOP * self.cores**0.5 + CORE_SYNC_CYCLES

    def _of(self, t: StageTime) -> Iterator[Part]:
        s = t.stage
        if not _one(s.repeats):
            return
        if s.kind == "gather":
            yield Vectors(s.name, round(_one(self.flow.latency_s) * self.clock), 1, 32, 0, 1, 0)
        elif s.name.startswith("router.top_k"):
            tokens = max(_one(s.tokens), 1.0)
            yield Choice(s.name, 0, max(round(tokens / self.cores + 0.499), 1), round(_one(s.m) / tokens), 4)
        elif s.kind == "barrier":
            yield self._vectors(s)
        elif s.kind == "attention":
            yield self._attention(s)
        else:
            yield self._product(t)

    def _vectors(self, s: Stage) -> Part:
        elements = max(_one(s.m) / self.cores, 1.0)
        rows = max(round(_one(s.tokens) / self.cores), 1)
        whole, reductions = round(_one(s.vector) / _one(s.m)), round(_one(s.reduced) / _one(s.m))
        short = max(round(_one(s.chain)) - whole, 0)
        return Vectors(
            s.name, 0, rows, max(round(elements / rows), 8), reductions, max(whole - reductions, 0), short
        )

    def _product(self, t: StageTime) -> Part:
        s, d = t.stage, self.d
        if s.format not in ("mxfp4", "mxint8"):
            raise DoesNotHold(f"{s.name}: the cycle simulator has MXFP4 and MXINT8, not {s.format.upper()}")
        rate, ways = d.rate[s.format], d.ways(s.format)
        p = split(d, rate, ways, s.m, s.n, s.k, s.products, block_bytes_of(s.format))
        port, fill, _, _ = (_one(x) for x in self.flow.port_seconds(s, p.row_tiles))
        blocks = -(-_one(p.blocks) // _one(p.shared))
        k = round(blocks * BLOCK)
        tiles = self._groups(s, p, blocks)  # groups of rows that meet the same weights
        if tiles > 1:
            p = split(d, rate, ways, s.m, s.n, s.k, s.products, block_bytes_of(s.format), True)
        words = _one(p.command_words) * -(-max(_one(p.commands), 1.0) // tiles)
        rows = min(round(_one(s.m)), tiles * round(_one(d.rows))) or 1
        outputs = max(round(words * _one(d.columns) * _one(ways)), 1)
        # What of the weights several cores read together comes to each as fast as the port has it.
        own = outputs * k * (17 if s.format == "mxfp4" else 33) / 32
        traffic = _one(t.traffic_bytes) / _one(s.repeats) / self.cores
        region = self._region(s.name, self.share * own / max(traffic, 1.0))
        made = (_one(s.vector) - _one(s.beside)) / QUANTISE_OPERATIONS / self.cores
        elements = _one(s.products) * _one(s.m) * _one(s.n) / self.cores
        times = (
            -(-_one(s.beside) // max(_one(s.products) * _one(s.m) * _one(s.n), 1.0)) if _one(s.beside) else 0
        )
        elements = min(elements, _one(s.beside) / self.cores / max(times, 1)) if times else 0
        late = max(port - max(traffic, own) * self.cores / _one(self.flow.bandwidth), 0.0)
        wait = (fill + (late if self.cores > 1 else 0.0)) * self.clock + self._exchange()
        return Product(
            s.name, round(wait), rows, outputs, k, s.format, round(made), (round(times), round(elements)), s.chosen,
            region,
        )  # fmt: skip

    def _groups(self, s: Stage, p: Split, blocks: float) -> int:
        """Groups of rows that one core takes: several need less of the port, but all weights at once in the
        scratchpad."""
        d, height = self.d, min(_one(self.d.rows), _one(s.m))
        rate, ways = d.rate[s.format], d.ways(s.format)
        beat = _one(d.columns) * _one(ways) * block_bytes_of(s.format)
        both = split(d, rate, ways, s.m, s.n, s.k, s.products, block_bytes_of(s.format), True)
        best = (np.inf, 1)
        for tiles in range(1, int(_one(p.row_tiles)) + 1):
            own = p if tiles == 1 else both
            held = tiles * row_bytes(round(blocks * BLOCK)) * height
            if tiles > 1 and (held > _one(d.scratchpad_bytes) / INPUTS_PART or tiles > _one(own.commands)):
                break
            commands, words = -(-_one(own.commands) // tiles), _one(own.command_words)
            matrix = tiles * commands * blocks * max(height, words)
            port = commands * words * blocks * beat / _one(self.flow.port_rate) * self.clock
            best = min(best, (max(matrix, port), tiles))
        return best[1]

    def _region(self, name: str, rate: float) -> str:
        if self.cores == 1:
            return "weights"
        if name not in self.names:
            self.names.append(name)
        if len(self.names) > len(STREAMS):
            raise DoesNotHold(f"{name}: more kinds of products than regions of memory")
        region = STREAMS[self.names.index(name)]
        self.rates[region] = min(max(rate, 0.01), self.port)
        return region

    def _attention(self, s: Stage) -> Part:
        share, m = _one(s.products) / self.cores, _one(s.m)
        wait = round(self._exchange())
        dim, wide = round(_one(s.k)), round(_one(s.v) or _one(s.k))
        t = chip_attention.turns(self.d, s.m, s.n, np.asarray(share), s.k, s.v)
        turns, heads = round(_one(t.turns)), round(_one(t.heads))
        if self.cores > 1:
            # The busiest core has this many times the mean share, and what the others leave of the bandwidth.
            more = max(_one(t.turns * t.heads * t.rows * t.context) / (share * m * _one(s.n)), 1.0)
            self.rates["cache"] = min(self.share * more * _one(t.again) / _one(t.read), self.port)
        context = max(round(_one(t.context)), 1)
        self.apart |= turns * context > chip_attention.TILE
        if m <= chip_attention.FEW_ROWS:  # the queries of one token, several heads of keys at once
            return Attention(s.name, wait, turns, heads, round(m), 1, dim, wide, context)
        group, context = 8, max(context, BLOCK)
        tokens = max(round(_one(t.rows) / group), 1)
        return Attention(s.name, wait, turns, 1, group, min(tokens, context), dim, wide, context)


def _one(x: Number) -> float:
    return float(np.ravel(np.asarray(x))[0])
