"""Time of one step of a compiled program, without its weights."""

from __future__ import annotations

import numpy as np

from tapeout.compiler.host import LOGITS, MORE
from tapeout.compiler.lower.grouped_experts import groups_of_tokens
from tapeout.compiler.program import Program
from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import MixtureOfExperts, Model
from tapeout.simulator.cycle.memory import Memory
from tapeout.simulator.cycle.simulate import Values, simulate
from tapeout.simulator.cycle.timeline import Timeline


def entry_for(program: Program, tokens: int) -> int:
    """The number of the entry that takes so many tokens of one sequence at the least cost for each."""
    single = [
        (e.cycles / min(e.tokens, tokens), i) for i, e in enumerate(program.entries) if e.sequences == 1
    ]
    if not single:
        raise InputError("program", "entries", Phrase("none for one sequence"), "an entry of one sequence")
    return min(single)[1]


def balanced(model: Model, rows: int) -> Values:
    """What an entry for `rows` tokens of a prompt reads if every expert of a layer is chosen by as many of them as
    any other, within one: the counts, layer by layer, of each group of tokens that goes through them together.
    The entry of one token reads the experts' numbers instead, on which its time does not depend: no values."""
    counts: list[int] = []
    for layer in model.layers if rows > 1 else ():
        mixture = layer.feed_forward
        if isinstance(mixture, MixtureOfExperts):
            for group in groups_of_tokens(rows):
                chosen, n = len(group) * mixture.experts_per_token, mixture.experts
                counts += [(i + 1) * chosen // n - i * chosen // n for i in range(n)]
    return Values(reads=np.array(counts, np.uint64))


def step(
    program: Program,
    position: int = 0,
    entry: int = 0,
    tokens: int | None = None,
    *,
    logits: bool = True,
    more: bool = False,
    memory: Memory | None = None,
    values: Values | None = None,
    records: int = 0,
    window: int = 0,
    plain: bool = False,
) -> Timeline:
    """A run of entry number `entry` with `tokens` new tokens (all it takes, by default) after `position` others;
    `more`: of a prompt that goes on, so without the head; the rest as `simulate` has it.

    Raises InputError for an entry or a position that the program does not have.
    """
    if not 0 <= entry < len(program.entries):
        raise InputError("program", "entry", entry, f"0 to {len(program.entries) - 1}")
    e = program.entries[entry]
    n = tokens if tokens is not None else e.tokens if e.sequences == 1 else e.sequences
    if position < 0 or position + (n if e.sequences == 1 else 1) > program.context:
        raise InputError("position", "", position, f"0 to {program.context - 1}")
    flags = MORE if more else LOGITS if logits else 0
    return simulate(
        program.chip.core, program.code, (entry, position, 0, n, flags), base=program.base,
        memory=memory, values=values, origin=program.origin, operators=len(program.operators), records=records,
        window=window, plain=plain,
    )  # fmt: skip
