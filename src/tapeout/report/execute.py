"""Run a checkpoint as a compiled program: on the RTL, on the executable ISA, or for its time alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.spec import ChipSpec
from tapeout.chip.toml import load as load_chip
from tapeout.compiler import Session, compile, image
from tapeout.compiler.program import Program, identity
from tapeout.errors import DoesNotHold, InputError, MissingDependency, Phrase
from tapeout.model import demo, load
from tapeout.model.architecture import Model
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.model.checkpoint.locate import folder_of
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.report.run import sampler_of
from tapeout.simulator.cycle import Memory
from tapeout.simulator.cycle.step import balanced, entry_for, step
from tapeout.simulator.rtl.waveform import Waveform

MACHINES = ("isa", "rtl", "cycle")
LIMIT = 1_000_000_000  # cycles of a step, and instructions on the executable ISA
U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class Executed:
    """A finished run of a program. `cycles`: of each step, the prompt's first (None on the executable ISA, which has no
    time). `stopped`: "end", "length" or "context"; on `cycle`, which computes no tokens, "length". Times in seconds."""

    model: str
    chip: str
    on: str
    plan: str
    prompt_tokens: int
    tokens: tuple[int, ...]
    text: str
    stopped: str
    clock_ghz: float
    compile_seconds: float
    host_seconds: float
    prompt_cycles: int | None
    cycles: tuple[int, ...] = field(default_factory=tuple)

    @property
    def cycles_per_token(self) -> float | None:
        """Of the steps after the prompt."""
        return sum(self.cycles) / len(self.cycles) if self.cycles else None

    @property
    def tokens_per_second(self) -> float | None:
        """Of the chip at its clock, decoding."""
        return self.clock_ghz * 1e9 / self.cycles_per_token if self.cycles_per_token else None

    @property
    def host_tokens_per_second(self) -> float:
        """Of the simulation, the prompt's tokens with the others."""
        return (self.prompt_tokens + max(len(self.tokens) - 1, 0)) / max(self.host_seconds, 1e-9)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {
            "tokens": list(self.tokens), "cycles": list(self.cycles), "cycles_per_token": self.cycles_per_token,
            "tokens_per_second": self.tokens_per_second, "host_tokens_per_second": self.host_tokens_per_second,
        }  # fmt: skip


def execute(
    source: str | Path,
    prompt: str,
    *,
    on: str,
    plan: str = "mxint8",
    chip: str | Path | ChipSpec | None = None,
    program: Program | None = None,
    max_tokens: int = 256,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    latency: int = 100,
    waveform: Waveform | None = None,
    progress: Callable[[str], None] = lambda stage: None,
    on_text: Callable[[str], None] = lambda piece: None,
) -> Executed:
    """Generate after `prompt` with the model of `source`, compiled for one core of `chip` (`tiny` by default) unless
    `program` is given. `on`: "rtl" (Verilator executes every cycle), "isa" (the executable ISA: the bits without
    time) or "cycle" (the time without the bits: no text). `latency`: cycles of an access of memory. Sampling as in
    `report.run`; at temperature 0 the chip chooses, and no logits leave it. `waveform`: of the RTL.
    `progress` is told what is under way before the first token.

    Raises InputError before anything runs for bad input, a model that the chip cannot run, or a program of another
    model; MissingDependency without what the machine needs; DoesNotHold for a program that traps.
    """
    if on not in MACHINES:
        raise InputError("--on", "", on, f"one of {', '.join(MACHINES)}")
    if max_tokens < 1:
        raise InputError("--max-tokens", "", max_tokens, "an integer of at least 1")
    if waveform is not None and on != "rtl":
        raise InputError("--waveform", "", on, "--on rtl with --waveform")
    model, folder = load(source), folder_of(source)
    sampler = sampler_of(folder, temperature, top_k, top_p, seed)
    greedy = sampler.temperature == 0
    if program is not None and program.identity != identity(model):
        raise InputError(
            "program", "model", program.model, f"a program of {model.name}, as its config.json is"
        )
    spec = program.chip if program else chip if isinstance(chip, ChipSpec) else load_chip(chip or "tiny")
    tokenizer = Tokenizer(folder)
    ids = tokenizer.encode(prompt)
    _fits(len(ids), program.context if program else model.context)
    begun = time.perf_counter()
    progress("compiling")
    program = program or compile(model, spec, plan)
    compiled = time.perf_counter() - begun
    _fits(len(ids), program.context)
    most = min(max_tokens, program.context - len(ids))

    def result(**found: Any) -> Executed:
        return Executed(
            model=model.name, chip=spec.name, on=on, plan=program.plan.name, prompt_tokens=len(ids),
            clock_ghz=spec.clock_ghz, compile_seconds=compiled, **found,
        )  # fmt: skip

    if on == "cycle":
        begun = time.perf_counter()
        first, rest = _timed(model, program, len(ids), most, Memory(latency), not greedy)
        return result(
            tokens=(), text="", stopped="length", host_seconds=time.perf_counter() - begun, prompt_cycles=first,
            cycles=tuple(rest),
        )  # fmt: skip
    progress("weights")
    checkpoint = Checkpoint.open(folder)
    checkpoint.check(model)
    memory = image(program, checkpoint)
    machine = backend(on, spec, memory, latency, waveform, progress)
    progress("")
    session = Session(program, memory, machine)
    stops = tokenizer.eos or frozenset(model.eos)
    stream, pieces = tokenizer.stream(), [""]

    def say(piece: str) -> None:
        if piece:
            pieces.append(piece)
            on_text(piece)

    def choose(logits: NDArray[np.float32]) -> int:
        """On the chip, unless chance has a part in it."""
        return session.chosen() if greedy else sampler(logits)

    begun = time.perf_counter()
    logits = session.step(ids, logits=not greedy)
    prompt_cycles, tokens, stopped = _spent(session), [], ""
    cycles: list[int] = []
    while not stopped:
        token = choose(logits)
        tokens.append(token)
        if token in stops:
            stopped = "end"
            break
        say(stream.push(token))
        if len(tokens) == most:
            stopped = "length" if most == max_tokens else "context"
            break
        logits = session.step([token], logits=not greedy)
        cycles += [_spent(session)] if on == "rtl" else []
    say(stream.finish())
    machine.finish()
    return result(
        tokens=tuple(tokens), text="".join(pieces), stopped=stopped, host_seconds=time.perf_counter() - begun,
        prompt_cycles=prompt_cycles if on == "rtl" else None, cycles=tuple(cycles),
    )  # fmt: skip


def _fits(tokens: int, context: int) -> None:
    """Raise InputError for a prompt that leaves no room for a token."""
    if not tokens:
        raise InputError("prompt", "", Phrase("no tokens"), "some text")
    if tokens >= context:
        raise InputError("prompt", "", Phrase(f"{tokens} tokens"), f"at most {context - 1}")


class Machine(Protocol):
    """What `Session` calls to run a program; returns cycles (0 on the executable ISA)."""

    def __call__(self, words: Sequence[int], base: int, arguments: Sequence[int], memory: U8) -> int:
        """Run to the halt."""

    def finish(self) -> None:
        """Complete what is written beside it. Raises InputError for a waveform whose window never came."""


class _Isa:
    def __init__(self, chip: ChipSpec) -> None:
        self.geometry = Geometry.of(chip.core)

    def __call__(self, words: Sequence[int], base: int, arguments: Sequence[int], memory: U8) -> int:
        from tapeout.chip.isa.machine import Machine as Executable

        Executable(self.geometry, memory, base, tuple(arguments)).run(LIMIT)
        return 0

    def finish(self) -> None:
        pass


class _Rtl:
    def __init__(
        self, chip: ChipSpec, memory: U8, latency: int, waveform: Waveform | None,
        progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        try:
            from tapeout.chip.rtl.core import Core
            from tapeout.simulator.rtl.core import CoreSimulation
        except ImportError:
            raise MissingDependency("RTL simulation", "rtl") from None
        try:
            core = Core(chip.core)
        except ValueError as e:
            raise InputError(chip.name, "core", Phrase(e), "a configuration that the RTL covers") from None
        self.chip = chip
        self.simulation = CoreSimulation(core, memory, latency=latency, waveform=waveform, progress=progress)

    def __call__(self, words: Sequence[int], base: int, arguments: Sequence[int], memory: U8) -> int:
        outcome = self.simulation.run(words, base, arguments, limit=LIMIT)
        if outcome.cause is not None:
            raise DoesNotHold(f"{self.chip.name}: trap {outcome.cause} at instruction {outcome.at}")
        return outcome.cycles

    def finish(self) -> None:
        self.simulation.finish()


def backend(
    on: str, chip: ChipSpec, memory: U8, latency: int, waveform: Waveform | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> Machine:  # fmt: skip
    """The machine `on` ("isa" or "rtl") with `memory`; its first build is told to `progress`."""
    return _Isa(chip) if on == "isa" else _Rtl(chip, memory, latency, waveform, progress)


def _spent(session: Session) -> int:
    """Cycles of the runs since the last call."""
    spent = sum(session.outcomes)
    session.outcomes.clear()
    return spent


def _timed(
    model: Model, program: Program, prompt: int, most: int, memory: Memory, logits: bool
) -> tuple[int, list[int]]:
    """Cycles of the prompt, its tokens spread evenly over the experts, and of each token after the first."""
    first, at = 0, 0
    while at < prompt:
        entry = entry_for(program, prompt - at)
        rows = program.entries[entry].tokens
        n, values = min(rows, prompt - at), balanced(model, rows)
        first += step(
            program, at, entry, n, logits=logits, more=at + n < prompt, memory=memory, values=values
        ).cycles
        at += n
    single = entry_for(program, 1)
    rest = [
        step(program, prompt + i, single, 1, logits=logits, memory=memory).cycles for i in range(most - 1)
    ]
    return first, rest


def default_chip(source: str | Path) -> str:
    """Whose core runs a program where none is named."""
    return "tiny" if folder_of(source) == demo.FOLDER else "flagship"
