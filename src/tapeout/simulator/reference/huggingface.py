"""The reference: a checkpoint in transformers on CPU, with what its defaults get wrong pinned.

Eager attention (the only one with sinks on CPU); block formats decoded to the dtype that is asked for; every
tensor of the checkpoint found and none left over (a renamed tensor would be initialised at random
with no more than a warning).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tapeout.errors import InputError, MissingDependency, Phrase
from tapeout.files import read_json
from tapeout.simulator.reference.decoded import write_decoded
from tapeout.simulator.reference.trace import Trace

Precision = Literal["float32", "bfloat16"]


class Reference:
    """A causal language model of transformers, run teacher-forced."""

    def __init__(self, folder: str | Path, precision: Precision = "float32", *, threads: int = 1) -> None:
        """Load `folder`. Raises MissingDependency without the `ref` extra, InputError if transformers refuses the
        checkpoint or does not find in it exactly the tensors it expects."""
        torch, transformers = _libraries()
        torch.set_num_threads(threads)
        folder = Path(folder)
        method = (read_json(folder / "config.json").get("quantization_config") or {}).get("quant_method")
        if method not in (None, "mxfp4", "fp8"):
            found = Phrase(f"quantisation by {method}")
            raise InputError(folder / "config.json", "quantization_config", found, "mxfp4, fp8 or none")
        options: dict[str, Any] = {}
        if method == "mxfp4":
            options["quantization_config"] = transformers.Mxfp4Config(dequantize=True)
        with tempfile.TemporaryDirectory() as scratch, _quiet(transformers):
            source = folder
            if method == "fp8":
                source = Path(scratch)
                write_decoded(folder, source)
            try:
                self._model, info = transformers.AutoModelForCausalLM.from_pretrained(
                    source,
                    dtype=getattr(torch, precision),
                    attn_implementation="eager",
                    output_loading_info=True,
                    **options,
                )
            except Exception as e:  # whatever transformers makes of a checkpoint that is not one
                found = Phrase(f"transformers: {_line(e)}")
                raise InputError(folder, "", found, "a checkpoint it can load") from None
        for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
            if info.get(kind):
                name = sorted(map(str, info[kind]))[0]
                raise InputError(folder, name, Phrase(f"transformers: {kind.replace('_', ' ')}"), "none")
        self._model.eval()
        self._torch = torch
        self.precision = precision

    def trace(self, tokens: list[int]) -> Trace:
        """Run `tokens` as one text."""
        torch = self._torch
        experts: dict[int, np.ndarray] = {}
        routers: dict[int, np.ndarray] = {}
        hooks = []
        for name, module in self._model.named_modules():
            if type(module).__name__.lower().endswith("topkrouter"):
                layer = int(name.split("layers.")[1].split(".")[0])

                def keep(router: Any, _i: Any, output: Any, layer: int = layer) -> None:
                    experts[layer] = np.sort(output[2].reshape(len(tokens), -1).numpy(), axis=-1)
                    if not hasattr(router, "e_score_correction_bias"):
                        routers[layer] = output[0].reshape(len(tokens), -1).float().numpy()

                hooks.append(module.register_forward_hook(keep))
        hidden: list[np.ndarray] = []
        for layer_module in self._model.model.layers:

            def after(_m: Any, _i: Any, output: Any) -> None:
                stream = output[0] if isinstance(output, tuple) else output
                hidden.append(stream.reshape(len(tokens), -1).float().numpy())

            hooks.append(layer_module.register_forward_hook(after))
        try:
            with torch.inference_mode():
                logits = self._model(torch.tensor([tokens]), use_cache=False).logits[0].float().numpy()
        finally:
            for hook in hooks:
                hook.remove()
        return Trace(logits, np.stack(hidden), experts, routers)

    def sample(self, texts: int, length: int, seed: int) -> list[list[int]]:
        """Texts of `length` tokens drawn from the model itself, each from a random first token: what it
        finds likely, for a checkpoint without a text or a tokenizer."""
        torch = self._torch
        vocabulary = self._model.config.vocab_size
        with torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(seed)
            tokens = torch.randint(0, vocabulary, (texts, 1))
            cache = None
            while tokens.shape[1] < length:
                out = self._model(
                    tokens if cache is None else tokens[:, -1:], past_key_values=cache, use_cache=True
                )
                cache = out.past_key_values
                chosen = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1)
                tokens = torch.cat((tokens, chosen), 1)
        return [list(map(int, row)) for row in tokens]


def _libraries() -> tuple[Any, Any]:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import torch
        import transformers
    except ImportError:
        raise MissingDependency("the comparison with transformers", "ref") from None
    return torch, transformers


class _quiet:
    """No progress bars and no warnings of transformers inside."""

    def __init__(self, transformers: Any) -> None:
        self._logging = transformers.utils.logging

    def __enter__(self) -> None:
        self._level = self._logging.get_verbosity()
        self._logging.set_verbosity_error()
        self._logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._level)
        self._logging.enable_progress_bar()


def _line(e: Exception) -> str:
    return next(iter(str(e).strip().splitlines()), type(e).__name__)
