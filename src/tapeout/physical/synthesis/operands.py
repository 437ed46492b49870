"""Operands of a real model: what the products and the vector instructions of the demo see while it reads text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.model import demo
from tapeout.numerics.convert import quantise
from tapeout.numerics.formats import MXFP4, MXINT8, Mx
from tapeout.simulator.functional.engine import Engine
from tapeout.simulator.functional.feed_forward import Mixture

TOKENS = 256


@dataclass(frozen=True)
class Product:
    """One layer's product: MXINT8 activations [tokens, k] and weights [n, k] in the format of its own."""

    name: str
    activations: Mx
    weights: Mx


@dataclass(frozen=True)
class Operands:
    """Products of the demo, and FP32 values by what is done to them: pairs (a, b) as bit patterns [n]."""

    products: tuple[Product, ...]
    values: dict[str, tuple[NDArray[np.uint32], NDArray[np.uint32]]]


class _Recorder:
    """A layer that remembers what it was given."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.seen: list[Any] = []
        self.answers: list[Any] = []

    def __call__(self, x: Any, *rest: Any) -> Any:
        self.seen.append(x)
        self.answers.append(self.layer(x, *rest))
        return self.answers[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.layer, name)


@lru_cache(maxsize=1)
def demo_operands() -> Operands:
    """The demo model over the first TOKENS tokens of its held-out text, by the functional simulator."""
    from tapeout.model import load
    from tapeout.model.checkpoint.folder import Checkpoint
    from tapeout.model.checkpoint.tokenizer import Tokenizer

    model = load("demo")
    engine = Engine(model, Checkpoint.open(demo.FOLDER), "mxint8", 1)
    hidden: list[NDArray[Any]] = []
    engine.observe = lambda what, _layer, value: hidden.append(value) if what == "hidden" else None
    recorders = []
    for i, block in enumerate(engine.layers):
        attention, forward = block.attention, block.feed_forward
        assert isinstance(forward, Mixture)
        attention.qkv = qkv = _Recorder(attention.qkv)  # type: ignore[attr-defined]
        forward.experts.gate_up = up = _Recorder(forward.experts.gate_up)  # type: ignore[assignment]
        recorders.append((i, qkv, up))
    text = (demo.FOLDER / "held_out.txt").read_text(encoding="utf-8")[: 8 * TOKENS]
    tokens = np.array(Tokenizer(demo.FOLDER).encode(text)[:TOKENS])
    engine.step([(engine.sequence(), tokens)])
    products, answers = [], []
    for i, qkv, up in recorders:
        products.append(Product(f"layer {i} attention", qkv.seen[0], qkv.layer.weights[0].mx()))
        products.append(Product(f"layer {i} expert 0", up.seen[0], up.layer.weights[0].mx(0)))
        answers.append(np.asarray(qkv.answers[0]).ravel())
    x = np.concatenate([np.asarray(h).ravel() for h in hidden])
    y = np.concatenate(answers)
    n = min(len(x), len(y))
    x, y = x[:n].astype(np.float32), y[:n].astype(np.float32)
    negative = -np.abs(y)  # scores less their greatest, and gates, are what the functions see
    bits = {
        "add": (x, np.roll(x, model.hidden)), "mul": (x, y), "exp2": (negative, x), "sigmoid": (y, x),
        "reciprocal": (np.abs(x) + np.float32(1), y), "rsqrt": (x * x + np.float32(1e-5), y),
        "maximum": (x, y), "quantise": (x, y),
    }  # fmt: skip
    return Operands(
        tuple(products), {k: (a.view(np.uint32), b.view(np.uint32)) for k, (a, b) in bits.items()}
    )


def in_format(weights: Mx, name: str) -> Mx:
    """The same weights in MXINT8 or MXFP4, converted if they have another format."""
    want = {"mxint8": MXINT8, "mxfp4": MXFP4}[name]
    return weights if weights.format is want else quantise(weights.decode(), want)
