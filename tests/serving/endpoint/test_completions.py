"""/v1/completions through the official client, against the functional simulator itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import openai
import pytest

from tapeout.serving.endpoint.choosing import log_softmax
from tapeout.serving.endpoint.server import Running
from tapeout.simulator.functional import Sampler, generate

PROMPT = "And the LORD said unto Moses,"


def tokens_of(at: Running, text: str) -> list[int]:
    return at.endpoint.served.encode(text)


def expected(at: Running, prompt: list[int], count: int, sampler: Sampler | None = None) -> list[int]:
    """What the simulator generates on its own."""
    served = at.endpoint.served
    return list(generate(served.backend, prompt, count, sampler, stop=served.eos))  # type: ignore[arg-type]


def ask(client: Any, prompt: Any, **options: Any) -> Any:
    extra = {"return_token_ids": True, **options.pop("extra", {})}
    return client.completions.create(model="demo", prompt=prompt, extra_body=extra, **options)


def test_greedy_tokens_are_the_simulator_s(endpoint: Running, client: Any) -> None:
    prompt = tokens_of(endpoint, PROMPT)
    answer = ask(client, PROMPT, max_tokens=24, temperature=0)
    choice = answer.choices[0]
    assert choice.token_ids == expected(endpoint, prompt, 24)
    assert choice.text == endpoint.endpoint.served.tokenizer.decode(choice.token_ids)
    assert choice.finish_reason == "length" and choice.prompt_token_ids == prompt
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt), 24)
    assert usage.total_tokens == len(prompt) + 24
    again = ask(client, prompt, max_tokens=24, temperature=0)
    assert again.choices[0].token_ids == choice.token_ids


def test_seeded_sampling_is_the_simulator_s(endpoint: Running, client: Any) -> None:
    prompt = tokens_of(endpoint, PROMPT)
    options = {"max_tokens": 24, "temperature": 0.9, "top_p": 0.95, "seed": 11}
    answer = ask(client, PROMPT, extra={"top_k": 50}, **options)
    sampler = Sampler(temperature=0.9, top_k=50, top_p=0.95, seed=11)
    assert answer.choices[0].token_ids == expected(endpoint, prompt, 24, sampler)
    several = ask(client, PROMPT, extra={"top_k": 50}, n=3, **options)
    assert several.choices[0].token_ids == answer.choices[0].token_ids
    assert len({tuple(c.token_ids) for c in several.choices}) == 3
    again = ask(client, PROMPT, extra={"top_k": 50}, n=3, **options)
    assert [c.token_ids for c in again.choices] == [c.token_ids for c in several.choices]
    free = [ask(client, PROMPT, max_tokens=24, temperature=1.5).choices[0].text for _ in range(3)]
    assert len(set(free)) > 1  # without a seed each request has its own


def test_default_temperature_is_the_checkpoint_s(endpoint: Running, client: Any) -> None:
    prompt = tokens_of(endpoint, PROMPT)
    assert endpoint.endpoint.served.defaults.temperature == 0.7
    answer = ask(client, PROMPT, max_tokens=16, seed=5)
    assert answer.choices[0].token_ids == expected(endpoint, prompt, 16, Sampler(0.7, seed=5))


def test_streamed_pieces_join_to_the_whole(client: Any) -> None:
    whole = ask(client, PROMPT, max_tokens=40, temperature=0)
    chunks = list(
        ask(client, PROMPT, max_tokens=40, temperature=0, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert [t for c in chunks if c.choices for t in c.choices[0].token_ids] == whole.choices[0].token_ids
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    last = chunks[-1]
    assert not last.choices and last.usage.completion_tokens == 40 and last.tapeout["joules"] > 0
    assert all(c.usage is None for c in chunks[:-1]) and len({c.id for c in chunks}) == 1


def test_without_include_usage_every_chunk_has_a_choice(client: Any) -> None:
    chunks = list(client.completions.create(model="demo", prompt=PROMPT, max_tokens=5, stream=True))
    assert all(c.choices and c.usage is None for c in chunks)
    assert chunks[-1].tapeout["ttft_s"] > 0


def test_stream_of_several_choices(client: Any) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "seed": 3, "n": 3, "temperature": 1.0}
    whole = ask(client, [PROMPT, "In the beginning"], **options)
    assert [c.index for c in whole.choices] == [0, 1, 2, 3, 4, 5]
    texts = [""] * 6
    for chunk in ask(client, [PROMPT, "In the beginning"], stream=True, **options):
        texts[chunk.choices[0].index] += chunk.choices[0].text
    assert texts == [c.text for c in whole.choices]


def test_echo_and_logprobs(endpoint: Running, client: Any) -> None:
    served = endpoint.endpoint.served
    prompt = tokens_of(endpoint, PROMPT)
    answer = ask(client, PROMPT, max_tokens=6, temperature=0, logprobs=3, echo=True)
    choice = answer.choices[0]
    produced = expected(endpoint, prompt, 6)
    assert choice.token_ids == prompt + produced and choice.text.startswith(PROMPT)
    every = served.backend.step([(served.backend.sequence(), prompt + produced)], every=True)[0]
    values = log_softmax(every)
    found = choice.logprobs
    assert found.token_logprobs[0] is None and found.top_logprobs[0] is None
    for i, token in enumerate((prompt + produced)[1:]):
        assert found.token_logprobs[i + 1] == values[i, token]  # the same bits
        top = found.top_logprobs[i + 1]
        assert max(top.values()) == values[i].max() and 3 <= len(top) <= 4
        assert top[served.word(token)] >= values[i, token]
    assert "".join(found.tokens) == choice.text
    assert [
        choice.text[o : o + len(t)] for o, t in zip(found.text_offset, found.tokens, strict=True)
    ] == found.tokens
    streamed = list(ask(client, PROMPT, max_tokens=6, temperature=0, logprobs=3, echo=True, stream=True))
    joined = [v for c in streamed for v in c.choices[0].logprobs.token_logprobs]
    assert joined == found.token_logprobs and "".join(c.choices[0].text for c in streamed) == choice.text


def test_scoring_a_prompt_without_generating(endpoint: Running, client: Any) -> None:
    long = tokens_of(endpoint, PROMPT * 20)[:150]  # more than a step's budget of tokens
    answer = ask(client, long, max_tokens=0, logprobs=0, echo=True)
    choice, backend = answer.choices[0], endpoint.endpoint.served.backend
    values = log_softmax(backend.step([(backend.sequence(), long)], every=True)[0])
    assert choice.logprobs.token_logprobs[1:] == [values[i, t] for i, t in enumerate(long[1:])]
    assert answer.usage.completion_tokens == 0 and choice.finish_reason == "length"


def test_stop_strings(client: Any) -> None:
    whole = ask(client, PROMPT, max_tokens=40, temperature=0).choices[0].text
    stop = whole[10:14]
    cut = ask(client, PROMPT, max_tokens=40, temperature=0, stop=[stop, "never said"]).choices[0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop" and cut.stop_reason == stop
    kept = ask(
        client, PROMPT, max_tokens=40, temperature=0, stop=stop, extra={"include_stop_str_in_output": True}
    )
    assert kept.choices[0].text == whole[: whole.index(stop) + len(stop)]
    streamed = ask(client, PROMPT, max_tokens=40, temperature=0, stop=stop, stream=True)
    assert "".join(c.choices[0].text for c in streamed) == cut.text


def test_stop_tokens_and_ignore_eos(endpoint: Running, client: Any) -> None:
    first = ask(client, PROMPT, max_tokens=8, temperature=0).choices[0].token_ids
    stopped = ask(client, PROMPT, max_tokens=8, temperature=0, extra={"stop_token_ids": [first[3]]}).choices[
        0
    ]
    assert stopped.token_ids == first[: first.index(first[3]) + 1]
    assert stopped.finish_reason == "stop" and stopped.stop_reason == first[3]
    eos = min(endpoint.endpoint.served.eos)
    bias = {str(eos): 100}
    ended = ask(client, PROMPT, max_tokens=8, temperature=0, logit_bias=bias).choices[0]
    assert ended.token_ids == [eos] and ended.text == "" and ended.finish_reason == "stop"
    on = ask(
        client, PROMPT, max_tokens=8, temperature=0, logit_bias=bias, extra={"ignore_eos": True}
    ).choices[0]
    assert on.token_ids == [eos] * 8 and on.finish_reason == "length"
    late = ask(client, PROMPT, max_tokens=8, temperature=0, logit_bias=bias, extra={"min_tokens": 3}).choices[
        0
    ]
    assert len(late.token_ids) == 4 and late.token_ids[-1] == eos


def test_penalties_forbid_repetition(client: Any) -> None:
    plain = ask(client, PROMPT, max_tokens=60, temperature=0).choices[0].token_ids
    assert len(set(plain)) < len(plain)
    # a repeated token loses 2 with presence and 2 for each time: more than any lead it has for long
    wide = (
        ask(client, PROMPT, max_tokens=60, temperature=0, presence_penalty=2, frequency_penalty=2)
        .choices[0]
        .token_ids
    )
    assert max(np.bincount(wide)) < max(np.bincount(plain))


def test_prefix_caching_is_reported_and_changes_nothing(endpoint: Running, client: Any) -> None:
    prompt = tokens_of(endpoint, "Now these are the names of the sons of the kings of the earth, " * 6)
    first = ask(client, prompt, max_tokens=8, temperature=0)
    second = ask(client, prompt, max_tokens=8, temperature=0)
    assert second.choices[0].token_ids == first.choices[0].token_ids
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert cached == (len(prompt) - 1) // 16 * 16 and first.usage.prompt_tokens_details.cached_tokens < cached
    assert second.tapeout["ttft_s"] <= first.tapeout["ttft_s"]


def test_what_the_chip_would_have_taken_adds_up(endpoint: Running, client: Any) -> None:
    before = endpoint.endpoint.metrics.counters["tapeout:chip_joules"]
    answers = [ask(client, PROMPT, max_tokens=m, temperature=0) for m in (1, 7, 20)]
    joules = sum(a.tapeout["joules"] for a in answers)
    after = endpoint.endpoint.metrics.counters["tapeout:chip_joules"]
    assert joules == pytest.approx(after - before, rel=1e-9)
    last = answers[-1].tapeout
    assert last["chip"] == "flagship" and last["steps"] == 20
    assert last["e2e_s"] == pytest.approx(last["ttft_s"] + 19 * last["tpot_s"])
    assert last["tokens_per_second"] == pytest.approx(20 / last["e2e_s"])
    assert answers[0].tapeout["tpot_s"] is None


@pytest.mark.parametrize(
    "change, status, param",
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": [1, "a"]}, 400, "prompt"),
        ({"prompt": [[1], [-1]]}, 400, "prompt"),
        ({"prompt": [5000]}, 400, "prompt"),
        ({"prompt": [True]}, 400, "prompt"),
        ({"prompt": {"a": 1}}, 400, "prompt"),
        ({"prompt": "word " * 100_000}, 400, "prompt"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 2.5}, 400, "max_tokens"),
        ({"max_tokens": 1024}, 400, "max_tokens"),
        ({"n": 0}, 400, "n"),
        ({"n": 100}, 400, "n"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"top_p": 1.5}, 400, "top_p"),
        ({"logprobs": 21}, 400, "logprobs"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"stop": ["a"] * 17}, 400, "stop"),
        ({"stop": ""}, 400, "stop"),
        ({"stop": [1]}, 400, "stop"),
        ({"seed": 2**64}, 400, "seed"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"logit_bias": {"1": 101}}, 400, "logit_bias"),
        ({"best_of": 2}, 400, "best_of"),
        ({"suffix": "end"}, 400, "suffix"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"stream": "yes"}, 400, "stream"),
        ({"temprature": 1}, 400, "temprature"),
        ({"model": "gpt-4"}, 404, "model"),
    ],
)
def test_bad_requests_are_told_by_field(client: Any, change: dict[str, Any], status: int, param: str) -> None:
    body = {"model": "demo", "prompt": PROMPT, **change}
    with pytest.raises(openai.APIStatusError) as caught:
        client.post("/completions", body=body, cast_to=object)
    error = caught.value
    assert error.status_code == status and error.param == param and error.type
