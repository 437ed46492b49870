"""Trains the demo model, `tapeout run demo`, and writes it as a published gpt-oss checkpoint; see README.md.

    python scripts/train_demo.py --work /tmp/demo                # trains; Ctrl-C and the same line resume
    python scripts/train_demo.py --work /tmp/demo --export src/tapeout/model/demo

Needs the `ref` extra, and Debian's `bible-kjv` and `bible-kjv-text`.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import demo_text
import numpy as np
import torch
import torch.nn.functional as F
from demo_network import Network, Shape
from torch import Tensor

TOKENS_PER_STEP = 4096
SHORT, LONG = 256, 1024  # sequence lengths; the last LONG_SHARE of the steps see the whole context
LONG_SHARE = 0.08
BALANCE = 0.01  # weight of the load-balancing loss
MATRICES = ("q", "k", "v", "o", "gate_up", "down")


def orthogonalise(m: Tensor, rounds: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix to each of `m` `[..., rows, columns]`, roughly: Newton-Schulz
    iteration with the quintic of the Muon optimiser (K. Jordan et al., 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = m.shape[-2] <= m.shape[-1]
    x = (m if wide else m.mT).bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised, scaled to the size of an AdamW step (arXiv 2502.16982)."""

    def __init__(self, parameters: list[Tensor], lr: float, decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update of every matrix."""
        for group in self.param_groups:
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 0.05)
                step = orthogonalise(p.grad.lerp(momentum, 0.95))
                p.mul_(1 - group["lr"] * group["decay"])
                p.add_(step, alpha=-group["lr"] * 0.2 * math.sqrt(max(p.shape[-2:])))


def optimisers(network: Network, lr: float, muon: bool) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the rest."""
    inner = [p for n, p in network.named_parameters() if n.split(".")[-1] in MATRICES]
    outer = [p for n, p in network.named_parameters() if n.split(".")[-1] not in MATRICES]
    decayed = [p for p in outer if p.ndim == 2 and p.shape[0] == network.shape.vocabulary]
    plain = [p for p in outer if not any(p is d for d in decayed)]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    if muon:
        return [Muon(inner, 2.5 * lr, 0.04), torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))]
    groups.append({"params": inner, "weight_decay": 0.1})
    return [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))]


def rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear warm-up, flat, linear decay to 2 % over the last half."""
    return min(1.0, (step + 1) / 60, 0.02 + 0.98 * 2 * (1 - step / steps))


def batch(ids: np.ndarray, step: int, length: int, seed: int) -> Tensor:
    """`[sequences, length + 1]` token windows at random places of the stream; the same for the same step."""
    starts = np.random.default_rng((seed, step)).integers(0, len(ids) - length - 1, TOKENS_PER_STEP // length)
    return torch.from_numpy(np.stack([ids[s : s + length + 1] for s in starts]))


def train(work: Path, steps: int, lr: float, seed: int, muon: bool) -> Network:
    """Train to `steps`, saving every 100 under `work` and resuming from there."""
    torch.manual_seed(seed)
    training, _ = demo_text.split(demo_text.chapters(demo_text.bible_text()), seed)
    network = Network(Shape())
    work.mkdir(parents=True, exist_ok=True)
    tokenizer = demo_text.train_tokenizer(training, network.shape.vocabulary)
    tokenizer.save(str(work / "tokenizer.json"))
    optimiser = optimisers(network, lr, muon)
    peaks = [[group["lr"] for group in o.param_groups] for o in optimiser]
    state, first = work / "state.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        for o, s in zip(optimiser, saved["optimisers"], strict=True):
            o.load_state_dict(s)
        first = saved["step"]
    # Six epochs of different shuffles and different conversations; the windows are drawn from all of them.
    ids = np.concatenate([demo_text.stream(training, tokenizer, seed + epoch) for epoch in range(6)])
    begun, smooth = time.time(), 0.0
    for step in range(first, steps):
        window = batch(ids, step, LONG if step >= steps * (1 - LONG_SHARE) else SHORT, seed)
        for o, peak in zip(optimiser, peaks, strict=True):
            for group, value in zip(o.param_groups, peak, strict=True):
                group["lr"] = value * rate(step, steps)
        with torch.autocast("cpu", torch.bfloat16):
            logits, balance = network(window[:, :-1])
            loss = F.cross_entropy(logits.float().flatten(0, 1), window[:, 1:].flatten())
        (loss + BALANCE * balance).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for o in optimiser:
            o.step()
            o.zero_grad(set_to_none=True)
        smooth = loss.item() if step == first else 0.95 * smooth + 0.05 * loss.item()
        if step % 25 == 24:
            print(
                f"step {step + 1} loss {smooth:.3f} balance {balance:.2f} {time.time() - begun:.0f} s",
                flush=True,
            )
        if step % 100 == 99 or step + 1 == steps:
            saved = {
                "network": network.state_dict(),
                "optimisers": [o.state_dict() for o in optimiser],
                "step": step + 1,
            }
            torch.save(saved, work / "state.new")
            (work / "state.new").replace(state)
    return network


def main() -> None:
    """Train, or with --export write the checkpoint."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the state of the training")
    parser.add_argument("--export", type=Path, help="write the checkpoint here instead of training")
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument(
        "--rate", type=float, default=3e-3, help="peak learning rate of AdamW; Muon's is 2.5 times it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adamw", action="store_true", help="AdamW for the matrices too")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.export:
        train(options.work, options.steps, options.rate, options.seed, not options.adamw)
        return
    from demo_export import export
    from tokenizers import Tokenizer

    network = Network(Shape())
    saved = torch.load(options.work / "state.pt", weights_only=True)
    network.load_state_dict(saved["network"])
    made = {
        "seed": options.seed,
        "steps": saved["step"],
        "tokens_per_step": TOKENS_PER_STEP,
        "optimiser": "AdamW" if options.adamw else "Muon for the matrices of the layers, AdamW for the rest",
        "peak_rate": options.rate,
        "arithmetic": "BF16 autocast on CPU; experts rounded to MXFP4 and the rest to BF16 in every forward pass",
        "torch": torch.__version__,
    }
    tokenizer = Tokenizer.from_file(str(options.work / "tokenizer.json"))
    print(export(network, tokenizer, options.export, made, LONG))


if __name__ == "__main__":
    main()
