"""Is the simulator the same model as transformers, and what does each choice of formats cost?

Teacher-forced over a text: the reference in FP32, transformers' own BF16, and the functional simulator under
each `FormatPlan`. Two correct implementations agree as far as their rounding lets them, so each plan is held to what
its formats promise:

- every disagreement has a margin of the reference below the plan's stated error, and so has every router's choice
  of another expert. A token that goes to another expert is another token from there on, so these are taken with
  every token sent to the reference's experts (all other figures are of the simulator left to itself);
- perplexity changes by no more than the plan states;
- with every operand in the widest format, 99.9 % of the tokens agree;
- with attention, router and head as precise as BF16, as many tokens agree as under transformers' BF16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import hypot, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.files import read_text
from tapeout.model import demo, load
from tapeout.model.architecture import Model
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.model.checkpoint.locate import folder_of
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.numerics import fast
from tapeout.numerics.formats import FORMATS, FormatName
from tapeout.numerics.plan import PRESETS, FormatPlan
from tapeout.simulator.functional import Engine
from tapeout.simulator.reference.compare import Comparison, Statistics
from tapeout.simulator.reference.huggingface import Reference
from tapeout.simulator.reference.simulated import trace
from tapeout.simulator.reference.trace import chunks

DEFAULT_PLANS = ("mxint8", "bf16-attention", "widest")
TEXT = "held_out.txt"  # in the folder of a checkpoint; chapters separated by form feeds
WINDOW_NUMBERS = 2**26  # of logits at a time
SAMPLED_TEXTS, SAMPLED_LENGTH = 8, 256

# The relative error of one product, carried through the layers to the logits (or to a router) and taken at its
# tail over some ten thousand tokens. Measured with experts forced, on the demo and on random models of all families:
# margins reach 3 times the error of a product of two MXINT15 operands, 22 times that of MXINT8, 24 of MXFP8.
TAIL = 24.0
WIDE_ENOUGH = 1e-3  # relative error of a format that holds every BF16 value (BF16's own is 1.7e-3)
PERPLEXITY: dict[FormatName, float] = {"mxint15": 5e-4, "mxint8": 5e-3, "mxfp8": 2e-2, "mxfp4": 6e-2}
AGREEMENT_WIDEST = 0.999


@cache
def format_error(name: FormatName) -> float:
    """Relative root mean square error of converting normally distributed values."""
    x = np.random.default_rng(0).standard_normal((4096, 32)).astype(np.float32)
    return float(np.sqrt(((fast.quantise(x, FORMATS[name]).decode() - x) ** 2).mean() / (x**2).mean()))


def products(plan: FormatPlan, model: Model) -> dict[str, tuple[FormatName | None, FormatName]]:
    """For each role of a matrix of `model`, and for attention's own products, the formats that values are converted
    to: of the weight (None where the published one is used as it is) and of the activation."""
    found: dict[str, tuple[FormatName | None, FormatName]] = {"scores": (plan.cache, plan.attention)}
    for tensor in model.tensors:
        role = "lm_head" if tensor.role == "embedding" and model.tied_embeddings else tensor.role
        if tensor.matrix and role != "embedding":
            pair = plan.operands(role)
            found[role] = (None if tensor.format in FORMATS else pair.weight, pair.activation)
    return found


def stated_error(plan: FormatPlan, model: Model) -> float:
    """The largest margin that this plan's rounding explains, in standard deviations of the logits."""
    pairs = products(plan, model).values()
    return TAIL * max(hypot(format_error(a), format_error(w) if w else 0.0) for w, a in pairs)


def stated_perplexity(plan: FormatPlan, model: Model) -> float:
    """The largest relative change of perplexity that this plan claims: that of its least precise format."""
    return max(PERPLEXITY[f] for pair in products(plan, model).values() for f in pair if f)


@dataclass(frozen=True)
class Check:
    """One thing that was checked: what, the value found, the bound, whether it holds."""

    name: str
    value: float
    bound: float
    holds: bool


@dataclass(frozen=True)
class PlanResult:
    """The simulator under one plan against the FP32 reference: left to itself, and with every token sent to the
    reference's experts (the same for a model without experts)."""

    plan: str
    comparison: Comparison
    forced: Comparison
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every check does."""
        return all(c.holds for c in self.checks)


@dataclass(frozen=True)
class Verification:
    """The whole: transformers' BF16 and each plan against transformers' FP32."""

    model: Model
    texts: int
    bf16: Comparison
    plans: tuple[PlanResult, ...]

    @property
    def holds(self) -> bool:
        """Whether every check of every plan does."""
        return all(p.holds for p in self.plans)

    def to_dict(self, disagreements: int = 20) -> dict[str, Any]:
        """Plain values for JSON, with the `disagreements` of largest margin of each."""
        return {
            "model": self.model.name,
            "texts": self.texts,
            "positions": self.bf16.positions,
            "reference_perplexity": self.bf16.reference_perplexity,
            "holds": self.holds,
            "transformers_bf16": _plain(self.bf16, disagreements),
            "plans": [
                {
                    "plan": p.plan,
                    "holds": p.holds,
                    "checks": [vars(c) for c in p.checks],
                    **_plain(p.comparison, disagreements),
                    "experts_forced": _plain(p.forced, disagreements),
                }
                for p in self.plans
            ],
        }


def _plain(c: Comparison, disagreements: int) -> dict[str, Any]:
    return {
        "agreement": c.agreement,
        "perplexity": c.perplexity,
        "perplexity_change": c.perplexity_change,
        "kl_nats": c.kl,
        "logit_error": c.logit_error,
        "logit_error_p99": c.logit_error_p99,
        "layer_error": list(c.layer_error),
        "expert_agreement": c.expert_agreement,
        "largest_margin": c.largest_margin,
        "largest_flip_margin": c.largest_flip_margin,
        "disagreements": [vars(d) for d in c.disagreements[:disagreements]],
    }


def verify(
    source: str | Path,
    plans: Sequence[str] = DEFAULT_PLANS,
    *,
    text: Path | None = None,
    tokens: int = 8192,
    seed: int = 0,
    threads: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> Verification:
    """Compare the checkpoint `source` ("demo" or a folder) with transformers over at most `tokens` tokens (0: all).

    The text is `text`, else held_out.txt of the folder, else sampled from the reference. Raises InputError for a bad
    checkpoint, plan or text, MissingDependency without the `ref` extra.
    """
    for name in plans:
        if name not in PRESETS:
            raise InputError("--plan", "", name, f"one of {', '.join(PRESETS)}")
    model, folder = load(source), folder_of(source)
    checkpoint = Checkpoint.open(folder)
    checkpoint.check(model)
    progress("transformers in FP32 and BF16")
    wide = Reference(folder, "float32", threads=threads)
    narrow = Reference(folder, "bfloat16", threads=threads)
    windows = _windows(model, folder, text, tokens, wide, seed)
    engines = {name: Engine(model, checkpoint, name, threads) for name in dict.fromkeys(plans)}
    statistics = {name: Statistics() for name in ("", *engines)}
    forced = {name: Statistics() for name in engines} if model.experts else statistics
    for i, window in enumerate(windows):
        progress(f"text {i + 1} of {len(windows)}, {len(window)} tokens")
        reference = wide.trace(window)
        statistics[""].add(window, reference, narrow.trace(window))
        for name, engine in engines.items():
            statistics[name].add(window, reference, trace(engine, window))
            if model.experts:
                forced[name].add(window, reference, trace(engine, window, reference.experts))
    bf16 = statistics[""].result()
    results = []
    for name in engines:
        free, held = statistics[name].result(), forced[name].result()
        results.append(PlanResult(name, free, held, tuple(_checks(PRESETS[name], model, free, held, bf16))))
    return Verification(model, len(windows), bf16, tuple(results))


def _windows(
    model: Model, folder: Path, text: Path | None, tokens: int, reference: Reference, seed: int
) -> list[list[int]]:
    """The token windows to run, `tokens` in all, none longer than the context."""
    length = max(2, min(model.context, WINDOW_NUMBERS // model.vocabulary))
    if text is None and (folder / TEXT).exists():
        text = folder / TEXT
    if text is None:
        length = min(length, SAMPLED_LENGTH)
        count = min(SAMPLED_TEXTS, max(1, tokens // length)) if tokens else SAMPLED_TEXTS
        return reference.sample(count, length, seed)
    tokenizer = Tokenizer(folder)
    end = [demo.END_OF_TEXT] if folder == demo.FOLDER else []  # what came before each chapter in training
    windows: list[list[int]] = []
    room = tokens or 2**62
    for part in read_text(text).split("\f\n"):
        for window in chunks([*end, *tokenizer.encode(part)], length):
            if room > 1:
                windows.append(window[:room])
                room -= len(windows[-1])
    if not windows:
        raise InputError(text, "", Phrase("fewer than two tokens"), "a text to compare over")
    return windows


def _checks(
    plan: FormatPlan, model: Model, found: Comparison, forced: Comparison, bf16: Comparison
) -> list[Check]:
    """What this plan's formats promise, held against what was found."""
    bound, change = stated_error(plan, model), stated_perplexity(plan, model)
    checks = [Check("margin", forced.largest_margin, bound, forced.largest_margin <= bound)]
    if forced.largest_flip_margin is not None:
        flip = forced.largest_flip_margin
        checks.append(Check("router margin", flip, bound, flip <= bound))
    moved = abs(found.perplexity_change)
    checks.append(Check("perplexity change", moved, change, moved <= change))
    formats = {role: [f for f in pair if f] for role, pair in products(plan, model).items()}
    fine = {role: max(format_error(f) for f in used) < WIDE_ENOUGH for role, used in formats.items()}
    if all(fine.values()):
        holds = found.agreement >= AGREEMENT_WIDEST
        checks.append(Check("agreement", found.agreement, AGREEMENT_WIDEST, holds))
    if all(ok for role, ok in fine.items() if role != "experts"):
        floor = _no_worse_than(bf16, found)
        checks.append(Check("agreement with BF16's", found.agreement, floor, found.agreement >= floor))
    return checks


def _no_worse_than(bf16: Comparison, found: Comparison) -> float:
    """The agreement below which the difference from BF16's is more than chance: two standard deviations of the
    positions at which only one of the two disagrees (McNemar)."""
    ours = {(d.text, d.position) for d in found.disagreements}
    theirs = {(d.text, d.position) for d in bf16.disagreements}
    return bf16.agreement - 2 * sqrt(len(ours ^ theirs)) / found.positions
