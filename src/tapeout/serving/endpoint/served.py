"""The model being served: its weights, tokenizer, chat format and defaults, from a checkpoint's folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

import tapeout
from tapeout.errors import InputError, Phrase
from tapeout.files import read_json, read_text
from tapeout.model.architecture import Model
from tapeout.model.checkpoint import harmony
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.model.checkpoint.locate import folder_of
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.model.load import load
from tapeout.numerics.plan import PRESETS
from tapeout.serving.endpoint.backends import Backend, make
from tapeout.serving.endpoint.chip import Chip, chip_of
from tapeout.serving.endpoint.errors import ApiError
from tapeout.serving.endpoint.parameters import Defaults
from tapeout.serving.endpoint.reading import HarmonyReader, PlainReader, Reader
from tapeout.serving.endpoint.settings import Settings

CAPACITY_FACTOR = 2  # caches double when they grow: a block may take twice its bytes


@dataclass
class Served:
    """A model ready to serve. `template`: the chat template of the checkpoint, if any."""

    name: str
    model: Model
    tokenizer: Tokenizer
    backend: Backend
    chip: Chip
    plan: str
    defaults: Defaults
    template: str | None
    tokens: dict[str, str] = field(default_factory=dict)  # bos_token and the like, for the template
    created: int = field(default_factory=lambda: int(time.time()))
    longest_token: int = field(init=False)

    def __post_init__(self) -> None:
        vocabulary = self.tokenizer.vocabulary
        self.longest_token = max(len(self.tokenizer.decode([i], special=True)) for i in range(vocabulary))
        self.harmony = self.model.family == "gpt_oss" and harmony.supported(self.tokenizer)
        # gpt-oss is trained with a system message that names the date; its template says so
        self.system_message = self.harmony and (self.template is None or "Knowledge cutoff" in self.template)
        self.fingerprint = (
            "fp_"
            + blake2b(f"{tapeout.__version__} {self.name} {self.plan}".encode(), digest_size=5).hexdigest()
        )

    @staticmethod
    def load(settings: Settings) -> Served:
        """Everything from disk. Raises InputError for whatever is not as it must be."""
        if settings.plan not in PRESETS:
            raise InputError("--plan", "", settings.plan, f"one of {', '.join(PRESETS)}")
        folder = folder_of(settings.model)
        model = load(str(folder))
        checkpoint = Checkpoint.open(folder)
        checkpoint.check(model)
        plan = PRESETS[settings.plan]
        chip = chip_of(
            model, str(settings.chip), plan, settings.max_sequences, settings.max_step_tokens,
            # a state is that of all its tokens: an earlier one has no prefix of it to give
            settings.prefix_caching and not any(layer.attention.state_elements for layer in model.layers),
        )  # fmt: skip
        tokenizer = Tokenizer(folder)
        template, tokens = _template(folder)
        generation = folder / "generation_config.json"
        table = read_json(generation) if generation.exists() else {}
        defaults = Defaults.of(table, generation) if table else Defaults()
        backend = make(settings.on, model, checkpoint, settings.plan, settings.threads)
        name = settings.name or (
            str(settings.model) if folder != Path(settings.model) else folder.resolve().name
        )
        return Served(name, model, tokenizer, backend, chip, settings.plan, defaults, template, tokens)

    @property
    def eos(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return self.tokenizer.eos or frozenset(self.model.eos)

    def kv_blocks(self, gigabytes: float, block_tokens: int) -> int:
        """KV blocks that so much memory of this machine holds, as the backend keeps them."""
        probe = self.backend.sequence()
        per_token = sum(c.token_bytes for c in probe.caches)
        return int(gigabytes * 2**30 / (max(per_token, 1) * block_tokens * CAPACITY_FACTOR))

    def encode(self, text: str, special_tokens: bool = True) -> list[int]:
        """Tokens of a prompt of /v1/completions."""
        return self.tokenizer.encode(text) if special_tokens else self.tokenizer.plain(text)

    def too_long(self, text: str) -> bool:
        """Whether the text has more tokens than the context, told from its length alone."""
        return len(text) > self.longest_token * self.model.context

    def chat(self, messages: list[dict[str, Any]], effort: str) -> list[int]:
        """Tokens of a conversation, ready for the assistant. Raises InputError for a message that is not one."""
        if self.harmony:
            system = harmony.system_prompt(date.today(), effort) if self.system_message else None
            return harmony.encode(messages, self.tokenizer, system=system)
        if self.template is None:
            message = f"the model {self.name} has no chat template; use /v1/completions"
            raise ApiError(400, message, "messages", "no_chat_template")
        from tapeout.serving.endpoint.template import render

        return self.tokenizer.encode(render(self.template, messages, self.tokens), special=True)

    def reader(self, stops: tuple[str, ...], include: bool, chat: bool, special: bool = False) -> Reader:
        """What turns an answer's tokens into text."""
        if chat and self.harmony:
            return HarmonyReader(self.tokenizer, stops, include)
        return PlainReader(self.tokenizer, stops, include, special)

    def word(self, token: int) -> str:
        """The text of one token, special ones shown."""
        return self.tokenizer.decode([token], special=True)


def _template(folder: Path) -> tuple[str | None, dict[str, str]]:
    """The chat template of a checkpoint and the special tokens that it may name."""
    tokens: dict[str, str] = {}
    template: str | None = None
    path = folder / "tokenizer_config.json"
    if path.exists():
        table = read_json(path)
        for key in ("bos_token", "eos_token", "unk_token", "pad_token"):
            value = table.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                tokens[key] = value
        found = table.get("chat_template")
        if isinstance(found, list):  # several, by name
            found = next(
                (e.get("template") for e in found if isinstance(e, dict) and e.get("name") == "default"), None
            )
        if found is not None and not isinstance(found, str):
            raise InputError(path, "chat_template", Phrase(f"a JSON {type(found).__name__}"), "a string")
        template = found
    if (folder / "chat_template.jinja").exists():
        template = read_text(folder / "chat_template.jinja")
    return template, tokens


as_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
"""JSON as it travels: compact, text as it is."""
