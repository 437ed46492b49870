"""A request's tokens do not depend on what else is in the batch; nothing is lost, whatever the order of events."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tapeout.serving.endpoint.choosing import Chooser
from tapeout.serving.endpoint.job import Job
from tapeout.serving.endpoint.parameters import Sampling
from tapeout.serving.endpoint.prefixes import PrefixCache, digests, fork
from tapeout.serving.endpoint.reading import PlainReader
from tapeout.serving.endpoint.scheduler import Scheduler
from tapeout.serving.endpoint.server import Running
from tapeout.serving.policy import EnginePolicy


def request(rng: random.Random, common: list[int]) -> dict[str, Any]:
    """Some request, with logprobs so that bits of logits are compared, not only choices."""
    prompt = common[: rng.choice((0, 20, 50))] + [
        rng.randrange(20, 1000) for _ in range(rng.randrange(1, 120))
    ]
    body: dict[str, Any] = {
        "prompt": prompt, "max_tokens": rng.randrange(1, 40), "logprobs": 2,
        "temperature": rng.choice((0, 0, 0.8, 1.5)), "seed": rng.randrange(2**32),
        "n": rng.choice((1, 1, 1, 3)), "echo": rng.random() < 0.2, "stream": False,
    }  # fmt: skip
    if rng.random() < 0.2:
        body["frequency_penalty"] = 1.0
    return body


def test_tokens_and_logprobs_are_the_same_alone_and_together(endpoint: Running, client: Any) -> None:
    rng = random.Random(5)
    common = [rng.randrange(20, 1000) for _ in range(50)]
    bodies = [request(rng, common) for _ in range(40)]

    def ask(body: dict[str, Any]) -> Any:
        found = client.completions.create(model="demo", **body, extra_body={"return_token_ids": True})
        return [(c.token_ids, c.logprobs.token_logprobs, c.logprobs.top_logprobs) for c in found.choices]

    alone = [ask(body) for body in bodies]
    engine = endpoint.endpoint.engine
    steps, tokens = engine.steps, sum(len(c[0]) for a in alone for c in a)
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(ask, bodies))
    assert together == alone
    assert engine.steps - steps < tokens / 2  # they did share steps
    assert engine.scheduler.queried > 0


def job(endpoint: Running, prompt: list[int], output: int, n: int = 1) -> Job:
    tokenizer = endpoint.endpoint.served.tokenizer
    family = [
        Job(prompt, i, output, Chooser(Sampling(ignore_eos=True), i, prompt, frozenset()),
            PlainReader(tokenizer, (), False, False))
        for i in range(n)
    ]  # fmt: skip
    family[0].siblings = family[1:]
    return family[0]


@pytest.mark.parametrize("seed", range(6))
def test_few_blocks_mean_preemption_not_other_tokens(endpoint: Running, seed: int) -> None:
    """Drive the scheduler by hand in a memory that is too small: every sequence ends with the tokens it has alone,
    and blocks never exceed what there is."""
    rng = random.Random(seed)
    backend = endpoint.endpoint.served.backend
    policy = EnginePolicy(
        kv_blocks=rng.choice((30, 60)), max_sequences=6, max_step_tokens=rng.choice((16, 40)), sequence_blocks=1,
        prefix_caching=seed % 2 == 0,
    )  # fmt: skip
    scheduler = Scheduler(policy)
    jobs = []
    for _ in range(10):
        prompt = [rng.randrange(20, 1000) for _ in range(rng.randrange(1, 90))]
        jobs.append(job(endpoint, prompt, rng.randrange(1, 90), rng.choice((1, 1, 2))))
    for j in jobs:
        if rng.random() < 0.3:
            j.prompt[:32] = jobs[0].prompt[:32]
            j.tokens = list(j.prompt)
            for twin in j.siblings:
                twin.prompt = j.prompt
                twin.tokens = list(j.prompt)
    everyone = [m for j in jobs for m in j.family]
    for j in jobs:
        scheduler.add(j)
    steps = 0
    while (plan := scheduler.plan()) is not None:
        steps += 1
        assert steps < 10_000 and plan.tokens <= policy.max_step_tokens
        work = [(j, j.tokens[-1:]) for j in plan.decodes]
        for j, n in plan.chunks:
            j.sequence = j.sequence or backend.sequence()
            work.append((j, j.tokens[j.computed : j.computed + n]))
        logits = iter(backend.step([(j.sequence, t) for j, t in work]))
        grown = [(j, int(np.argmax(next(logits)))) for j in plan.decodes]
        for j, n in plan.chunks:
            last = next(logits)
            j.computed += n
            if j.computed == len(j.tokens):
                grown += [(m, int(np.argmax(last))) for m in scheduler.prefilled(j)]
        for member, token in grown:
            member.tokens.append(token)
        for member, _ in grown:
            if member.produced == member.max_tokens:
                scheduler.remove(member)
        assert scheduler.used <= policy.kv_blocks
        assert scheduler.used_sequences <= policy.max_sequences
    assert all(m.ended and m.produced == m.max_tokens for m in everyone)
    assert scheduler.used == 0 and not scheduler.busy
    for member in everyone:
        sequence, alone = backend.sequence(), list(member.prompt)
        logits_alone = backend.step([(sequence, member.prompt)])[0]
        for _ in range(member.max_tokens):
            alone.append(int(np.argmax(logits_alone)))
            logits_alone = backend.step([(sequence, alone[-1:])])[0]
        assert member.tokens == alone
    if policy.kv_blocks == 30:
        assert scheduler.preemptions > 0


def test_a_fork_has_the_same_bits_and_its_own_memory(endpoint: Running) -> None:
    backend = endpoint.endpoint.served.backend
    tokens = list(range(30, 100))
    original = backend.sequence()
    backend.step([(original, tokens)])
    twin = fork(original, 48)
    other = backend.step([(twin, [500, 501, 502])])[0]
    fresh = backend.sequence()
    assert np.array_equal(backend.step([(fresh, [*tokens[:48], 500, 501, 502])])[0], other)
    straight = backend.sequence()
    backend.step([(straight, tokens)])
    assert np.array_equal(backend.step([(straight, [7])])[0], backend.step([(original, [7])])[0])


def test_prefix_cache_finds_the_longest_and_gives_up_the_oldest() -> None:
    cache = PrefixCache(4)
    first, second = object(), object()
    one, two = list(range(16)), [*range(8), *range(50, 58)]
    cache.add(1, first, digests(one, 4), ended=True)  # type: ignore[arg-type]
    cache.add(2, second, digests(two, 4), ended=True)  # type: ignore[arg-type]
    assert cache.find(digests(one, 4), 15) == (first, 12)  # the last token is always computed
    assert cache.find(digests(two, 4), 100) == (second, 16)
    assert cache.find(digests([*range(8), 99], 4), 100) == (first, 8)
    assert cache.find(digests([1, *range(8)], 4), 100) == (None, 0)
    assert cache.blocks == 8
    cache.shrink(5)
    assert cache.blocks == 4 and cache.find(digests(two, 4), 100) == (first, 8)
    cache.drop(1)
    assert cache.blocks == 0 and cache.find(digests(one, 4), 100) == (None, 0)
