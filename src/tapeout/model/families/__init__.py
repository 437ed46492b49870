"""One file per model family: from the fields of its config.json to layers and tensors.

A family has `MODEL_TYPES`, the `model_type`s it reads, and `read(config) -> Model`. To add one, add the
file and name it in `FAMILIES`.
"""

from __future__ import annotations

from importlib import import_module

from tapeout.model.architecture import Model
from tapeout.model.config import Config

# Files that keep the language part in `text_config`; the names of their weights say so.
MULTIMODAL = ("gemma3", "llama4", "qwen3_5", "qwen3_5_moe", "kimi_k25")

FAMILIES = (
    "gpt_oss",
    "llama",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "mixtral",
    "deepseek_v3",
    "deepseek_v32",
    "glm4_moe",
    "minimax_m2",
    "gemma3",
    "llama4",
    "qwen3_5",
)


def read(config: Config) -> Model:
    """The model that `config` describes. Raises InputError if no family reads its `model_type`."""
    modules = {t: m for m in (import_module(f"{__name__}.{f}") for f in FAMILIES) for t in m.MODEL_TYPES}
    if config.model_type not in modules:
        known = ", ".join(sorted(modules))
        raise config.outer.fail("model_type", config.model_type or "nothing", f"one of {known}")
    if config.multimodal and config.model_type not in MULTIMODAL:
        known = ", ".join(MULTIMODAL)
        raise config.outer.fail("model_type", config.model_type, f"one of {known}, with a text_config")
    model = modules[config.model_type].read(config)
    assert isinstance(model, Model)
    return model
