"""What the operator of an endpoint chooses."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from tapeout.errors import InputError

KEY_VARIABLE = "TAPEOUT_API_KEY"
LEVELS = ("debug", "info", "warning", "error")
TIERS = ("functional", "rtl")


@dataclass(frozen=True)
class Settings:
    """Bounds are checked on construction (InputError).

    model: "demo" or the folder of a checkpoint; name: what clients call it (None: the folder's name). chip: what
    the tokens are timed on, a shipped chip, a chip.toml or an accelerator of the catalog. plan: formats, a
    preset of `numerics.plan`. on: what computes the tokens. threads: of the arithmetic, 0 for every core.

    max_sequences, max_step_tokens: of one batch; max_waiting: beyond those running, then 429. max_tokens:
    default length of an answer of /v1/completions (16, as OpenAI's); kv_gigabytes: host memory for keys and
    values. pace: None to answer as fast as this machine computes; otherwise wall seconds to a second of
    chip time, so that clients measure the chip, this many times slower.

    body_bytes, header_seconds, body_seconds, request_seconds, stall_seconds, connections: limits on clients;
    drain_seconds: for streams to finish on shutdown.
    """

    model: str | Path = "demo"
    name: str | None = None
    chip: str | Path = "flagship"
    plan: str = "mxint8"
    on: str = "functional"
    threads: int = 0
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    max_sequences: int = 64
    max_step_tokens: int = 512
    max_waiting: int = 256
    max_tokens: int = 16
    prefix_caching: bool = True
    kv_gigabytes: float = 2.0
    pace: float | None = None
    body_bytes: int = 4 * 2**20
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    request_seconds: float = 3600.0
    stall_seconds: float = 60.0
    connections: int = 4096
    drain_seconds: float = 600.0
    log_level: str = "info"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("threads", 0, 1024),
            ("port", 0, 65535),
            ("max_sequences", 1, 4096),
            ("max_step_tokens", 2, 1 << 20),
            ("max_waiting", 0, 1 << 20),
            ("max_tokens", 1, 1 << 24),
            ("kv_gigabytes", 1e-3, 1e6),
            ("body_bytes", 1024, 2**30),
            ("header_seconds", 0.01, 86_400),
            ("body_seconds", 0.01, 86_400),
            ("request_seconds", 0.01, 86_400 * 30),
            ("stall_seconds", 0.01, 86_400),
            ("connections", 1, 1 << 20),
            ("drain_seconds", 0, 86_400),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(_option(name), "", value, f"from {low:g} to {high:g}")
        if self.max_step_tokens <= self.max_sequences:
            need = f"more than the {self.max_sequences} of --max-sequences, so that a full batch leaves room"
            raise InputError("--max-step-tokens", "", self.max_step_tokens, need)
        if self.pace is not None and not 1e-3 <= self.pace <= 1e12:
            raise InputError("--pace", "", self.pace, "from 0.001 to 1e12")
        if self.log_level not in LEVELS:
            raise InputError("--log-level", "", self.log_level, f"one of {', '.join(LEVELS)}")
        if self.on not in TIERS:
            raise InputError("--on", "", self.on, f"one of {', '.join(TIERS)}")
        if any(not key.isascii() or not key.isprintable() or " " in key or not key for key in self.api_keys):
            raise InputError("--api-key", "", "…", "printable ASCII without spaces")


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def keys(given: tuple[str, ...]) -> tuple[str, ...]:
    """The API keys: those given and those in the environment, separated by commas."""
    return (*given, *(k for k in os.environ.get(KEY_VARIABLE, "").split(",") if k))
