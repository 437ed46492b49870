"""The ASGI application: routes, keys, limits, and the way of a request from its bytes to its answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tapeout.errors import InputError, MissingDependency, Phrase
from tapeout.files import parse_json
from tapeout.serving.endpoint import requests
from tapeout.serving.endpoint.chat import ChatAnswer
from tapeout.serving.endpoint.completions import CompletionAnswer
from tapeout.serving.endpoint.engine import EngineThread
from tapeout.serving.endpoint.errors import ApiError, bad_field
from tapeout.serving.endpoint.job import Call, Output
from tapeout.serving.endpoint.metrics import Metrics
from tapeout.serving.endpoint.scheduler import Scheduler
from tapeout.serving.endpoint.served import Served, as_json
from tapeout.serving.endpoint.settings import Settings
from tapeout.serving.endpoint.streaming import AnswerResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DISCARDED = 8  # times the limit of a body: read on and thrown away, so that the client gets to read the 413
THREADED_TEXT = 8192  # characters; longer prompts are encoded off the event loop
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
access = logging.getLogger("tapeout.access")


class Endpoint:
    """The state behind the routes: the model, its engine, and who is being served."""

    def __init__(self, served: Served, settings: Settings) -> None:
        self.served, self.settings = served, settings
        policy = served.chip.policy
        host_blocks = served.kv_blocks(settings.kv_gigabytes, policy.block_tokens)
        if host_blocks < policy.kv_blocks:
            policy = replace(policy, kv_blocks=max(host_blocks, 1))
        self.policy = policy
        self.metrics = Metrics(served.name, policy.kv_blocks)
        self.engine = EngineThread(
            served.backend, served.chip, Scheduler(policy), self.metrics, settings.pace
        )
        self.keys = [hashlib.sha256(k.encode()).digest() for k in settings.api_keys]
        self.draining = False
        self.outstanding = 0  # sequences accepted and not ended
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- life ---------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The engine runs as long as the application."""
        self._loop = asyncio.get_running_loop()
        self.engine.post = self._post
        self.engine.start()
        try:
            yield
        finally:
            self.draining = True
            await asyncio.to_thread(self.engine.close, True)

    def _post(self, batch: list[tuple[Call, list[Output]]]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_dispatch, batch)

    # --- admission ----------------------------------------------------------------------------------

    def authorise(self, request: Request) -> None:
        """Raise a 401 unless no key is asked for or the right one is given."""
        if not self.keys:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(key.strip().encode("latin-1", "replace")).digest()
        matches = [hmac.compare_digest(given, known) for known in self.keys]
        if scheme.lower() != "bearer" or not any(matches):
            told = "Incorrect API key provided." if key else "You didn't provide an API key."
            raise ApiError(401, told, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    def admit(self, call: Call) -> None:
        """Queue a call. Raises a 429 when the queue is full, a 400 for what could never run."""
        limit = self.policy.max_sequences + self.settings.max_waiting
        n = len(call.all)
        if n > limit:
            raise ApiError(400, f"{n} sequences in one request, expected at most {limit}", "n")
        blocks = Scheduler(self.policy)
        for job in call.jobs:
            size = len(job.family)
            need = blocks.blocks_of(len(job.prompt) + job.max_tokens) * size
            if size > self.policy.max_sequences:
                raise ApiError(400, f"n: found {size}, expected at most {self.policy.max_sequences}", "n")
            if need > self.policy.kv_blocks:
                have = self.policy.kv_blocks * self.policy.block_tokens
                raise ApiError(
                    400, f"the request needs more than the {have} tokens of KV cache", "max_tokens",
                    "context_length_exceeded",
                )  # fmt: skip
        if self.outstanding + n > limit:
            headers = {"Retry-After": str(self._retry_after())}
            raise ApiError(
                429, "The server is busy; retry later.", code="rate_limit_exceeded", headers=headers
            )
        self.outstanding += n
        self.metrics.accepted(n // len(call.jobs))
        self.engine.submit(call)

    def _retry_after(self) -> int:
        """Seconds until a good part of the queue will have gone, from how long requests have taken lately."""
        h = self.metrics.histograms["vllm:request_inference_time_seconds"]
        done = sum(h.counts)
        mean = h.total / done if done else 1.0
        return max(1, min(math.ceil(mean * self.outstanding / self.policy.max_sequences / 2), 60))

    # --- routes -------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        """200 while the engine runs, 503 when it does not or the server is shutting down."""
        if self.draining or not self.engine.alive:
            raise _unavailable()
        return Response(status_code=200)

    async def show_metrics(self, request: Request) -> Response:
        """Prometheus text."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _card(self) -> dict[str, Any]:
        s = self.served
        return {
            "id": s.name,
            "object": "model",
            "created": s.created,
            "owned_by": "tapeout",
            "root": s.name,
            "parent": None,
            "max_model_len": s.model.context,
            "tapeout": {"chip": s.chip.target.name, "chips": s.chip.target.chips, "plan": s.plan},
        }

    async def models(self, request: Request) -> Response:
        """The one model."""
        self.authorise(request)
        return _json({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """The one model, by name."""
        self.authorise(request)
        name = request.path_params["name"]
        if name != self.served.name:
            raise ApiError(404, f"The model {name[:100]!r} does not exist", "model", "model_not_found")
        return _json(self._card())

    async def completions(self, request: Request) -> Response:
        """/v1/completions."""
        body = await self._body(request)
        wanted = requests.completion(body, self.served, self.settings.max_tokens)
        prompts = [
            list(p) if isinstance(p, tuple) else await self._encode(p, wanted.special_tokens)
            for p in wanted.prompts
        ]
        return self._answer(request, CompletionAnswer(self.served, wanted, prompts))

    async def chat(self, request: Request) -> Response:
        """/v1/chat/completions."""
        body = await self._body(request)
        wanted = requests.chat(body, self.served)
        size = sum(len(str(m.get("content"))) for m in wanted.messages)
        if size > self.served.longest_token * self.served.model.context:
            raise self._too_long("messages")
        if size > THREADED_TEXT:
            prompt = await asyncio.to_thread(self.served.chat, wanted.messages, wanted.effort)
        else:
            prompt = self.served.chat(wanted.messages, wanted.effort)
        return self._answer(request, ChatAnswer(self.served, wanted, prompt))

    async def _encode(self, text: str, special_tokens: bool) -> list[int]:
        if self.served.too_long(text):
            raise self._too_long("prompt")
        if len(text) > THREADED_TEXT:
            return await asyncio.to_thread(self.served.encode, text, special_tokens)
        return self.served.encode(text, special_tokens)

    def _too_long(self, param: str) -> ApiError:
        context = self.served.model.context
        told = f"This model's maximum context length is {context} tokens; the text is longer."
        return ApiError(400, told, param, "context_length_exceeded")

    def _answer(self, request: Request, answer: CompletionAnswer | ChatAnswer) -> Response:
        if self.draining:
            raise _unavailable()
        call = answer.answer.call
        self.admit(call)
        return AnswerResponse(self, answer, request)

    def release(self, call: Call) -> None:
        """A call's response is over; what it left unfinished is given up."""
        self.outstanding -= len(call.all)
        if not all(job.ended for job in call.all):
            self.engine.abort(call)

    async def _body(self, request: Request) -> dict[str, Any]:
        """The JSON object that was sent, whole and in time."""
        self.authorise(request)
        kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, f"Content-Type: found {kind[:80]!r}, expected 'application/json'")
        limit, size = self.settings.body_bytes, 0
        parts = []
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size <= limit:
                        parts.append(part)
                    elif size > limit * DISCARDED:
                        break
        except TimeoutError:
            if size <= limit:
                told = f"the request body took longer than {self.settings.body_seconds:g} s"
                raise ApiError(408, told, headers={"Connection": "close"}) from None
        if size > limit:
            told = f"the request body is larger than {limit} bytes"
            raise ApiError(413, told, headers={"Connection": "close"})
        try:
            text = b"".join(parts).decode("utf-8")
        except UnicodeDecodeError as e:
            raise InputError(
                "request", f"byte {e.start}", Phrase("bytes that are not UTF-8"), "JSON"
            ) from None
        body = parse_json(text, "request")
        requests.check_text(body)
        return body


def _dispatch(batch: list[tuple[Call, list[Output]]]) -> None:
    for call, outputs in batch:
        call.put(outputs)


def _unavailable() -> ApiError:
    return ApiError(503, "The server is shutting down.", headers={"Retry-After": "5", "Connection": "close"})


def _json(value: Any, status: int = 200) -> Response:
    return Response(as_json(value), status, media_type="application/json")


def error_response(e: ApiError) -> Response:
    """An error as a response."""
    return Response(e.body, e.status, headers=e.headers, media_type="application/json")


def _as_api_error(e: Exception) -> ApiError:
    if isinstance(e, ApiError):
        return e
    if isinstance(e, InputError):
        return bad_field(e)
    if isinstance(e, HTTPException):
        return ApiError(e.status_code, str(e.detail), headers=e.headers)
    if isinstance(e, MissingDependency):
        return ApiError(400, str(e))
    return ApiError(500, "The server had an error while processing the request.", code="internal_error")


class Access:
    """Around the application: an id for each request, errors as OpenAI's objects, one log line each."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0
        given = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"x-request-id"), "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(12)
        scope.setdefault("state", {})["fields"] = fields = {"request": request_id}

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                self.metrics.response(status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            access.info(
                "request",
                extra={
                    "fields": {
                        **fields,
                        "client": (scope.get("client") or ("",))[0],
                        "method": scope["method"],
                        "path": scope["path"][:200],
                        "status": status,
                        "seconds": round(time.monotonic() - began, 6),
                    }
                },
            )


def make_app(served: Served, settings: Settings) -> Access:
    """The endpoint as an ASGI application, for any ASGI server. Its engine runs between lifespan's startup and
    shutdown; `endpoint` of the application is its state."""
    endpoint = Endpoint(served, settings)

    async def on_error(request: Request, e: Exception) -> Response:
        told = _as_api_error(e)
        if told.status == 500:
            logging.getLogger(__name__).error("request failed", exc_info=e)
        return error_response(told)

    app = Starlette(
        routes=[
            Route("/health", endpoint.health),
            Route("/ping", endpoint.health, methods=["GET", "POST"]),
            Route("/metrics", endpoint.show_metrics),
            Route("/v1/models", endpoint.models),
            Route("/v1/models/{name:path}", endpoint.model),
            Route("/v1/completions", endpoint.completions, methods=["POST"]),
            Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
        ],
        lifespan=endpoint.lifespan,
        exception_handlers={
            ApiError: on_error,
            InputError: on_error,
            HTTPException: on_error,
            MissingDependency: on_error,
            Exception: on_error,
        },
    )
    found = Access(app, endpoint.metrics)
    found.endpoint = endpoint  # type: ignore[attr-defined]
    return found
