"""Share of the matrix engine's peak that a prompt reaches over the layers' products with weights, and of the port
that decode reaches, by the cycle simulator.

    python benchmarks/prefill.py [--chip tiny] [--model FOLDER | --shape hidden,intermediate,layers,heads,kv,dim]
        [--tokens 128] [--formats mxint8] [--positions 0,64,127,128,255,512,1000]

No weights are needed. A cycle belongs to the operator whose instruction is the oldest not done; the share is that of
rows which met a beat of weights in the cycles of the products (queries, keys, values, output, dense or expert networks,
router), padding rows not told apart. The default model is random: 8 layers of hidden size 256, 6.5 MB beside 128 KiB.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from tapeout.chip import load as load_chip
from tapeout.compiler import compile
from tapeout.model import load
from tapeout.model.architecture import Model
from tapeout.model.load import from_config
from tapeout.simulator.cycle.step import balanced, entry_for, step
from tapeout.simulator.cycle.utilisation import utilisation

PRODUCTS = ("qkv", "attention_output", "dense", "experts", "shared_expert", "router")


def llama(hidden: int, intermediate: int, layers: int, heads: int, kv: int, dim: int) -> Model:
    """A dense model of this shape."""
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": intermediate, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "head_dim": dim, "vocab_size": 2048, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    return from_config(config, "shape", f"llama {hidden}")


def measure(
    model: Model,
    chip: str,
    formats: str,
    tokens: int,
    prefill: list[int] | None,
    positions: Sequence[int] = (),
) -> dict[str, object]:
    """Every figure; `positions`: of decode steps beside the one behind the prompt."""
    began = time.monotonic()
    context = max([2 * tokens, *(p + 1 for p in positions)])
    program = compile(model, load_chip(chip), formats, context=context, prefill=prefill)
    entry = entry_for(program, tokens)
    size = program.entries[entry].tokens
    spent: dict[str, float] = {}
    beats: dict[str, float] = {}
    words = total = 0.0
    for position in range(0, tokens, size):
        run = step(
            program,
            position,
            entry,
            min(size, tokens - position),
            values=balanced(model, size),
            logits=False,
            more=position + size < tokens,
        )
        total += run.cycles
        words += run.words_loaded
        for use in utilisation(run, program.operators).operators:
            spent[use.operator] = spent.get(use.operator, 0.0) + use.cycles
            beats[use.operator] = beats.get(use.operator, 0.0) + use.cycles * use.matrix
    decoded = {p: step(program, p) for p in (tokens, *positions)}
    products = [o for o in PRODUCTS if o in spent]
    return {
        "chip": chip, "model": model.name, "formats": formats, "tokens": tokens, "tokens of a run": size,
        "cycles": int(total), "share of matrix peak over products":
        sum(beats[o] for o in products) / sum(spent[o] for o in products),
        "by operator": {o: beats[o] / spent[o] for o in products},
        "share of matrix peak over everything": sum(beats.values()) / total,
        "share of memory port, prompt": words / total,
        "decode, by position": {
            p: {"cycles": d.cycles, "share of memory port": round(d.memory_share, 4)} for p, d in decoded.items()
        },
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chip", default="tiny")
    parser.add_argument("--model")
    parser.add_argument("--shape", default="256,768,8,4,2,64")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--run", type=int, help="tokens of a run; the compiler chooses if not given")
    parser.add_argument("--formats", default="mxint8")
    parser.add_argument("--positions", default="", help="of further decode steps, with commas between")
    a = parser.parse_args()
    chosen = load(a.model) if a.model else llama(*(int(x) for x in a.shape.split(",")))
    prefill = None if a.run is None else [a.run]
    further = [int(x) for x in a.positions.split(",") if x]
    print(json.dumps(measure(chosen, a.chip, a.formats, a.tokens, prefill, further), indent=2))
