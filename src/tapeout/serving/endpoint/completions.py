"""/v1/completions: text or tokens in, text out, with echo and log-probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tapeout.serving.endpoint.answers import Answer, begin, failed, top_with_chosen
from tapeout.serving.endpoint.choosing import TokenLogprobs
from tapeout.serving.endpoint.job import Output
from tapeout.serving.endpoint.requests import Completion
from tapeout.serving.endpoint.served import Served, as_json


class CompletionAnswer:
    """A request to /v1/completions under way. `take` is given outputs as they come and yields the chunks of a
    stream; `whole` is the response of one that is not streamed."""

    def __init__(self, served: Served, request: Completion, prompts: list[list[int]]) -> None:
        common = request.common
        s = common.sampling
        count = len(prompts) * common.n
        readers = [
            served.reader(s.stop, s.include_stop, chat=False, special=request.special_text)
            for _ in range(count)
        ]
        score = request.echo and s.logprobs is not None
        self.request, self.served = request, served
        self.answer: Answer = begin(served, common, prompts, kind="cmpl", readers=readers, score=score)
        self._texts = [""] * count
        self._tokens: list[list[int]] = [[] for _ in range(count)]
        self._logprobs: list[list[TokenLogprobs | None]] = [[] for _ in range(count)]
        self._prompt_logprobs: dict[int, list[TokenLogprobs | None]] = {}
        self._finish: list[tuple[str | None, Any]] = [(None, None)] * count
        self._echoed = [not request.echo] * count

    def take(self, output: Output) -> Iterator[str]:
        """Enter one output; yields the chunk it makes as JSON, if it makes one. Raises ApiError if it is a failure."""
        if output.finish == "error":
            raise failed(output)
        job, common = output.job, self.request.common
        i, prompt = job.index, job.prompt
        text, entries, tokens = "", [], []
        if not self._echoed[i]:
            self._echoed[i] = True
            text = self.served.tokenizer.decode(prompt, special=self.request.special_text)
            if output.prompt_logprobs is not None:
                self._prompt_logprobs[i // common.n] = output.prompt_logprobs
            entries += self._prompt_logprobs.get(i // common.n, [])
            tokens += prompt
        text += "".join(piece for _, piece in output.pieces)
        if output.token is not None:
            tokens.append(output.token)
            entries += [output.logprobs] if output.logprobs else []
        offset = len(self._texts[i])
        self._texts[i] += text
        self._tokens[i] += tokens
        self._logprobs[i] += entries
        self._finish[i] = (output.finish, output.stop)
        if not common.stream:
            return
        if not (entries or output.finish or common.token_ids or common.continuous_usage):
            yield self.answer.chunk(i, text, self._text_chunk)
            return
        chunk = {**self._object(), "choices": [self._choice(i, text, tokens, entries, offset, output)]}
        self.answer.complete(chunk, output)
        yield as_json(chunk)

    def _text_chunk(self, index: int, text: str) -> dict[str, Any]:
        """A chunk with nothing but text."""
        return {**self._object(), "choices": [self._choice(index, text, [], [], 0)]}

    def _object(self) -> dict[str, Any]:
        return {"object": "text_completion", **self.answer.head}

    def _choice(
        self,
        index: int,
        text: str,
        tokens: list[int],
        entries: list[TokenLogprobs | None],
        offset: int,
        output: Output | None = None,
    ) -> dict[str, Any]:
        wanted = self.request.common.sampling.logprobs is not None
        finish, stop = self._finish[index]
        choice: dict[str, Any] = {
            "index": index,
            "text": text,
            "logprobs": self._logprob_object(tokens, entries, offset) if wanted else None,
            "finish_reason": finish,
            "stop_reason": stop,
        }
        if self.request.common.token_ids:
            choice["token_ids"] = tokens
            if output is None or len(self._tokens[index]) == len(tokens):
                choice["prompt_token_ids"] = self.answer.prompts[index // self.request.common.n]
        return choice

    def _logprob_object(
        self, tokens: list[int], entries: list[TokenLogprobs | None], offset: int
    ) -> dict[str, Any]:
        words = [self.served.word(token) for token in tokens]
        offsets = []
        for word in words:
            offsets.append(offset)
            offset += len(word)
        return {
            "tokens": words,
            "token_logprobs": [e.logprob if e else None for e in entries],
            "top_logprobs": [self._by_word(e) if e else None for e in entries],
            "text_offset": offsets,
        }

    def _by_word(self, entry: TokenLogprobs) -> dict[str, float]:
        """Of tokens with the same text (unfinished characters) the most likely one counts."""
        found: dict[str, float] = {}
        for token, value in top_with_chosen(entry):
            found.setdefault(self.served.word(token), value)
        return found

    def end(self) -> dict[str, Any]:
        """The last chunk of a stream: usage, if asked for, and what the chip would have taken."""
        usage = self.answer.usage() if self.request.common.include_usage else None
        return {**self._object(), "choices": [], "usage": usage, "tapeout": self.answer.extension()}

    def whole(self) -> dict[str, Any]:
        """The response, once every sequence has ended."""
        choices = [
            self._choice(i, self._texts[i], self._tokens[i], self._logprobs[i], 0)
            for i in range(len(self._texts))
        ]
        return {
            **self._object(),
            "choices": choices,
            "usage": self.answer.usage(),
            "tapeout": self.answer.extension(),
        }
