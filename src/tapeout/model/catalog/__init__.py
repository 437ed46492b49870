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


# Where the facts of each file were read: the config.json of this repository on huggingface.co.
SOURCES = {
    "deepseek-r1": "deepseek-ai/DeepSeek-R1",
    "deepseek-v3": "deepseek-ai/DeepSeek-V3",
    "deepseek-v3.2": "deepseek-ai/DeepSeek-V3.2",
    "gemma-3-4b": "google/gemma-3-4b-it",
    "gemma-3-12b": "google/gemma-3-12b-it",
    "gemma-3-27b": "google/gemma-3-27b-it",
    "glm-4.5": "zai-org/GLM-4.5",
    "glm-4.5-air": "zai-org/GLM-4.5-Air",
    "glm-5": "zai-org/GLM-5",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "kimi-k2": "moonshotai/Kimi-K2-Instruct",
    "kimi-k2-thinking": "moonshotai/Kimi-K2-Thinking",
    "llama-2-70b": "meta-llama/Llama-2-70b-chat-hf",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "llama-3.1-70b": "meta-llama/Llama-3.1-70B-Instruct",
    "llama-3.1-405b": "meta-llama/Llama-3.1-405B-Instruct",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "llama-4-maverick": "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
    "llama-4-scout": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "minimax-m2.5": "MiniMaxAI/MiniMax-M2.5",
    "mixtral-8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "mixtral-8x22b": "mistralai/Mixtral-8x22B-v0.1",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen2.5-72b": "Qwen/Qwen2.5-72B-Instruct",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
    "qwen3-32b": "Qwen/Qwen3-32B",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
    "qwen3-235b-a22b": "Qwen/Qwen3-235B-A22B",
    "qwen3-coder-480b-a35b": "Qwen/Qwen3-Coder-480B-A35B-Instruct",
    "qwen3.5-27b": "Qwen/Qwen3.5-27B",
    "qwen3.5-35b-a3b": "Qwen/Qwen3.5-35B-A3B",
    "qwen3.5-122b-a10b": "Qwen/Qwen3.5-122B-A10B",
    "qwen3.5-397b-a17b": "Qwen/Qwen3.5-397B-A17B",
}

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
    r"-(?:instruct|base|chat|it|thinking|preview|hf|\d{4}|v\d(?:\.\d)?|99(?:\.9)?|interactive|datacenter|edge|dynamic)$"
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
    "bf16": "bf16",
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
    close = get_close_matches(rest, sorted(shipped | set(ALIASES)), n=3, cutoff=0.4)
    hint = f"one like {', '.join(close)}" if close else "a name that `tapeout models` lists"
    raise InputError("model", "", source, f"{hint}, a folder or a config.json")
