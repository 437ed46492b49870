"""Chat templates as checkpoints publish them: Jinja in a sandbox, with what Hugging Face's templates expect."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from tapeout.errors import InputError, MissingDependency, Phrase


def render(template: str, messages: list[dict[str, Any]], tokens: dict[str, str]) -> str:
    """The text of a conversation, ready for the assistant. Raises InputError where the template refuses it."""
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingDependency("a chat template", "serve") from None

    def refuse(message: str) -> None:
        raise InputError("messages", "", Phrase(message), "a conversation that the chat template takes")

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    try:
        return environment.from_string(template).render(
            messages=messages, add_generation_prompt=True, **tokens
        )
    except TemplateError as e:
        raise InputError("messages", "", Phrase(e), "a conversation that the chat template takes") from None
