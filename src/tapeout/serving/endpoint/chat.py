"""/v1/chat/completions: a conversation in, the assistant's message out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tapeout.serving.endpoint.answers import Answer, begin, failed, top_with_chosen
from tapeout.serving.endpoint.choosing import TokenLogprobs
from tapeout.serving.endpoint.job import Output
from tapeout.serving.endpoint.reading import TEXT
from tapeout.serving.endpoint.requests import Chat
from tapeout.serving.endpoint.served import Served, as_json

FIELD = {"final": "content", "analysis": "reasoning_content"}


class ChatAnswer:
    """A request to /v1/chat/completions under way; see `CompletionAnswer`."""

    def __init__(self, served: Served, request: Chat, prompt: list[int]) -> None:
        common = request.common
        s = common.sampling
        readers = [served.reader(s.stop, s.include_stop, chat=True) for _ in range(common.n)]
        self.request, self.served = request, served
        self.answer: Answer = begin(served, common, [prompt], kind="chatcmpl", readers=readers)
        self._messages: list[dict[str, Any]] = [{"role": "assistant", "content": ""} for _ in range(common.n)]
        self._tokens: list[list[int]] = [[] for _ in range(common.n)]
        self._logprobs: list[list[TokenLogprobs]] = [[] for _ in range(common.n)]
        self._finish: list[tuple[str | None, Any]] = [(None, None)] * common.n
        self._opened = [False] * common.n

    def take(self, output: Output) -> Iterator[str]:
        """Enter one output; yields the chunk it makes as JSON, if it makes one. Raises ApiError if it is a failure."""
        if output.finish == "error":
            raise failed(output)
        i, common = output.job.index, self.request.common
        delta: dict[str, Any] = {}
        for channel, piece in output.pieces:
            delta[FIELD[channel]] = delta.get(FIELD[channel], "") + piece
        message = self._messages[i]
        for key, piece in delta.items():
            message[key] = message.get(key, "") + piece
        tokens = [] if output.token is None else [output.token]
        self._tokens[i] += tokens
        self.answer.reasoning_tokens += output.channel == "analysis"
        entries = [output.logprobs] if output.logprobs and output.channel == TEXT else []
        self._logprobs[i] += entries
        self._finish[i] = (output.finish, output.stop)
        if not common.stream:
            return
        if not self._opened[i]:
            self._opened[i] = True
            delta = {"role": "assistant", "content": "", **delta}
        if not (delta or entries or output.finish or common.token_ids):
            return
        plain = not (entries or output.finish or common.token_ids or common.continuous_usage)
        if plain and len(delta) == 1 and "content" in delta:
            yield self.answer.chunk(i, delta["content"], self._text_chunk)
            return
        chunk = self._chunk(i, delta)
        choice = chunk["choices"][0]
        choice["logprobs"] = self._logprob_object(entries) if entries else None
        choice["finish_reason"] = output.finish
        if output.finish:
            choice["stop_reason"] = output.stop
        if common.token_ids:
            choice["token_ids"] = tokens
        self.answer.complete(chunk, output)
        yield as_json(chunk)

    def _chunk(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return {"object": "chat.completion.chunk", **self.answer.head, "choices": [choice]}

    def _text_chunk(self, index: int, text: str) -> dict[str, Any]:
        """A chunk with nothing but content."""
        return self._chunk(index, {"content": text})

    def _logprob_object(self, entries: list[TokenLogprobs]) -> dict[str, Any]:
        def one(token: int, value: float) -> dict[str, Any]:
            word = self.served.word(token)
            return {"token": word, "logprob": value, "bytes": list(word.encode())}

        wanted = self.request.common.sampling.logprobs
        return {
            "content": [
                {
                    **one(e.token, e.logprob),
                    "top_logprobs": [one(t, v) for t, v in top_with_chosen(e)] if wanted else [],
                }
                for e in entries
            ]
        }

    def end(self) -> dict[str, Any]:
        """The last chunk of a stream: usage, if asked for, and what the chip would have taken."""
        return {
            "object": "chat.completion.chunk",
            **self.answer.head,
            "choices": [],
            "usage": self.answer.usage() if self.request.common.include_usage else None,
            "tapeout": self.answer.extension(),
        }

    def whole(self) -> dict[str, Any]:
        """The response, once every sequence has ended."""
        choices = []
        for i, message in enumerate(self._messages):
            finish, stop = self._finish[i]
            wanted = self.request.common.sampling.logprobs is not None
            choice: dict[str, Any] = {
                "index": i,
                "message": {**message, "refusal": None},
                "logprobs": self._logprob_object(self._logprobs[i]) if wanted else None,
                "finish_reason": finish,
                "stop_reason": stop,
            }
            if self.request.common.token_ids:
                choice["token_ids"] = self._tokens[i]
            choices.append(choice)
        found = {
            "object": "chat.completion",
            **self.answer.head,
            "choices": choices,
            "usage": self.answer.usage(),
            "tapeout": self.answer.extension(),
        }
        if self.request.common.token_ids:
            found["prompt_token_ids"] = self.answer.prompts[0]
        return found
