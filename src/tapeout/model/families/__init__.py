"""One file per model family: from the fields of its config.json to layers and tensors.

A family has `MODEL_TYPES`, the `model_type`s it reads, and `read(config) -> Model`. To add one, add the
file and name it in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from tapeout.fields import Fields
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


def read(table: Mapping[str, Any], where: object) -> Model:
    """The model of a config.json; `where` names it in messages.

    Raises InputError if no family reads its `model_type`, or for what the family finds wrong.
    """
    modules = {t: m for m in (import_module(f"{__name__}.{f}") for f in FAMILIES) for t in m.MODEL_TYPES}
    outer = Fields(table, where)
    model_type = outer.text("model_type", choices=sorted(modules))
    if "text_config" in outer and model_type not in MULTIMODAL:
        raise outer.fail("model_type", model_type, f"one of {', '.join(MULTIMODAL)}, with a text_config")
    model = modules[model_type].read(Config(table, where))
    assert isinstance(model, Model)
    return model
