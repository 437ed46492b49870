"""A serving point: a model on some chips under a closed loop of clients, in steady state.

`concurrency` clients each keep one request in flight. A replica decodes `batch` sequences together; each
needs its prompt computed once per `output_tokens` tokens, in steps that carry a chunk of prompt beside
the decoding sequences. So a token takes a decoding step plus its share of what prefill adds,

    tpot = decode + batch / output_tokens × chunks × (mixed - decode),

and a first token waits for the client's and engine's overhead, half the step in progress, its own prefill,
and, for the share `wave` of requests that all arrive together, the prefill of those before it.
Of the `concurrency` requests those in prefill do not decode: batch = concurrency × decode time /
(decode time + time to first token), a fixed point found by iteration. If the caches of that many sequences do not fit,
the rest queue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.estimate.engines import Engine
from tapeout.estimate.machine import Machine
from tapeout.estimate.step import StepEstimate, estimate_step, kernels
from tapeout.model.architecture import Model
from tapeout.workload.build import operators
from tapeout.workload.capacity import cache_bytes, weight_bytes
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Number, Operator, Step
from tapeout.workload.parallelism import Parallelism

MEMORY_SHARE = 0.9  # of memory that engines use for weights and caches (vLLM's default)
ITERATIONS = 3


@dataclass(frozen=True, eq=False)
class Load:
    """Closed-loop load of one replica; every field may be an array. Tokens are means over requests.

    `wait_steps`: scheduling steps for which the engine holds a prompt back to batch it with others.
    """

    prompt_tokens: Number
    output_tokens: Number
    concurrency: Number
    wait_steps: Number = 0.0


@dataclass(frozen=True, eq=False)
class ServingEstimate:
    """Steady state of one replica. Seconds, joules per output token of all its chips (host excluded).

    `batch`: decoding sequences; `fits`: the weights and at least one sequence fit; `queue_limited`: caches
    of all requests in flight do not fit, so time to first token is mostly queueing.
    """

    tpot_s: Number
    ttft_s: Number
    batch: Number
    output_tokens_per_s: Number
    joules_per_token: Number
    watts_per_chip: Number
    fits: Number
    queue_limited: Number
    decode: StepEstimate
    mixed: StepEstimate


@dataclass(frozen=True, eq=False)
class Steps:
    """The two kinds of step of a serving point, as operators, at a given batch."""

    batch: Number
    chunks: Number  # steps a prompt is spread over
    carrying: Number  # share of steps that carry prefill (above 1: prefill alone takes longer than there is)
    together: Number  # chunks in such a step
    decode: tuple[Operator, ...]
    mixed: tuple[Operator, ...]


def steps(
    machine: Machine,
    engine: Engine,
    model: Model,
    formats: Formats,
    parallelism: Parallelism,
    load: Load,
    batch: Number,
) -> Steps:
    """The decoding step and the step that carries a chunk of prompt besides, `batch` sequences decoding."""
    prompt, output = np.asarray(load.prompt_tokens, float), np.asarray(load.output_tokens, float)
    context = prompt + output / 2
    chunks = np.ceil(prompt / engine.token_budget)
    chunk = prompt / chunks
    decoding = np.asarray(batch) / np.asarray(parallelism.pp)  # each pipeline stage holds one microbatch
    due = np.maximum(decoding / output * chunks, 1e-9)
    # Every rank has a budget of its own, and the ranks prefill side by side.
    most = np.maximum(np.floor(engine.token_budget / chunk), 1.0) * parallelism.attention_dp
    together = np.minimum(np.maximum(due / -np.expm1(-due), 1.0 + due * load.wait_steps), most)
    mixed = Step(
        decode_sequences=decoding,
        decode_context=context,
        prefill_sequences=together,
        prefill_tokens=chunk,
        prefill_context=(prompt - chunk) / 2,
    )
    skew = machine.sustained.routing_skew
    return Steps(
        batch=batch,
        chunks=chunks,
        carrying=due / together,
        together=together,
        decode=operators(model, Step.decode(decoding, context), parallelism, formats, skew=skew),
        mixed=operators(model, mixed, parallelism, formats, skew=skew),
    )


def batch_limit(
    machine: Machine,
    model: Model,
    formats: Formats,
    parallelism: Parallelism,
    load: Load,
    through: float = 0.5,
) -> Number:
    """Most sequences whose caches fit beside the weights, over all ranks of the replica; below 1 none does.

    `through`: how much of its output each sequence has produced, half of it on average.
    """
    context = np.asarray(load.prompt_tokens) + np.asarray(load.output_tokens) * through
    free = machine.memory_capacity * MEMORY_SHARE - weight_bytes(model, parallelism, formats)
    each = cache_bytes(model, context, parallelism, formats)
    return free / each * parallelism.attention_dp


def times(
    engine: Engine, load: Load, s: Steps, decode_s: Number, mixed_s: Number, passes: Number
) -> tuple[Number, Number]:
    """(time per output token, time to first token) from the seconds of the two steps."""
    extra = np.maximum(mixed_s - decode_s, 0.0)
    tpot = passes * (decode_s + s.carrying * extra)
    steps_before = engine.first_steps + np.asarray(load.wait_steps)
    first = engine.first_s + passes * (steps_before * decode_s + s.chunks * mixed_s)
    return tpot, first + engine.wave * np.asarray(load.concurrency) * s.chunks * mixed_s / s.together


def next_batch(load: Load, tpot: Number, ttft: Number, limit: Number) -> Number:
    """Decoding sequences that follow from the times: those of the requests in flight that do not wait."""
    decoding = np.asarray(load.output_tokens) * tpot
    return np.clip(np.asarray(load.concurrency) * decoding / (decoding + ttft), 1e-3, np.maximum(limit, 1.0))


def serve(
    machine: Machine,
    engine: Engine,
    model: Model,
    formats: Formats,
    parallelism: Parallelism,
    load: Load,
) -> ServingEstimate:
    """The steady state of `model` on `machine` under `load`; arrays broadcast.

    `machine` carries the engine's host costs (`tapeout.estimate.accelerators.machine`). Raises InputError if the model
    cannot be split as `parallelism` says (scalars only; arrays are taken to be valid).
    """
    limit = batch_limit(machine, model, formats, parallelism, load)
    concurrency = np.asarray(load.concurrency, float)
    batch: Number = np.minimum(concurrency, np.maximum(limit, 1.0))
    passes = np.asarray(parallelism.pp)
    ranks = np.asarray(parallelism.attention_dp) * passes
    for i in range(ITERATIONS):
        s = steps(machine, engine, model, formats, parallelism, load, batch)
        decode = estimate_step(machine, s.decode, batch / ranks)
        mixed = estimate_step(machine, s.mixed, batch / ranks, eager=True)
        tpot, ttft = times(engine, load, s, decode.time_s, mixed.time_s, passes)
        if i < ITERATIONS - 1:
            batch = next_batch(load, tpot, ttft, limit)
    output = np.asarray(load.output_tokens)
    # Requests that arrive together are long together: caches must fit at full length for nothing to queue.
    limited = concurrency > batch_limit(machine, model, formats, parallelism, load, through=1.0)
    rate = batch / (output * tpot)  # requests per second
    waiting = np.maximum(concurrency - batch, 0.0) / rate
    ttft = np.where(concurrency > limit, np.maximum(ttft, waiting), ttft)
    p = machine.power
    constant = (p.idle_w + p.active_w) * tpot
    added = s.carrying * (_dynamic(machine, mixed) - _dynamic(machine, decode))
    dynamic = passes * (_dynamic(machine, decode) + added)
    joules = (constant + np.maximum(dynamic, 0.0)) * parallelism.chips / batch
    return ServingEstimate(
        tpot_s=tpot,
        ttft_s=ttft,
        batch=batch,
        output_tokens_per_s=rate * output,
        joules_per_token=joules,
        watts_per_chip=joules * batch / tpot / parallelism.chips,
        fits=limit >= 1.0,
        queue_limited=limited,
        decode=decode,
        mixed=mixed,
    )


def _dynamic(machine: Machine, step: StepEstimate) -> Number:
    return step.energy_j - (machine.power.idle_w + machine.power.active_w) * step.time_s


__all__ = [
    "Load",
    "ServingEstimate",
    "Steps",
    "batch_limit",
    "kernels",
    "next_batch",
    "serve",
    "steps",
    "times",
]
