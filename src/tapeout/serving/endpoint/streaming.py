"""Sending an answer, streamed as server-sent events or whole, while watching whether the client is still there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from tapeout.serving.endpoint.chat import ChatAnswer
from tapeout.serving.endpoint.completions import CompletionAnswer
from tapeout.serving.endpoint.errors import ApiError
from tapeout.serving.endpoint.served import as_json

if TYPE_CHECKING:
    from tapeout.serving.endpoint.app import Endpoint

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class AnswerResponse(Response):
    """The response to a request whose call has been queued. However it ends, the call is released."""

    def __init__(self, endpoint: Endpoint, answer: CompletionAnswer | ChatAnswer, request: Request) -> None:
        super().__init__()
        self.endpoint, self.answer, self.request = endpoint, answer, request

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""
        call = self.answer.answer.call
        stream = self.answer.request.common.stream
        writer = asyncio.ensure_future(self._stream(send) if stream else self._whole(send))
        watcher = asyncio.ensure_future(_gone(receive))
        try:
            if await self._watch(writer, watcher):
                writer.result()
            elif not watcher.done() and self._sending is None:
                await self._too_late(writer, send)
            elif not watcher.done():  # the client does not read: nothing can be said to it
                scope.get("state", {}).get("abort", lambda: None)()
        finally:
            watcher.cancel()
            writer.cancel()
            await asyncio.gather(writer, watcher, return_exceptions=True)
            self.endpoint.release(call)
            self._note(scope)

    async def _watch(self, writer: asyncio.Future[None], watcher: asyncio.Future[None]) -> bool:
        """Wait for the answer's end; False if the client goes, stops reading, or the answer takes too long."""
        limits = self.endpoint.settings
        loop = asyncio.get_running_loop()
        end = loop.time() + limits.request_seconds
        while (left := end - loop.time()) > 0:
            wait = min(left, limits.stall_seconds / 2)
            await asyncio.wait({writer, watcher}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if writer.done() or watcher.done():
                return writer.done()
            if self._sending is not None and loop.time() - self._sending > limits.stall_seconds:
                return False
        return False

    def _note(self, scope: Any) -> None:
        """Figures for the log line."""
        fields = scope.get("state", {}).get("fields", {})
        usage = self.answer.answer.usage()
        fields |= {k: usage[k] for k in ("prompt_tokens", "completion_tokens")}
        jobs = self.answer.answer.call.all
        fields["cached_tokens"] = usage["prompt_tokens_details"]["cached_tokens"]
        fields["finished"] = all(job.ended for job in jobs)
        fields["chip_joules"] = sum(job.ledger.joules for job in jobs)

    async def _too_late(self, writer: asyncio.Future[None], send: Send) -> None:
        """The request has taken longer than it may: say so, as a status if none was sent yet."""
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)
        error = ApiError(504, f"the request took longer than {self.endpoint.settings.request_seconds:g} s")
        if self._begun:
            await self._event(send, error.object)
            await self._finish(send)
        else:
            await Response(error.body, error.status, media_type="application/json")(
                self.request.scope, self.request.receive, send
            )  # fmt: skip

    _begun = False
    _sending: float | None = None  # when the send under way began

    async def _whole(self, send: Send) -> None:
        async for outputs in self.answer.answer.call.outputs():
            for output in outputs:
                for _ in self.answer.take(output):
                    raise AssertionError("a chunk of an answer that is not streamed")
        body = as_json(self.answer.whole()).encode()
        self._begun = True
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send(send, body, more=False)

    async def _stream(self, send: Send) -> None:
        try:
            async for outputs in self.answer.answer.call.outputs():
                chunks = [chunk for output in outputs for chunk in self.answer.take(output)]
                if not self._begun:
                    self._begun = True
                    await send({"type": "http.response.start", "status": 200, "headers": EVENT_STREAM})
                if chunks:
                    await self._send(send, "".join(f"data: {c}\n\n" for c in chunks).encode())
        except ApiError as e:
            if not self._begun:
                raise
            await self._event(send, e.object)
        else:
            if self.answer.request.common.include_usage:
                await self._event(send, self.answer.end())
        await self._finish(send)

    async def _event(self, send: Send, value: Any) -> None:
        await self._send(send, b"data: %s\n\n" % as_json(value).encode())

    async def _finish(self, send: Send) -> None:
        await self._send(send, b"data: [DONE]\n\n", more=False)

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        self._sending = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending = None


async def _gone(receive: Callable[[], Awaitable[Message]]) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
