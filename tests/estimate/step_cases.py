"""Whole steps of several models on random chips: the estimate, and the busiest core's share in the cycle simulator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from tapeout.chip import load as load_chip
from tapeout.chip.spec import ChipSpec, Core, Links, MatrixEngine, Memory, Scratchpad, validate
from tapeout.errors import TapeoutError
from tapeout.estimate.chip_work import ChipWork, chip_formats
from tapeout.estimate.core_share import Compared, compare
from tapeout.model import load
from tapeout.model.architecture import Model
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism

MODELS = (
    "gpt-oss-120b", "gpt-oss-20b", "llama-3.1-8b", "llama-3.1-70b", "qwen3-30b-a3b", "qwen3-8b", "deepseek-r1",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One step of a model on a chip: `batch` sequences after `context` tokens, or as many prompts of `prompt`."""

    model: str
    chip: ChipSpec
    tp: int
    batch: int
    context: int
    prompt: int

    def compared(self) -> Compared:
        """Both. Raises TapeoutError where the share cannot be simulated."""
        m = model(self.model)
        if self.prompt:
            step = Step.prefill(float(self.batch), float(self.prompt), float(self.context))
        else:
            step = Step.decode(float(self.batch), float(self.context))
        return compare(self.chip, ChipWork.of(m, step, Parallelism(tp=self.tp), chip_formats(m, self.chip)))


@lru_cache
def model(name: str) -> Model:
    """A shipped one."""
    return load(name)


def chips(rng: np.random.Generator) -> ChipSpec:
    """A random chip of several cores, or one that is shipped."""

    def pick(*choices: object) -> object:
        return choices[rng.integers(len(choices))]

    shipped = rng.integers(6)
    if shipped < 2:
        return load_chip(("flagship", "edge")[shipped])
    columns, lanes = int(pick(4, 8, 16, 32)), int(pick(32, 64, 128))  # type: ignore[call-overload]
    word = int(pick(64, 128))  # type: ignore[call-overload]
    banks = int(pick(16, 32)) if 16 * word >= 32 * columns else 32  # type: ignore[call-overload]
    core = Core(
        matrix=MatrixEngine(rows=int(pick(4, 8, 16, 32)), columns=columns),  # type: ignore[call-overload]
        vector_lanes=lanes,
        scratchpad=Scratchpad(kibibytes=int(pick(1024, 2048, 4096)), banks=banks, word_bytes=word),  # type: ignore[call-overload]
        port_bytes=int(pick(64, word)), outstanding=512,  # type: ignore[call-overload]
    )  # fmt: skip
    found = ChipSpec(
        name="random", core=core, cores=int(pick(16, 64, 96, 128)), clock_ghz=float(pick(0.9, 1.0, 1.2)),  # type: ignore[call-overload, arg-type]
        noc_bytes_per_cycle=int(pick(64, 128, 256)),  # type: ignore[call-overload]
        memory=Memory(kind="hbm3e", stacks=int(pick(2, 4, 6)), gibibytes_per_stack=36),  # type: ignore[call-overload]
        links=Links(),
    )  # fmt: skip
    validate(found)
    return found


def cases(count: int, seed: int = 0, batch: int = 128) -> Iterator[tuple[Case, Compared]]:
    """`count` cases that can be simulated, decode steps of up to `batch` sequences and prompts in turn."""
    rng = np.random.default_rng(seed)
    found = 0
    while found < count:
        c = chips(rng)
        name = MODELS[rng.integers(len(MODELS))]
        context = int(2 ** rng.uniform(8, 13.5))
        sequences = int(2 ** rng.integers(0, batch.bit_length()))
        prompt = 0
        if found % 3 == 2:
            sequences, prompt, context = 1, int(2 ** rng.integers(4, 8)), int(rng.integers(0, 2)) * context
        tp = int(2 ** rng.integers(0, 4)) if c.links.scale_up_lanes else 1
        case = Case(name, c, tp, sequences, context, prompt)
        try:
            result = case.compared()
        except TapeoutError:
            continue
        found += 1
        yield case, result


__all__ = ["Case", "cases", "replace"]
