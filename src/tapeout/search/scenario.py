"""How a model is to be served: traffic, latency targets, what to look at. Read from TOML or built in Python."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tapeout.errors import InputError
from tapeout.estimate.fitted import fitted
from tapeout.fields import Fields
from tapeout.files import read_toml

Objective = Literal["tokens_per_joule", "tokens_per_dollar", "tokens_per_chip", "latency"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
OBJECTIVE_WORDS = {
    "tokens_per_joule": "tokens/s per watt",
    "tokens_per_dollar": "tokens per dollar",
    "tokens_per_chip": "tokens/s per chip",
    "latency": "time per output token",
}
Serving = Literal["interleaved", "disaggregated"]
LONGEST = 10_000_000  # tokens; beyond any published context


@dataclass(frozen=True)
class Traffic:
    """One kind of request. `share` of all requests; `cached_share` of the prompt is in the cache already."""

    prompt_tokens: int
    output_tokens: int
    share: float = 1.0
    cached_share: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """What the chip is to serve, and how fast.

    `tpot_ms`: longest mean time per output token; `ttft_ms`: longest time to first token on an idle replica
    (None: no limit). `serving`: prefill interleaved with decoding on the same chips, or on chips of its own
    (same chip-time per token, but decoding is not delayed). `batch`: sequences decoded together on a replica;
    None: the best. `skew`: Zipf exponent of the popularity of experts, 0 for equal; None: what measured
    serving shows. `batches` and `contexts`: what the report tabulates.
    """

    traffic: tuple[Traffic, ...] = (Traffic(7680, 1024),)
    tpot_ms: float | None = 20.0
    ttft_ms: float | None = 2000.0
    serving: Serving = "interleaved"
    batch: int | None = None
    skew: float | None = None
    batches: tuple[int, ...] = (1, 8, 64, 256)
    contexts: tuple[int, ...] = (1024, 8192, 32768, 131072)

    @property
    def zipf(self) -> float:
        """The exponent of the popularity of experts."""
        return fitted().values["routing_skew"] if self.skew is None else self.skew

    def _mean(self, value: Any, weight: Any = lambda t: 1.0) -> float:
        total = sum(t.share * weight(t) for t in self.traffic)
        return float(sum(t.share * weight(t) * value(t) for t in self.traffic) / total)

    @property
    def output_tokens(self) -> float:
        """Mean output tokens of a request."""
        return self._mean(lambda t: t.output_tokens)

    @property
    def prompt_tokens(self) -> float:
        """Mean prompt tokens of a request, cached ones included."""
        return self._mean(lambda t: t.prompt_tokens)

    @property
    def cached_tokens(self) -> float:
        """Mean prompt tokens found in the cache."""
        return self._mean(lambda t: t.prompt_tokens * t.cached_share)

    @property
    def fresh_tokens(self) -> float:
        """Mean prompt tokens that must be computed, at least one."""
        return max(self.prompt_tokens - self.cached_tokens, 1.0)

    @property
    def decode_context(self) -> float:
        """Mean tokens in the cache of a sequence while it decodes (over output tokens, not requests)."""
        return self._mean(lambda t: t.prompt_tokens + t.output_tokens / 2, lambda t: t.output_tokens)

    @property
    def longest(self) -> int:
        """Tokens of the longest request."""
        return max(t.prompt_tokens + t.output_tokens for t in self.traffic)

    def with_context(self, tokens: int) -> Scenario:
        """The same with one kind of request, whose context while decoding is `tokens` on the mean: an eighth of
        it, at most 1,024 tokens, is output."""
        output = max(1, min(1024, tokens // 8))
        return replace(self, traffic=(Traffic(max(1, tokens - output // 2), output),))

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and for the fingerprint of a search."""
        return asdict(self)

    def describe(self) -> str:
        """One line for people."""
        kinds = ", ".join(f"{t.prompt_tokens:,} in / {t.output_tokens:,} out" for t in self.traffic[:3])
        more = f" and {len(self.traffic) - 3} more kinds" if len(self.traffic) > 3 else ""
        limits = [
            f"{name} ≤ {value:g} ms"
            for name, value in (("TPOT", self.tpot_ms), ("TTFT", self.ttft_ms))
            if value is not None
        ]
        return f"{kinds}{more}; {', '.join(limits) or 'no latency limit'}; prefill {self.serving}"


def load_scenario(path: Path) -> Scenario:
    """The scenario in a TOML file. Raises InputError naming file, field, found and expected."""
    return parse_scenario(read_toml(path), path)


def parse_scenario(table: dict[str, Any], where: object) -> Scenario:
    """The scenario in a parsed TOML table; absent fields keep their defaults."""
    f, d = Fields(table, where), Scenario()
    traffic = []
    for i, entry in enumerate(f.array("traffic", [], longest=1000)):
        if not isinstance(entry, dict):
            raise InputError(where, f"traffic[{i}]", entry, "a table with prompt_tokens and output_tokens")
        t = Fields(entry, where, f"traffic[{i}]")
        traffic.append(
            Traffic(
                t.integer("prompt_tokens", high=LONGEST),
                t.integer("output_tokens", high=LONGEST),
                t.number("share", 1.0, low=1e-9, high=1e9),
                t.number("cached_share", 0.0, high=0.999999),
            )
        )
        t.done()
    scenario = Scenario(
        traffic=tuple(traffic) or d.traffic,
        tpot_ms=f.number("tpot_ms", d.tpot_ms, low=1e-3, high=1e6),
        ttft_ms=f.number("ttft_ms", d.ttft_ms, low=1e-3, high=1e9),
        serving=f.text("serving", d.serving, choices=get_args(Serving)),  # type: ignore[arg-type]
        batch=f.integer("batch", None, high=1_000_000),
        skew=f.number("skew", None, high=10.0),
        batches=_integers(f, "batches", d.batches, 1_000_000),
        contexts=_integers(f, "contexts", d.contexts, LONGEST),
    )
    f.done()
    return scenario


def _integers(f: Fields, key: str, default: tuple[int, ...], high: int) -> tuple[int, ...]:
    values = f.array(key, list(default), longest=8)
    for i, v in enumerate(values):
        if isinstance(v, bool) or not isinstance(v, int) or not 1 <= v <= high:
            raise InputError(f.where, f"{key}[{i}]", v, f"an integer from 1 to {high}")
    if not values:
        raise InputError(f.where, key, values, "at least one number")
    return tuple(values)
