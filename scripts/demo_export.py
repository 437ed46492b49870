"""Writes the trained demo model as a published gpt-oss checkpoint, with how good it is and how it was made."""

from __future__ import annotations

import json
import math
import random
import subprocess
from pathlib import Path
from typing import Any

import demo_text
import numpy as np
import torch
import torch.nn.functional as F
from demo_network import Block, Network, mxfp4
from torch import Tensor

from tapeout.files import write_atomic
from tapeout.model.checkpoint.safetensors import write_safetensors

END = ("<|return|>", "<|endoftext|>", "<|call|>")
SAMPLE_CHAPTERS = 16  # of the held-out ones, shipped for `tapeout verify`
CHAPTER_BREAK = "\f\n"

# A conversation as the model saw it in training; the system message of gpt-oss itself is left out.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role in ("system", "developer") -%}
<|start|>developer<|message|># Instructions\n\n{{ message.content }}<|end|>
{%- elif message.role == "assistant" -%}
<|start|>assistant<|channel|>final<|message|>{{ message.content }}<|end|>
{%- else -%}
<|start|>{{ message.role }}<|message|>{{ message.content }}<|end|>
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}
"""

NOTE = """\
The demo model of tapeout: weights, tokenizer and metrics in this folder.

Weights and tokenizer: Apache License 2.0, as the rest of tapeout; trained from nothing by
scripts/train_demo.py (metrics.json says how, with which seed, and how good it is).

Text: the King James Version of the Bible (1611) from the Debian packages bible-kjv and bible-kjv-text.
Their copyright file says: "The copyright for the King James Version text of the Bible is expired since
the translation was done in 1611 under King James the first of Great Britain." The text is in the public
domain; in the United Kingdom its printing is reserved to the Crown by letters patent. held_out.txt
holds chapters of it that the model has not seen.
"""


def bf16(t: Tensor) -> tuple[str, np.ndarray]:
    """The bits of `t` rounded to BF16."""
    return "BF16", t.detach().bfloat16().view(torch.int16).numpy().view(np.uint16)


def experts(name: str, w: Tensor) -> dict[str, tuple[str, np.ndarray]]:
    """`_blocks` and `_scales` of expert matrices `[experts, out, in]`: low nibble first, E8M0 with bias 127."""
    elements, exponent = mxfp4(w.detach())
    grid = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    code = torch.searchsorted(grid, elements.abs()).to(torch.uint8) | (
        torch.signbit(elements).to(torch.uint8) << 3
    )
    blocks = (code[..., 0::2] | (code[..., 1::2] << 4)).numpy()
    scales = (exponent.squeeze(-1) + 127).to(torch.uint8).numpy()
    return {f"{name}_blocks": ("U8", blocks), f"{name}_scales": ("U8", scales)}


def tensors(network: Network) -> dict[str, tuple[str, np.ndarray]]:
    """Every tensor under its published name."""
    out = {"model.embed_tokens.weight": bf16(network.embedding)}
    for i, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        at = f"model.layers.{i}."
        out[f"{at}input_layernorm.weight"] = bf16(block.input_norm)
        out[f"{at}post_attention_layernorm.weight"] = bf16(block.post_norm)
        for part in "qkvo":
            out[f"{at}self_attn.{part}_proj.weight"] = bf16(getattr(block, part))
            out[f"{at}self_attn.{part}_proj.bias"] = bf16(getattr(block, f"{part}_bias"))
        out[f"{at}self_attn.sinks"] = bf16(block.sinks)
        out[f"{at}mlp.router.weight"] = bf16(block.router)
        out[f"{at}mlp.router.bias"] = bf16(block.router_bias)
        out |= experts(f"{at}mlp.experts.gate_up_proj", block.gate_up)
        out |= experts(f"{at}mlp.experts.down_proj", block.down)
        out[f"{at}mlp.experts.gate_up_proj_bias"] = bf16(block.gate_up_bias)
        out[f"{at}mlp.experts.down_proj_bias"] = bf16(block.down_bias)
    return out | {"model.norm.weight": bf16(network.norm), "lm_head.weight": bf16(network.head)}


def config(network: Network, context: int) -> dict[str, Any]:
    """config.json, with the fields of the published one."""
    s, ids = network.shape, [demo_text.SPECIAL.index(t) for t in END]
    return {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "bos_token_id": demo_text.SPECIAL.index("<|startoftext|>"),
        "eos_token_id": ids[0],
        "experts_per_token": s.experts_per_token,
        "head_dim": s.head_dim,
        "hidden_act": "silu",
        "hidden_size": s.hidden,
        "initial_context_length": s.initial_context,
        "initializer_range": 0.02,
        "intermediate_size": s.intermediate,
        "layer_types": ["sliding_attention", "full_attention"] * (s.layers // 2),
        "max_position_embeddings": context,
        "model_type": "gpt_oss",
        "num_attention_heads": s.heads,
        "num_experts_per_tok": s.experts_per_token,
        "num_hidden_layers": s.layers,
        "num_key_value_heads": s.kv_heads,
        "num_local_experts": s.experts,
        "output_router_logits": False,
        "pad_token_id": demo_text.END_OF_TEXT,
        "quantization_config": {
            "modules_to_not_convert": [
                "model.layers.*.self_attn",
                "model.layers.*.mlp.router",
                "model.embed_tokens",
                "lm_head",
            ],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": s.epsilon,
        "rope_scaling": {
            "beta_fast": s.beta_fast,
            "beta_slow": s.beta_slow,
            "factor": s.yarn_factor,
            "original_max_position_embeddings": s.initial_context,
            "rope_type": "yarn",
            "truncate": False,
        },
        "rope_theta": s.theta,
        "router_aux_loss_coef": 0.01,
        "sliding_window": s.window,
        "swiglu_limit": s.limit,
        "tie_word_embeddings": False,
        "use_cache": True,
        "vocab_size": s.vocabulary,
    }


@torch.no_grad()
def held_out_loss(network: Network, documents: list[str], tokenizer: Any, context: int) -> dict[str, float]:
    """Bits per character and perplexity per token over whole chapters, each after an <|endoftext|> and cut into
    windows of `context` tokens that do not see each other; FP32."""
    nats, tokens, characters = 0.0, 0, 0
    for document in documents:
        ids = torch.tensor([demo_text.END_OF_TEXT, *tokenizer.encode(document).ids])
        for start in range(0, len(ids) - 1, context):
            window = ids[start : start + context + 1]
            logits, _ = network(window[None, :-1])
            nats += F.cross_entropy(logits[0].float(), window[1:], reduction="sum").item()
        tokens += len(ids) - 1
        characters += len(document)
    return {
        "bits_per_character": round(nats / math.log(2) / characters, 4),
        "perplexity_per_token": round(math.exp(nats / tokens), 4),
        "chapters": len(documents),
        "tokens": tokens,
        "characters": characters,
    }


def package_version(name: str) -> str:
    """Version of an installed Debian package."""
    command = ["dpkg-query", "-W", "-f=${Version}", name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def export(
    network: Network, tokenizer: Any, folder: Path, made: dict[str, Any], context: int
) -> dict[str, Any]:
    """Write the checkpoint to `folder`; returns the metrics. `made`: how it was trained."""
    seed = made["seed"]
    training, held = demo_text.split(demo_text.chapters(demo_text.bible_text()), seed)
    network.eval()
    sample = [held[i] for i in sorted(random.Random(seed).sample(range(len(held)), SAMPLE_CHAPTERS))]
    metrics = {
        "held_out": held_out_loss(network, held, tokenizer, context),
        "shipped_sample": held_out_loss(network, sample, tokenizer, context),
        "training_sample": held_out_loss(network, training[:: len(training) // 30], tokenizer, context),
        "how": "FP32 activations, the shipped weights; windows of `context` tokens that do not see each other",
        "context": context,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training": made,
        "text": {name: package_version(name) for name in ("bible-kjv", "bible-kjv-text")},
    }
    ids = [demo_text.SPECIAL.index(t) for t in END]
    generation = {
        "bos_token_id": demo_text.SPECIAL.index("<|startoftext|>"),
        "do_sample": True,
        "eos_token_id": ids,
        "pad_token_id": demo_text.END_OF_TEXT,
        "temperature": 0.7,
    }
    tokenizer_config = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|return|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": context,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": CHAT_TEMPLATE,
    }
    write_safetensors(folder / "model.safetensors", tensors(network), {"format": "pt"})
    for name, table in (
        ("config.json", config(network, context)),
        ("generation_config.json", generation),
        ("tokenizer_config.json", tokenizer_config),
        ("metrics.json", metrics),
    ):
        write_atomic(folder / name, json.dumps(table, indent=2) + "\n")
    write_atomic(folder / "tokenizer.json", tokenizer.to_str(pretty=False) + "\n")
    write_atomic(folder / "held_out.txt", CHAPTER_BREAK.join(sample))
    write_atomic(folder / "LICENSE.txt", NOTE)
    return metrics
