"""What clients send, read and bounded: the bodies of /v1/completions and /v1/chat/completions.

Parameters that change nothing here are taken; those that ask for what the endpoint does not do, and those that
nobody knows, are refused by name, as OpenAI's API does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tapeout.errors import InputError, Phrase
from tapeout.fields import Fields
from tapeout.model.checkpoint.harmony import EFFORTS
from tapeout.serving.endpoint.errors import ApiError
from tapeout.serving.endpoint.parameters import MAX_CHOICES, MAX_LOGPROBS, Sampling, read
from tapeout.serving.endpoint.served import Served

MAX_PROMPTS = 2048
NO_EFFECT = frozenset(
    (
        "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "parallel_tool_calls", "priority", "request_id", "spaces_between_special_tokens",
        "verbosity",
    )
)  # fmt: skip
REFUSED = (
    "tools", "functions", "audio", "prediction", "suffix", "web_search_options", "guided_json", "guided_regex",
    "guided_choice", "guided_grammar", "structured_outputs", "use_beam_search", "prompt_embeds",
)  # fmt: skip


@dataclass(frozen=True)
class Common:
    """Of both endpoints. max_tokens: of each choice, None for what the context leaves."""

    sampling: Sampling
    max_tokens: int | None
    n: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    token_ids: bool


@dataclass(frozen=True)
class Completion:
    """A body of /v1/completions; prompts are token ids, or text that is still to be encoded.

    special_tokens: begin-of-text and the like are added to text. special_text: special tokens are shown in answers.
    """

    common: Common
    prompts: tuple[str | tuple[int, ...], ...]
    echo: bool
    special_tokens: bool
    special_text: bool


@dataclass(frozen=True)
class Chat:
    """A body of /v1/chat/completions."""

    common: Common
    messages: list[dict[str, Any]]
    effort: str


def completion(body: dict[str, Any], served: Served, default_tokens: int) -> Completion:
    """Read a body of /v1/completions. Raises ApiError or InputError."""
    f = _fields(body)
    logprobs = f.integer("logprobs", None, low=0, high=MAX_LOGPROBS)
    f.integer("best_of", 1, low=1, high=1)  # choosing among several is not offered
    common = _common(f, served, logprobs, f.integer("max_tokens", default_tokens, low=0, high=1 << 30))
    found = Completion(
        common,
        _prompts(f, served),
        echo=f.boolean("echo", False),
        special_tokens=f.boolean("add_special_tokens", True),
        special_text=not f.boolean("skip_special_tokens", True),
    )
    f.done()
    if common.max_tokens == 0 and not found.echo:
        raise f.fail("max_tokens", 0, "at least 1, unless the prompt is echoed")
    return found


def chat(body: dict[str, Any], served: Served) -> Chat:
    """Read a body of /v1/chat/completions. Raises ApiError or InputError."""
    f = _fields(body)
    alternatives = f.integer("top_logprobs", 0, low=0, high=MAX_LOGPROBS)
    wanted = f.boolean("logprobs", False)
    if alternatives and not wanted:
        raise f.fail("top_logprobs", alternatives, "logprobs to be true with it")
    limits = [f.integer(name, None, high=1 << 30) for name in ("max_completion_tokens", "max_tokens")]
    limit = next((value for value in limits if value is not None), None)
    common = _common(f, served, alternatives if wanted else None, limit)
    messages = f.array("messages", longest=10_000)
    if not messages or not all(isinstance(m, dict) for m in messages):
        raise f.fail("messages", Phrase("none, or others"), "a list of messages, each with role and content")
    for i, message in enumerate(messages):
        if message.get("tool_calls") or message.get("function_call"):
            raise ApiError(400, "tool calls are not offered", f"messages[{i}]", "unsupported_parameter")
    effort = f.text("reasoning_effort", "medium", choices=EFFORTS)
    if f.text("tool_choice", "none") not in ("none", "auto"):
        raise f.fail("tool_choice", body["tool_choice"], "none: tools are not offered")
    modalities = f.array("modalities", ["text"])
    if modalities != ["text"]:
        raise f.fail("modalities", modalities, '["text"]')
    f.boolean("skip_special_tokens", True)
    f.done()
    return Chat(common, messages, effort)


def _fields(body: dict[str, Any]) -> Fields:
    """The fields that matter. Raises ApiError for those that ask for what is not offered."""
    for key in REFUSED:
        if body.get(key):
            raise ApiError(400, f"{key} is not offered by this endpoint", key, "unsupported_parameter")
    ignored = NO_EFFECT.union(REFUSED)
    return Fields({k: v for k, v in body.items() if k not in ignored}, "request")


def _common(f: Fields, served: Served, logprobs: int | None, max_tokens: int | None) -> Common:
    name = f.text("model", served.name)
    if name != served.name:
        raise ApiError(404, f"The model {name[:100]!r} does not exist", "model", "model_not_found")
    if "response_format" in f:
        f.section("response_format").text("type", choices=("text",))
    options = Fields({}, "request")
    stream = f.boolean("stream", False)
    if f.table.get("stream_options") is not None:
        options = f.section("stream_options")
        if not stream:
            raise f.fail("stream_options", Phrase("it without stream"), "stream to be true with it")
    common = Common(
        sampling=read(f, served.defaults, served.model.vocabulary, logprobs),
        max_tokens=max_tokens,
        n=f.integer("n", 1, high=MAX_CHOICES),
        stream=stream,
        include_usage=options.boolean("include_usage", False),
        continuous_usage=options.boolean("continuous_usage_stats", False),
        token_ids=f.boolean("return_token_ids", False),
    )
    options.boolean("include_obfuscation", False)
    options.done()
    return common


def _prompts(f: Fields, served: Served) -> tuple[str | tuple[int, ...], ...]:
    """A string, a list of strings, a list of token ids, or a list of such lists."""
    expected = "a string, a list of strings, a list of tokens, or a list of lists of tokens"
    value = f.table.get("prompt")
    if isinstance(value, str):
        prompts: list[Any] = [f.text("prompt")]
    else:
        prompts = f.array("prompt", longest=1 << 20)
        if prompts and all(type(p) is int for p in prompts):
            prompts = [prompts]
    if not prompts or len(prompts) > MAX_PROMPTS:
        raise f.fail("prompt", Phrase(f"{len(prompts)} prompts"), f"1 to {MAX_PROMPTS}")
    vocabulary = served.model.vocabulary
    found: list[str | tuple[int, ...]] = []
    for p in prompts:
        if isinstance(p, str):
            found.append(p)
            continue
        if not isinstance(p, list) or not p:
            raise f.fail("prompt", p, expected)
        for token in p:
            if type(token) is not int or not 0 <= token < vocabulary:
                raise f.fail("prompt", token, f"tokens from 0 to {vocabulary - 1}")
        found.append(tuple(p))
    return tuple(found)


def check_text(value: Any) -> None:
    """Refuse text that has no UTF-8 form (half of a surrogate pair), anywhere in a body."""
    stack = [value]
    while stack:
        v = stack.pop()
        if isinstance(v, str):
            try:
                v.encode()
            except UnicodeEncodeError:
                raise InputError(
                    "request", "", Phrase("half of a surrogate pair"), "text with a UTF-8 form"
                ) from None
        elif isinstance(v, dict):
            stack += [*v.keys(), *v.values()]
        elif isinstance(v, list):
            stack += v
