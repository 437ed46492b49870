"""What both endpoints share in answering: the jobs of a request, usage, and what the chip would have taken."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapeout.serving.endpoint.choosing import Chooser, TokenLogprobs
from tapeout.serving.endpoint.errors import ApiError
from tapeout.serving.endpoint.job import Call, Job, Output
from tapeout.serving.endpoint.reading import Reader
from tapeout.serving.endpoint.requests import Common
from tapeout.serving.endpoint.served import Served, as_json


@dataclass
class Answer:
    """A request under way: its call and the choices so far. `prompts`: token ids of each prompt."""

    served: Served
    common: Common
    prompts: list[list[int]]
    call: Call
    id: str
    created: int = field(default_factory=lambda: int(time.time()))
    reasoning_tokens: int = 0
    ended: int = 0  # choices
    _parts: dict[int, tuple[str, str]] = field(
        default_factory=dict
    )  # by choice: JSON before and after the text

    def chunk(self, index: int, text: str, make: Callable[[int, str], dict[str, Any]]) -> str:
        """`make(index, text)` as JSON, of which only the text is encoded anew for each token."""
        parts = self._parts.get(index)
        if parts is None:
            mark = "\0text\0"
            before, after = as_json(make(index, mark)).split(as_json(mark))
            parts = self._parts[index] = (before, after)
        return parts[0] + as_json(text) + parts[1]

    def complete(self, chunk: dict[str, Any], output: Output) -> None:
        """Add usage to the chunk of `output` if it is wanted in each, and to the last one what the chip would have
        taken, unless a chunk of usage follows it."""
        self.ended += output.finish is not None
        if self.common.continuous_usage:
            chunk["usage"] = self.usage()
        if self.ended == len(self.call.all) and not self.common.include_usage:
            chunk["tapeout"] = self.extension()

    @property
    def head(self) -> dict[str, Any]:
        """The fields that every object of the response opens with, after its kind."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.served.name,
            "system_fingerprint": self.served.fingerprint,
        }

    def usage(self) -> dict[str, Any]:
        """Tokens of the request so far."""
        prompt = sum(map(len, self.prompts))
        completion = sum(job.produced for job in self.call.all)
        cached = sum(job.cached_tokens for job in self.call.all if job.index % self.common.n == 0)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
        }

    def extension(self) -> dict[str, Any]:
        """The `tapeout` field: what the chip would have taken. Times are chip seconds on the endpoint's one clock."""
        jobs = self.call.all
        chip = self.served.chip.target
        ledgers = [job.ledger for job in jobs]
        arrival = min(ledger.arrival for ledger in ledgers)
        first, finish = min(x.first_token for x in ledgers), max(x.finish for x in ledgers)
        tokens = sum(job.produced for job in jobs)
        joules = sum(x.joules for x in ledgers)
        paces = [
            (x.finish - x.first_token) / (job.produced - 1)
            for job, x in zip(jobs, ledgers, strict=True)
            if job.produced > 1
        ]
        return {
            "chip": chip.name,
            "chips": chip.chips,
            "plan": self.served.plan,
            "arrival_s": arrival,
            "finish_s": finish,
            "queue_s": min(x.start for x in ledgers) - arrival,
            "ttft_s": first - arrival,
            "tpot_s": sum(paces) / len(paces) if paces else None,
            "e2e_s": finish - arrival,
            "tokens_per_second": tokens / (finish - arrival) if tokens and finish > arrival else None,
            "joules": joules,
            "joules_per_token": joules / tokens if tokens else None,
            "steps": max(x.steps for x in ledgers),
        }


def begin(
    served: Served,
    common: Common,
    prompts: Sequence[Sequence[int]],
    *,
    kind: str,
    readers: Sequence[Reader],
    score: bool = False,
) -> Answer:
    """The jobs of a request: `common.n` choices for each prompt. `readers`: one for each choice; `score`: the prompt's
    log-probabilities are wanted too. Raises ApiError where a prompt leaves no room for an answer."""
    context = served.model.context
    jobs = []
    for p, tokens in enumerate(prompts):
        prompt = list(tokens)
        if not prompt:
            raise ApiError(400, "prompt: found no tokens, expected at least one", "prompt")
        room = context - len(prompt)
        wanted = room if common.max_tokens is None else common.max_tokens
        if len(prompt) > context or wanted > room or (room == 0 and common.max_tokens != 0):
            raise ApiError(
                400,
                f"This model's maximum context length is {context} tokens. However, you requested "
                f"{len(prompt) + wanted} tokens ({len(prompt)} in the prompt, {wanted} for the completion).",
                "max_tokens" if len(prompt) < context else "prompt",
                "context_length_exceeded",
            )
        s = common.sampling
        family = [
            Job(
                prompt,
                index=p * common.n + i,
                max_tokens=wanted,
                chooser=Chooser(s, i, prompt, served.eos),
                reader=readers[p * common.n + i],
                prompt_logprobs=s.logprobs if score else None,
            )
            for i in range(common.n)
        ]
        family[0].siblings = family[1:]
        jobs.append(family[0])
    return Answer(served, common, [list(p) for p in prompts], Call(jobs), f"{kind}-{secrets.token_hex(12)}")


def failed(output: Output) -> ApiError:
    """The error of an output that ended in one."""
    return ApiError(500, output.failure, code="engine_error")


def top_with_chosen(entry: TokenLogprobs) -> list[tuple[int, float]]:
    """The most likely tokens, and the chosen one after them if it is not among them."""
    chosen = (entry.token, entry.logprob)
    return [*entry.top] if any(t == entry.token for t, _ in entry.top) else [*entry.top, chosen]
