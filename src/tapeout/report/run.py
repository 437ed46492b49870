"""Run a checkpoint with exactly the arithmetic of the chip, and say what the chip would have taken."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.chip.spec import ChipSpec
from tapeout.chip.toml import load as load_chip
from tapeout.errors import InputError, Phrase
from tapeout.estimate.chip import estimate_chips
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import ChipWork
from tapeout.fields import Fields
from tapeout.files import read_json
from tapeout.model import demo, load
from tapeout.model.architecture import Model
from tapeout.model.checkpoint import harmony
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.model.checkpoint.locate import folder_of
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.numerics.formats import FORMATS
from tapeout.numerics.plan import PRESETS, ROLES, FormatPlan
from tapeout.simulator.functional import Engine, Sampler
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Step


@dataclass(frozen=True)
class ChipTime:
    """What the chip would have taken by the estimate: the prompt in one step, then a step for each token."""

    chip: str
    prefill_seconds: float
    decode_seconds: float
    joules: float
    tokens_per_second: float | None  # of the decode steps; None if there was none


@dataclass(frozen=True)
class RunResult:
    """A finished run. `stopped`: "end" (a token that ends a text), "length" (`max_tokens`) or "context" (full).
    `chip` is None if there is no estimate, and `chip_note` then says why. Times in seconds."""

    model: str
    plan: str
    prompt_tokens: int
    tokens: tuple[int, ...]
    text: str
    stopped: str
    load_seconds: float
    prefill_seconds: float
    decode_seconds: float
    chip: ChipTime | None
    chip_note: str

    @property
    def tokens_per_second(self) -> float | None:
        """Of the simulation, decoding."""
        steps = len(self.tokens) - 1
        return steps / self.decode_seconds if steps > 0 and self.decode_seconds > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"tokens": list(self.tokens), "tokens_per_second": self.tokens_per_second}


def run(
    source: str | Path,
    prompt: str,
    *,
    plan: str = "mxint8",
    chip: str | Path | None = None,
    max_tokens: int = 256,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    threads: int = 0,
    chat: bool = False,
    on_text: Callable[[str], None] = lambda piece: None,
) -> RunResult:
    """Generate after `prompt` with the model of `source` ("demo" or a checkpoint's folder).

    `plan`: a format plan of `numerics.plan`. `chip`: whose time and energy to estimate, a preset or a chip.toml; by
    default the preset `tiny` for the demo and `flagship` for all else. Sampling that is None is the
    checkpoint's own (generation_config.json), greedy if it has none. `threads`: 0 takes every core.
    `chat`: `prompt` is a user's message in harmony. `on_text` gets the text piece by piece. The chip's formats and
    memory are checked before anything runs. Raises InputError for bad input of any kind, MissingDependency
    without the `run` extra.
    """
    if plan not in PRESETS:
        raise InputError("--plan", "", plan, f"one of {', '.join(PRESETS)}")
    if max_tokens < 1:
        raise InputError("--max-tokens", "", max_tokens, "an integer of at least 1")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as e:
        raise InputError(
            "prompt", f"character {e.start}", Phrase("bytes that are not UTF-8"), "UTF-8 text"
        ) from None
    model, folder = load(source), folder_of(source)
    tokenizer = Tokenizer(folder)
    ids = _prompt(tokenizer, prompt, chat, system=folder != demo.FOLDER)
    if not ids:
        raise InputError("prompt", "", Phrase("no tokens"), "some text")
    if len(ids) >= model.context:
        found = Phrase(f"{len(ids)} tokens")
        raise InputError("prompt", "", found, f"at most {model.context - 1} (the context is {model.context})")
    sampler = sampler_of(folder, temperature, top_k, top_p, seed)
    most = min(max_tokens, model.context - len(ids))
    target, note = _target(model, PRESETS[plan], chip, len(ids) + most, small=folder == demo.FOLDER)

    begun = time.perf_counter()
    checkpoint = Checkpoint.open(folder)
    checkpoint.check(model)
    engine = Engine(model, checkpoint, plan, threads)
    loaded = time.perf_counter()
    out = _Writer(tokenizer, chat, on_text)
    stops = tokenizer.eos or frozenset(model.eos)
    sequence = engine.sequence()
    logits = engine.step([(sequence, ids)])[0]
    prefilled = time.perf_counter()
    tokens: list[int] = []
    stopped = "length"
    while True:
        if not np.isfinite(logits).all():
            raise InputError(
                folder, "", Phrase("weights that give logits that are not finite"), "a trained model"
            )
        token = sampler(logits)
        tokens.append(token)
        if token in stops:
            stopped = "end"
            break
        out.push(token)
        if len(tokens) == most:
            stopped = "length" if most == max_tokens else "context"
            break
        logits = engine.step([(sequence, [token])])[0]
    text = out.finish()
    finished = time.perf_counter()
    return RunResult(
        model=model.name,
        plan=plan,
        prompt_tokens=len(ids),
        tokens=tuple(tokens),
        text=text,
        stopped=stopped,
        load_seconds=loaded - begun,
        prefill_seconds=prefilled - loaded,
        decode_seconds=finished - prefilled,
        chip=None if target is None else target.time(len(ids), len(tokens)),
        chip_note=note,
    )


def plan_formats(model: Model, plan: FormatPlan) -> Formats:
    """The formats in which weights move and are cached under `plan`: MXINT15, which holds BF16 values, as BF16."""

    def named(format: str) -> str:
        return "bf16" if format == "mxint15" else format

    stored = Formats.stored(model)
    roles = {
        role: kept if (kept := getattr(stored, role)) in FORMATS else named(plan.operands(role).weight)
        for role in ROLES
    }
    return replace(stored, activation=named(plan.default.activation), cache=named(plan.cache), **roles)


@dataclass(frozen=True, eq=False)
class _Target:
    """A chip that can run the model under the plan."""

    chip: ChipSpec
    model: Model
    formats: Formats

    def time(self, prompt: int, tokens: int) -> ChipTime:
        """One sequence: a prefill of `prompt` tokens, then a decode step for each token but the last."""
        design = DesignArrays.of(self.chip)

        def total(step: Step) -> tuple[float, float]:
            e = estimate_chips(design, ChipWork.of(self.model, step, formats=self.formats), dtype=np.float64)
            return float(np.sum(e.seconds)), float(np.sum(e.joules))

        prefill, joules = total(Step.prefill(1.0, float(prompt)))
        decode = 0.0
        if tokens > 1:
            decode, spent = total(Step.decode(1.0, prompt + np.arange(tokens - 1, dtype=np.float64)))
            joules += spent
        return ChipTime(
            self.chip.name, prefill, decode, joules, (tokens - 1) / decode if tokens > 1 else None
        )


def _target(
    model: Model, plan: FormatPlan, source: str | Path | None, length: int, small: bool
) -> tuple[_Target | None, str]:
    """The chip to estimate; for one the user did not name, a note instead of an error if it cannot run the model."""
    chip = load_chip(source if source is not None else "tiny" if small else "flagship")
    formats = plan_formats(model, plan)
    try:
        used = {t.role for t in model.tensors if t.matrix} & set(ROLES)
        for role in sorted(used):
            needed = getattr(formats, role)
            if needed not in chip.core.matrix.formats:
                has = ", ".join(chip.core.matrix.formats)
                raise InputError(
                    chip.name,
                    "core.matrix.formats",
                    Phrase(has),
                    f"{needed} too: plan {plan.name} has {role} in it",
                )
        work = ChipWork.of(model, Step.decode(1.0, float(length - 1)), formats=formats)
        design = DesignArrays.of(chip)
        held, room = float(np.max(work.held_bytes)), float(design.memory_capacity)
        if not bool(np.all(estimate_chips(design, work, dtype=np.float64).fits)):
            found = Phrase(f"{room / 2**30:.1f} GiB")
            raise InputError(
                chip.name,
                "memory",
                found,
                f"room for the {held / 2**30:.1f} GiB that {model.name} takes, and a reserve",
            )
    except InputError as e:
        if source is not None:
            raise
        return None, str(e)
    return _Target(chip, model, formats), ""


def _prompt(tokenizer: Tokenizer, prompt: str, chat: bool, system: bool) -> list[int]:
    if not chat:
        return tokenizer.encode(prompt)
    if not harmony.supported(tokenizer):
        raise InputError(
            "--chat", "", Phrase("a tokenizer without the markers of harmony"), "a gpt-oss model"
        )
    content = harmony.system_prompt(date.today()) if system else None
    return harmony.encode([{"role": "user", "content": prompt}], tokenizer, system=content)


def sampler_of(
    folder: Path, temperature: float | None, top_k: int | None, top_p: float | None, seed: int
) -> Sampler:
    """The sampling asked for, the rest as generation_config.json says; greedy without it."""
    path = folder / "generation_config.json"
    fields = Fields(read_json(path) if path.exists() else {}, path)
    sampled = fields.boolean("do_sample", False)
    if temperature is None:
        temperature = fields.number("temperature", 1.0, low=0.0, high=100.0) if sampled else 0.0
    if top_k is None:
        top_k = fields.integer("top_k", 0, low=0) if sampled else 0
    if top_p is None:
        top_p = fields.number("top_p", 1.0, low=1e-9, high=1.0) if sampled else 1.0
    return Sampler(temperature, top_k, top_p, seed)


class _Writer:
    """Hands text on as it is completed; of a conversation, the content of its messages."""

    def __init__(self, tokenizer: Tokenizer, chat: bool, on_text: Callable[[str], None]) -> None:
        self._stream = None if chat else tokenizer.stream()
        self._answer = harmony.AnswerStream(tokenizer) if chat else None
        self._on_text, self._pieces = on_text, [""]

    def push(self, token: int) -> None:
        """Another token."""
        self._write(self._stream.push(token) if self._stream else self._answer.push(token)[1])  # type: ignore[union-attr]

    def finish(self) -> str:
        """The whole text."""
        if self._stream:
            self._write(self._stream.finish())
        return "".join(self._pieces)

    def _write(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self._on_text(piece)
