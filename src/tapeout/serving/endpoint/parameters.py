"""How a client wants tokens chosen and when to stop: the sampling parameters of both endpoints."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tapeout.errors import Phrase
from tapeout.fields import Fields

MAX_STOPS = 16  # OpenAI allows 4
MAX_CHOICES = 128
MAX_LOGPROBS = 20  # as OpenAI's chat completions
SEED_BITS = 64


@dataclass(frozen=True)
class Defaults:
    """What holds where a client says nothing: OpenAI's values, or those of the checkpoint's
    generation_config.json."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    @staticmethod
    def of(table: Mapping[str, Any], where: object) -> Defaults:
        """From a generation_config.json."""
        f = Fields(table, where)
        greedy = not f.boolean("do_sample", True)
        return Defaults(
            temperature=0.0 if greedy else f.number("temperature", 1.0, low=0, high=100),
            top_k=f.integer("top_k", 0, low=0),
            top_p=f.number("top_p", 1.0, low=1e-6, high=1),
            repetition_penalty=f.number("repetition_penalty", 1.0, low=1e-3, high=1e3),
        )


@dataclass(frozen=True)
class Sampling:
    """Of one request. `logprobs`: alternatives to report for each token (None: no log-probabilities)."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    stop: tuple[str, ...] = ()
    stop_tokens: frozenset[int] = frozenset()
    include_stop: bool = False
    logprobs: int | None = None

    @property
    def adjusts(self) -> bool:
        """Whether logits are changed before a token is chosen."""
        return bool(
            self.frequency_penalty
            or self.presence_penalty
            or self.repetition_penalty != 1
            or self.logit_bias
            or self.min_tokens
            or self.min_p
        )


def read(f: Fields, defaults: Defaults, vocabulary: int, logprobs: int | None) -> Sampling:
    """The sampling parameters among a request's fields. Raises InputError naming the field."""
    seed = f.integer("seed", None, low=-(2**63), high=2**64 - 1)
    return Sampling(
        temperature=f.number("temperature", defaults.temperature, low=0, high=2),
        top_k=max(f.integer("top_k", defaults.top_k, low=-1), 0),  # vLLM: -1 for all
        top_p=max(f.number("top_p", defaults.top_p, low=0, high=1), 1e-9),
        min_p=f.number("min_p", 0.0, low=0, high=1),
        seed=secrets.randbits(SEED_BITS) if seed is None else seed % 2**SEED_BITS,
        frequency_penalty=f.number("frequency_penalty", 0.0, low=-2, high=2),
        presence_penalty=f.number("presence_penalty", 0.0, low=-2, high=2),
        repetition_penalty=f.number("repetition_penalty", defaults.repetition_penalty, low=1e-3, high=1e3),
        logit_bias=_bias(f, vocabulary),
        min_tokens=f.integer("min_tokens", 0, low=0),
        ignore_eos=f.boolean("ignore_eos", False),
        stop=_stops(f),
        stop_tokens=_stop_tokens(f, vocabulary),
        include_stop=f.boolean("include_stop_str_in_output", False),
        logprobs=logprobs,
    )


def _stops(f: Fields) -> tuple[str, ...]:
    expected = f"a string or a list of at most {MAX_STOPS} strings, none empty"
    value = f.table.get("stop")
    if value is None:
        f.array("stop", [])
        return ()
    values = f.array("stop", longest=MAX_STOPS) if isinstance(value, list) else [f.text("stop")]
    if not all(isinstance(v, str) and v for v in values):
        raise f.fail("stop", value, expected)
    return tuple(values)


def _stop_tokens(f: Fields, vocabulary: int) -> frozenset[int]:
    values = f.array("stop_token_ids", [], longest=1024)
    if not all(type(v) is int and 0 <= v < vocabulary for v in values):
        raise f.fail("stop_token_ids", Phrase("other values"), f"tokens from 0 to {vocabulary - 1}")
    return frozenset(values)


def _bias(f: Fields, vocabulary: int) -> tuple[tuple[int, float], ...]:
    expected = f"a table of tokens from 0 to {vocabulary - 1} to numbers from -100 to 100"
    if f.table.get("logit_bias") is None:
        f.array("logit_bias", [])
        return ()
    found = []
    table = f.section("logit_bias").table
    if len(table) > 1024:
        raise f.fail("logit_bias", Phrase(f"{len(table)} entries"), "at most 1024")
    for key, value in table.items():
        good = isinstance(value, int | float) and not isinstance(value, bool) and -100 <= value <= 100
        if not key.isascii() or not key.isdigit() or len(key) > 9 or int(key) >= vocabulary or not good:
            raise f.fail("logit_bias", {key: value}, expected)
        found.append((int(key), float(value)))
    return tuple(found)
