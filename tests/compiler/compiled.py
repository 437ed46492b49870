"""Compiled models at work in the executable ISA or the RTL beside the functional simulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeout.chip.isa.machine import Machine
from tapeout.compiler.host import Session
from tapeout.compiler.memory_image import image
from tapeout.compiler.program import Program
from tapeout.model.architecture import Model
from tapeout.report.execute import backend
from tapeout.simulator.functional import Engine
from tapeout.simulator.functional.state import StateCache


def session(program: Program, checkpoint: Any, seed: int | None = None, on: str = "isa") -> Session:
    """A session in the executable ISA (with a seed, engines take turns at random) or in RTL."""
    if on == "rtl":
        memory = image(program, checkpoint)
        return Session(program, memory, backend(on, program.chip, memory, latency=100))

    def run(words: Sequence[int], base: int, arguments: Sequence[int], memory: np.ndarray) -> None:
        Machine(program.geometry, memory, base, tuple(arguments), seed).run(10**7)

    return Session(program, image(program, checkpoint), run)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Every bit equal."""
    return bool((np.ascontiguousarray(a).view(np.uint8) == np.ascontiguousarray(b).view(np.uint8)).all())


def compare(
    model: Model,
    checkpoint: Any,
    program: Program,
    parts: Sequence[Sequence[int]],
    seed: int | None = None,
    on: str = "isa",
) -> None:
    """Feed the same tokens, part after part, to both; logits and choice after each part, and the caches at the end,
    are equal."""
    chip = session(program, checkpoint, seed, on)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)
    sequence = engine.sequence()
    for part in parts:
        expected = engine.step([(sequence, np.array(part))])[0]
        assert same_bits(chip.step(part), expected), f"logits after {sequence.length} tokens"
        assert chip.chosen() == int(np.argmax(expected)), f"choice after {sequence.length} tokens"
    for layer, held in enumerate(sequence.caches):
        if isinstance(held, StateCache):
            *inputs, state = chip.states(layer)
            assert same_bits(np.concatenate(inputs, axis=1), held.before), f"layer {layer}: inputs before"
            theirs = held.state.transpose(1, 0, 2).reshape(state.shape)
            assert same_bits(state, theirs), f"layer {layer}: state"
            continue
        for mine, theirs in zip(chip.cache(layer), (held.keys, held.values), strict=True):
            n = sequence.length
            assert same_bits(mine.codes, theirs.codes[:, :n]), f"layer {layer}: codes of the cache"
            assert same_bits(mine.scales, theirs.scales[:, :n]), f"layer {layer}: scales of the cache"
