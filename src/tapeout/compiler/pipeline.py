"""compile: Model × ChipSpec × FormatPlan → Program, pass after pass.

lower (an entry at a time) → allocate → order → synchronise → emit, with `check` between them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.chip.isa.definition import WORD_BYTES, encode, word
from tapeout.chip.isa.geometry import Geometry, round_up
from tapeout.chip.spec import ChipSpec
from tapeout.compiler.allocate import allocate
from tapeout.compiler.banks import Banks
from tapeout.compiler.builder import Builder
from tapeout.compiler.check import check
from tapeout.compiler.clock import Clock
from tapeout.compiler.emit import Code, emit
from tapeout.compiler.ir import EXPERTS, VECTORS, WEIGHTS, Area, Item, named
from tapeout.compiler.lower.cached import Kept, kept
from tapeout.compiler.lower.context import Context, Step
from tapeout.compiler.lower.entry import lower
from tapeout.compiler.memory import Memory
from tapeout.compiler.order import Ring, least, order
from tapeout.compiler.program import Entry, Operator, Program, Region, as_code, identity, memory_of
from tapeout.compiler.synchronise import synchronise
from tapeout.errors import DoesNotHold, InputError, Phrase
from tapeout.model.architecture import GroupedQueryAttention, LatentAttention, Model
from tapeout.numerics.plan import PRESETS, FormatPlan
from tapeout.numerics.schedule import Schedule

REGIONS = (
    "tokens",
    "positions",
    "slots",
    "chosen",
    "logits",
    "vectors",
    "tables",
    "embedding",
    "weights",
    "cache",
)
COLUMNS = (4, 8, 16, 32, 64, 128)  # attention's tiles are whole beats
PREFILL = (64, 32, 16, 8, 4)  # tokens of a prefill entry, by choice
SHARES = (
    0.5,
    0.3,
    0.4,
    0.6,
    0.7,
    0.8,
)  # of the free scratchpad that experts' weights may get: the clock chooses
WORTH = 0.01  # of the time: about what the clock is right to
TRIED = 16000  # items of an entry beyond which only the first of the choices is tried
NEVER = 1 << 40
# Work buffers may take this part of the scratchpad to keep apart what follows one another: engines wait less for each
# other, but less room is left to weights on their way. The clock chooses.
RESTING = (12, 3, NEVER)
LEAST_TILES = 4  # of a command: fewer would wait for the adder of the accumulators
SHARE = 6  # a chunk of weights is at most this part of the scratchpad
CHUNK = 192 << 10  # and at most so many bytes, which hide the latency of memory many times over


@dataclass
class _Lowered:
    step: Step
    items: list[Item]
    cycles: int
    used: dict[str, float]


def compile(
    model: Model,
    chip: ChipSpec,
    plan: FormatPlan | str = "mxint8",
    *,
    context: int | None = None,
    slots: int = 1,
    prefill: Sequence[int] | None = None,
    batches: Sequence[int] = (),
    beyond_memory: bool = False,
) -> Program:
    """A program that runs `model` on one core of `chip`.

    `context`: positions that a sequence can have (the model's, or those up to which its attention is dense).
    `slots`: sequences that can be at work. `prefill`: tokens of the entries for prompts; the largest of `PREFILL` that
    the scratchpad holds if not given. `batches`: sequences of the entries that decode several at a time.
    `beyond_memory`: the model may be larger than the chip's memory; the program then tells the time that a chip with so
    much memory takes, and cannot be loaded. Raises InputError for what the chip cannot run, before anything runs.
    """
    if isinstance(plan, str) and plan not in PRESETS:
        raise InputError("--formats", "", plan, f"one of {', '.join(PRESETS)}")
    chosen = PRESETS[plan] if isinstance(plan, str) else plan
    g = Geometry.of(chip.core)
    _possible(model, chip, chosen, g)
    longest = _longest(model)
    positions = context or longest
    if not 0 < positions <= longest:
        beyond = "" if longest == model.context else ": beyond it attention is sparse, which is not compiled"
        raise InputError("context", "", positions, f"1 to {longest} positions{beyond}")
    sizes = [[n] for n in PREFILL] + [[]] if prefill is None else [list(prefill)]

    def attempt(steps: list[Step], tiles: int) -> Program:
        capacity = round_up(positions + max(s.tokens for s in steps) + 128, 128)
        keeps = kept(model, capacity, g.pad_bytes)
        chunk = min(max(g.pad_bytes // SHARE, 4096), CHUNK) * tiles // g.tiles
        memory = Memory(model, chosen, g, tiles=tiles, chunk_bytes=chunk)
        _fixed(memory, model, steps, slots, keeps)
        if not beyond_memory:
            _fits(memory, chip, slots, keeps.slot_bytes, positions)
        schedule = Schedule()
        done = [
            _one(model, chosen, g, memory, step, capacity, schedule.tile, keeps, slots, chip)
            for step in sorted(steps, key=lambda s: -s.rows)  # what may not fit comes first
        ][::-1]
        return _assemble(model, chip, chosen, schedule, memory, done, keeps, positions, slots, beyond_memory)

    tiles, single = g.tiles, [Step(1, 1)]
    alone: dict[int, Program] = {}

    def one_token(tiles: int) -> None:
        alone[tiles] = attempt(single, tiles)

    for i, chunk in enumerate(sizes):
        steps = [*single, *(Step(n, 1) for n in chunk), *(Step(1, n) for n in batches)]
        while True:
            try:
                return alone[tiles] if steps == single and tiles in alone else attempt(steps, tiles)
            except (_NoRoom, DoesNotHold):  # DoesNotHold: of a ring, found while loads are placed
                # commands of fewer tiles where not even one token fits; then fewer tokens
                fewer = tiles if i else _most_tiles(tiles, one_token, steps == single)
                if fewer == tiles:
                    if i == len(sizes) - 1:
                        raise
                    break
                tiles = fewer
    raise AssertionError("no size was tried")


def _most_tiles(tiles: int, attempt: Callable[[int], None], failed: bool) -> int:
    """The most tiles of a command, at most `tiles`, with which one token fits; `tiles` itself if none do. `failed`:
    whether those are known not to."""
    t = tiles // 2 if failed else tiles
    while t >= LEAST_TILES:
        try:
            attempt(t)
        except (_NoRoom, DoesNotHold):
            t //= 2
        else:
            return t
    return tiles


class _NoRoom(InputError):
    """The scratchpad is too small for what an entry works on at a time: `activations` bytes and weights."""

    activations = 0


def _possible(model: Model, chip: ChipSpec, plan: FormatPlan, g: Geometry) -> None:
    """Raise InputError for what no program can do on this chip."""
    where = chip.name
    if "mxint8" not in g.formats:
        raise InputError(
            where, "core.matrix.formats", list(g.formats), "mxint8 among them: attention needs it"
        )
    if plan.attention != "mxint8" or plan.cache != "mxint8":
        raise InputError(
            "--formats", plan.name, f"{plan.attention}, {plan.cache}", "mxint8 for attention and cache"
        )
    if g.columns not in COLUMNS:
        expected = ", ".join(map(str, COLUMNS))
        raise InputError(where, "core.matrix.columns", g.columns, f"one of {expected} for a compiled program")
    if g.word_bytes < 32 or g.word_bytes > 512:
        raise InputError(
            where, "core.scratchpad.word_bytes", g.word_bytes, "32 to 512 for a compiled program"
        )
    if model.hidden % 32:
        raise InputError(model.name, "hidden_size", model.hidden, "a multiple of 32 for a compiled program")


def _longest(model: Model) -> int:
    """Positions that a sequence can have: up to where an indexer would start to leave some out."""
    latent = [a for layer in model.layers if isinstance(a := layer.attention, LatentAttention)]
    return min([model.context, *(a.index_topk for a in latent if a.index_topk)])


def _cuts(model: Model) -> tuple[int, ...]:
    """Sizes of the chunks that attention keeps to."""
    attentions = [a for layer in model.layers if isinstance(a := layer.attention, GroupedQueryAttention)]
    return tuple(sorted({a.chunk for a in attentions if a.chunk is not None}))


def _fixed(memory: Memory, model: Model, steps: list[Step], slots: int, keeps: Kept) -> None:
    rows = max(s.rows for s in steps)
    for region in ("tokens", "positions", "slots"):
        memory.room(region, 4 * rows)
    memory.room("chosen", 32 * rows)
    memory.room("logits", round_up(4 * model.vocabulary, 64) * max(s.sequences for s in steps))
    memory.room("cache", slots * keeps.slot_bytes + keeps.state_bytes)


def _fits(memory: Memory, chip: ChipSpec, slots: int, slot_bytes: int, context: int) -> None:
    """Raise InputError for weights and cache that are larger than the memory, before anything is made of them."""
    weights = 0
    for t in memory.model.tensors:
        if t.matrix and t.role != "embedding":
            weights += t.parameters * (17 if memory.format_of(t, t.role) == "mxfp4" else 33) // 32
        else:
            weights += 2 * t.parameters
    _within(memory.model, chip, weights + slots * slot_bytes, slots * slot_bytes, slots, context)


def _within(model: Model, chip: ChipSpec, need: int, cache: int, slots: int, context: int) -> None:
    room = memory_of(chip)
    if need > room:
        found = f"{(need - cache) / 2**30:.1f} GiB of weights, {cache / 2**30:.1f} of cache"
        raise InputError(
            model.name, "memory", Phrase(f"{found} for {slots} sequences of {context} positions"),
            f"at most the {room / 2**30:.0f} GiB of {chip.name}: a smaller model, fewer slots or a shorter context",
        )  # fmt: skip


def _one(
    model: Model, plan: FormatPlan, g: Geometry, memory: Memory, step: Step, capacity: int, tile: int,
    keeps: Kept, slots: int, chip: ChipSpec,
) -> _Lowered:  # fmt: skip
    """One entry; with experts' weights loaded for each block of their rows where there is no room to keep them."""
    try:
        return _lowered(model, plan, g, memory, step, capacity, tile, keeps, slots, chip, True)
    except _NoRoom as e:
        if not model.experts or step.rows == 1 or e.activations > g.pad_bytes // 2:
            raise
    return _lowered(model, plan, g, memory, step, capacity, tile, keeps, slots, chip, False)


def _lowered(
    model: Model, plan: FormatPlan, g: Geometry, memory: Memory, step: Step, capacity: int, tile: int,
    keeps: Kept, slots: int, chip: ChipSpec, resident: bool,
) -> _Lowered:  # fmt: skip
    b = Builder(g)
    areas = {i: Area(f"cache of layer {i}") for i in range(len(model.layers))}
    c = Context(b, memory, model, plan, step, capacity, tile, keeps, slots, areas, resident)
    if step.tokens > 1:
        c.count = b.argument(3, step.tokens)
    lower(c)
    check(b.items)
    banks = Banks(g, chip.core.scratchpad.banks, b.items)

    def placed(choice: tuple[int, float]) -> tuple[list[Item], Clock]:
        resting, share = choice
        top = allocate(b.items, 0, g.pad_bytes // resting, banks if resting < NEVER else None)
        return order(b.items, g, _rings(b.items, g, top, step, share, chip.name, banks))

    _rings(b.items, g, allocate(b.items, 0), step, SHARES[0], chip.name, banks)  # whether it fits at all
    items, clock = _quickest(placed, _choices(model, step, len(b.items)))
    check(items, g)
    synchronise(items, g.pad_bytes)
    return _Lowered(step, items, round(clock.end), {e.name: t for e, t in clock.used.items()})


def _choices(model: Model, step: Step, items: int) -> list[tuple[int, float]]:
    """(`RESTING`, `SHARES`) to be tried: the likely ones first, all if the entry is short. Experts of one token have
    a ring of their own; those of several are loaded in loops, through work buffers, which therefore get the most."""
    if model.experts:
        choices = [(min(RESTING), share) for share in (SHARES if step.rows == 1 else SHARES[:1])]
    else:
        choices = [(rest, SHARES[0]) for rest in RESTING]
    return choices if items < TRIED else choices[:1]


def _quickest(
    placed: Callable[[tuple[int, float]], tuple[list[Item], Clock]], choices: list[tuple[int, float]]
) -> tuple[list[Item], Clock]:
    """What takes the least time by the clock, of what has room (the first that is within `WORTH` of it); if nothing
    has, work buffers side by side."""
    ends: dict[tuple[int, float], float] = {}
    last: tuple[tuple[int, float], tuple[list[Item], Clock]] | None = None
    for choice in choices:
        try:
            last = choice, placed(choice)
        except (_NoRoom, DoesNotHold):
            continue
        ends[choice] = last[1][1].end
    if last is None:
        return placed((NEVER, SHARES[0]))
    quickest = min(ends.values())
    best = next(choice for choice, end in ends.items() if end <= quickest * (1 + WORTH))
    # an order also places the buffers: the last one placed is the one that counts
    return last[1] if best == last[0] else placed(best)


def _rings(
    items: list[Item], g: Geometry, top: int, step: Step, experts: float, where: str, banks: Banks
) -> dict[str, Ring]:
    """The scratchpad above the work buffers, dealt to vectors, experts and weights by what they need at least; of
    what is then left experts get the share `experts`."""
    kinds = (VECTORS, EXPERTS, WEIGHTS)
    start = round_up(top, 64)
    room = g.pad_bytes - start
    need = least(items, kinds, banks)
    if sum(need.values()) > room:
        need = least(items, kinds, banks, 1)
    if sum(need.values()) > room:
        found = _NoRoom(
            where, "core.scratchpad.kibibytes",
            Phrase(f"{g.pad_bytes >> 10}"),
            f"room for {start} bytes of activations of {step.rows} tokens and {sum(need.values())} of weights",
        )  # fmt: skip
        found.activations = start
        raise found
    spare = room - sum(need.values())
    share = {VECTORS: 0.05, EXPERTS: experts if need[EXPERTS] else 0.0}
    share[WEIGHTS] = 1 - sum(share.values())
    rings, at = {}, start
    for kind, size in need.items():
        size = (size + int(spare * share[kind])) // 64 * 64
        rings[kind] = Ring(at, size, banks)
        at += size
    return rings


def _assemble(
    model: Model, chip: ChipSpec, plan: FormatPlan, schedule: Schedule, memory: Memory, done: list[_Lowered],
    keeps: Kept, context: int, slots: int, beyond_memory: bool,
) -> Program:  # fmt: skip
    regions = memory.regions(REGIONS)

    def base(name: str) -> int:
        return regions[name].base

    code = Code()
    start = Operator(None, "start")
    code.words = [encode(word(named("argument"), (), (), rd=1, index=0))] + [0] * len(done)
    code.origin = [start] * (1 + len(done))
    starts = []
    for one in done:
        starts.append(len(code.words))
        emit(one.items, base, code)
        code.words.append(encode(word(named("halt"), (), ())))
        code.origin.append(start)
    for i, at in enumerate(starts):
        code.words[1 + i] = encode(word(named("branch"), (), (), **{"a": 1, "if": 0, "imm": i, "target": at}))
    end = max(r.base + r.size for r in regions.values())
    size = round_up(WORD_BYTES * len(code.words) + 4096, 64)
    regions["code"] = Region(round_up(end, 4096), size)
    if not beyond_memory:
        _within(model, chip, regions["code"].base + size, regions["cache"].size, slots, context)
    operators = list(dict.fromkeys(code.origin))
    number = {o: i for i, o in enumerate(operators)}
    report: dict[str, Any] = {
        "entries": [
            {"tokens": d.step.tokens, "sequences": d.step.sequences, "cycles": d.cycles, "busy": d.used}
            for d in done
        ]
    }
    names = {1: "decode"}
    return Program(
        model=model.name, identity=identity(model), vocabulary=model.vocabulary, chip=chip, plan=plan,
        schedule=schedule, code=as_code(code.words),
        origin=np.array([number[o] for o in code.origin], np.int32), operators=tuple(operators), regions=regions,
        recipe=tuple(memory.recipe),
        entries=tuple(
            Entry(
                names.get(d.step.rows, f"{'prefill' if d.step.tokens > 1 else 'batch'} {d.step.rows}"), d.step.tokens,
                d.step.sequences, d.cycles,
            )
            for d in done
        ),
        cache=keeps.cache, states=keeps.states, context=context, slots=slots, slot_bytes=keeps.slot_bytes,
        tensors=tuple(memory.used.values()), cuts=_cuts(model), report=report,
    )  # fmt: skip
