"""The shipped models: one config.json each, named after the model, written from the published files.

Each holds the fields of the model's published config.json that say what its layers are (and the
quantisation of its published checkpoint), and no others.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib.resources import files
from typing import NamedTuple

from tapeout.errors import InputError
from tapeout.model.formats import StorageFormat


class Entry(NamedTuple):
    """A shipped model, and how a variant of it is stored otherwise than the published checkpoint."""

    name: str
    format: StorageFormat | None = None

    @property
    def file(self) -> str:
        """The config.json, for messages."""
        return f"{self.name}.json"

    def text(self) -> str:
        """The config.json."""
        return files(__name__).joinpath(self.file).read_text(encoding="utf-8")


def names() -> tuple[str, ...]:
    """The names of the shipped models, sorted as a reader would: by family, then size."""
    found = (p.name.removesuffix(".json") for p in files(__name__).iterdir() if p.name.endswith(".json"))
    return tuple(sorted(found, key=_reading_order))


def _reading_order(name: str) -> list[tuple[int, float, str]]:
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(1, float(p), "") if i % 2 else (0, 0.0, p) for i, p in enumerate(parts)]


# What publishers call a model of ours that the rules of `resolve` do not reach.
ALIASES = {
    "meta-llama-3.1-8b": "llama-3.1-8b",
    "meta-llama-3.1-70b": "llama-3.1-70b",
    "meta-llama-3.1-405b": "llama-3.1-405b",
    "llama3.1-8b": "llama-3.1-8b",
    "llama3.1-70b": "llama-3.1-70b",
    "llama3.1-405b": "llama-3.1-405b",
    "llama3.3-70b": "llama-3.1-70b",
    "llama-3.3-70b": "llama-3.1-70b",  # the same layers, trained further
    "llama2-70b": "llama-2-70b",
    "llama-2-70b-hf": "llama-2-70b",
    "mixtral-8x7b-v0.1": "mixtral-8x7b",
    "mixtral-8x22b-v0.1": "mixtral-8x22b",
    "deepseek-v3.1": "deepseek-v3",
    "deepseek-v3.1-terminus": "deepseek-v3",
    "deepseek-v3.2-exp": "deepseek-v3.2",
    "kimi-k2.5": "kimi-k2-thinking",  # its language part
    "qwen3-coder-30b-a3b": "qwen3-30b-a3b",
    "glm-4.6": "glm-4.5",
    "glm-4.7": "glm-4.5",
    "glm-5.1": "glm-5",
    "minimax-m2": "minimax-m2.5",
    "minimax-m2.1": "minimax-m2.5",
    "llama-4-scout-17b-16e": "llama-4-scout",
    "llama-4-maverick-17b-128e": "llama-4-maverick",
}

# Endings that do not change the layers: tuning, dates of a release, MLPerf's accuracy targets and scenarios.
_ENDINGS = re.compile(
    r"-(?:instruct|base|chat|it|thinking|hf|bf16|\d{4}|v0\.\d|99(?:\.9)?|interactive|datacenter|edge|dynamic)$"
)
# Endings that name how a checkpoint is stored, as their best-known publishers mean them.
_STORED: dict[str, StorageFormat] = {
    "fp8": "fp8_block128",
    "fp8-block": "fp8_block128",
    "fp8-dynamic": "fp8_channel",
    "fp8-kv": "fp8_tensor",
    "mxfp4": "mxfp4",
    "nvfp4": "nvfp4",
    "fp4": "nvfp4",
}
_STORED_BY: dict[tuple[str, str], StorageFormat] = {
    ("nvidia", "fp8"): "fp8_tensor",
    ("meta-llama", "fp8"): "fp8_row",
}


def resolve(source: str) -> Entry:
    """The shipped model that `source` names, in any case, with or without an organisation.

    Endings for tuning and release (`-Instruct`, `-2507`, `-v0.1`) are dropped, since they leave the layers as
    they are. Endings for a stored format (`-FP8`, `-NVFP4`) are read: `nvidia/Llama-3.1-70B-Instruct-FP8`
    is llama-3.1-70b with its linear layers in FP8. Raises InputError with the closest names.

    >>> resolve("openai/gpt-oss-120b").name
    'gpt-oss-120b'
    >>> resolve("nvidia/Llama-3.1-70B-Instruct-FP8")
    Entry(name='llama-3.1-70b', format='fp8_tensor')
    """
    shipped = set(names())
    publisher, _, rest = source.strip().lower().rpartition("/")
    name = rest.replace("_", "-")
    fmt: StorageFormat | None = None
    while True:
        found = name if name in shipped else ALIASES.get(name)
        if found in shipped:
            return Entry(found, fmt)
        stored = next((s for s in sorted(_STORED, key=len, reverse=True) if name.endswith(f"-{s}")), None)
        if stored is not None and fmt is None:
            fmt = _STORED_BY.get((publisher, stored), _STORED[stored])
            name = name.removesuffix(f"-{stored}")
        elif _ENDINGS.search(name):
            name = _ENDINGS.sub("", name)
        else:
            break
    close = get_close_matches(name, sorted(shipped | set(ALIASES)), n=3, cutoff=0.4)
    hint = f"one like {', '.join(close)}" if close else "a name that `tapeout models` lists"
    raise InputError("model", "", source, f"{hint}, a folder or a config.json")
