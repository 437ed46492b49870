"""/v1/chat/completions through the official client."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tapeout.model.checkpoint import harmony
from tapeout.serving.endpoint.server import Running
from tapeout.simulator.functional import generate

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me of Moses"}]


def ask(client: Any, **options: Any) -> Any:
    extra = {"return_token_ids": True, **options.pop("extra", {})}
    options.setdefault("messages", MESSAGES)
    return client.chat.completions.create(model="demo", extra_body=extra, **options)


def test_the_answer_is_the_final_channel_of_what_the_simulator_generates(
    endpoint: Running, client: Any
) -> None:
    served = endpoint.endpoint.served
    prompt = harmony.encode(MESSAGES, served.tokenizer)
    answer = ask(client, max_tokens=40, temperature=0)
    assert answer.prompt_token_ids == prompt and answer.usage.prompt_tokens == len(prompt)
    choice = answer.choices[0]
    tokens = list(generate(served.backend, prompt, 40, stop=served.eos))  # type: ignore[arg-type]
    assert choice.token_ids == tokens
    assert choice.message.content == harmony.split(tokens, served.tokenizer).final
    assert choice.message.role == "assistant" and "<|" not in choice.message.content
    assert answer.object == "chat.completion" and answer.tapeout["joules"] > 0


def test_streamed_deltas_join_to_the_message(client: Any) -> None:
    whole = ask(client, max_tokens=40, temperature=0)
    chunks = list(
        ask(client, max_tokens=40, temperature=0, stream=True, stream_options={"include_usage": True})
    )
    choices = [c.choices[0] for c in chunks if c.choices]
    assert "".join(c.delta.content or "" for c in choices) == whole.choices[0].message.content
    assert choices[0].delta.role == "assistant" and all(c.delta.role is None for c in choices[1:])
    assert [t for c in choices for t in c.token_ids] == whole.choices[0].token_ids
    assert choices[-1].finish_reason == "length" and chunks[-1].usage.completion_tokens == 40


def test_the_client_s_own_stream_helper_understands_it(client: Any) -> None:
    options: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 40, "temperature": 0, "stop": ","}
    with client.chat.completions.stream(model="demo", **options) as stream:
        for _ in stream:
            pass
        found = stream.get_final_completion()
    assert found.choices[0].message.content == ask(client, **options).choices[0].message.content


def test_logprobs_are_those_of_the_shown_tokens(endpoint: Running, client: Any) -> None:
    answer = ask(client, max_tokens=30, temperature=0, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert "".join(e.token for e in content) == answer.choices[0].message.content
    assert all(bytes(e.bytes).decode() == e.token for e in content)
    assert all(e.logprob == max(t.logprob for t in e.top_logprobs) for e in content)  # greedy
    assert all(len(e.top_logprobs) == 2 for e in content)
    bare = ask(client, max_tokens=5, logprobs=True)
    assert all(e.top_logprobs == [] for e in bare.choices[0].logprobs.content)
    assert ask(client, max_tokens=5).choices[0].logprobs is None


def test_choices_and_seed(client: Any) -> None:
    options: dict[str, Any] = {"max_tokens": 30, "n": 3, "seed": 9, "temperature": 1.2}
    one, two = ask(client, **options), ask(client, **options)
    assert [c.message.content for c in one.choices] == [c.message.content for c in two.choices]
    assert len({c.message.content for c in one.choices}) > 1
    texts = [""] * 3
    for chunk in ask(client, stream=True, **options):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert texts == [c.message.content for c in one.choices]


def test_stop_applies_to_what_is_shown(client: Any) -> None:
    whole = ask(client, max_tokens=40, temperature=0).choices[0].message.content
    stop = whole[8:12]
    cut = ask(client, max_tokens=40, temperature=0, stop=stop).choices[0]
    assert cut.message.content == whole[: whole.index(stop)] and cut.finish_reason == "stop"


def test_reasoning_is_apart_from_the_answer(endpoint: Running, client: Any) -> None:
    """Force the analysis channel by bias and see where its text goes."""
    tokenizer = endpoint.endpoint.served.tokenizer
    reader = endpoint.endpoint.served.reader((), False, chat=True)
    said = "<|channel|>analysis<|message|>think<|end|><|start|>assistant<|channel|>final<|message|>say"
    pieces = [p for t in tokenizer.encode(said, special=True) for p in reader.push(t)] + reader.finish()
    by_channel = {c: "".join(text for name, text in pieces if name == c) for c in ("analysis", "final")}
    assert by_channel == {"analysis": "think", "final": "say"}


def test_a_conversation_goes_on_from_the_prefix_cache(client: Any) -> None:
    messages: list[Any] = [
        {"role": "user", "content": "Tell me of the children of Israel and their kings, " * 3}
    ]
    first = ask(client, messages=messages, max_tokens=20, temperature=0)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": [{"type": "text", "text": "and then?"}]},
    ]
    second = ask(client, messages=messages, max_tokens=5, temperature=0)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens // 16 * 16 - 16


@pytest.mark.parametrize(
    "change, param",
    [
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role"),
        ({"messages": [{"role": "user"}]}, "content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, None),
        ({"messages": [{"role": "user", "content": "x" * 500_000}]}, "messages"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": 1}, "logprobs"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"reasoning_effort": "heroic"}, "reasoning_effort"),
        ({"max_completion_tokens": 0}, "max_completion_tokens"),
        ({"max_tokens": 1024}, "max_tokens"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_bad_requests_are_told_by_field(endpoint: Running, change: dict[str, Any], param: str | None) -> None:
    body = json.dumps({"model": "demo", "messages": MESSAGES, **change}).encode()
    request = Request(f"{endpoint.url}/v1/chat/completions", body, {"content-type": "application/json"})
    with pytest.raises(HTTPError) as caught:
        urlopen(request)
    error = json.loads(caught.value.read())["error"]
    assert caught.value.code == 400 and error["param"] == param and error["type"] == "invalid_request_error"
