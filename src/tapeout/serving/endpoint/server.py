"""Running the endpoint: the HTTP server (uvicorn) with the limits that clients of the open internet need."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tapeout.errors import InputError, MissingDependency, Phrase, TapeoutError
from tapeout.serving.endpoint.settings import Settings

if TYPE_CHECKING:
    import uvicorn

    from tapeout.serving.endpoint.app import Endpoint

SWITCH_SECONDS = 5e-5  # the engine must not wait for the event loop; Python's default is 5 ms
KEEP_ALIVE_SECONDS = 75


def _protocol(settings: Settings) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1 protocol with a time limit on headers, a limit on connections, and JSON errors."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "abort": transport.abort}
            if len(self.connections) > settings.connections:
                transport.abort()
                return
            self._arm()

        def _arm(self) -> None:
            if self._timer is None:
                self._timer = self.loop.call_later(settings.header_seconds, self._late)

        def _disarm(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _late(self) -> None:
            """Headers did not come in time."""
            self._timer = None
            if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
                self._refuse(408, f"request headers took longer than {settings.header_seconds:g} s")

        def data_received(self, data: bytes) -> None:
            if self.conn.their_state is h11.IDLE:
                self._arm()  # the next request of a kept connection begins
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._disarm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def send_400_response(self, msg: str) -> None:
            self._refuse(400, msg)

        def _refuse(self, status: int, message: str) -> None:
            from tapeout.serving.endpoint.errors import ApiError

            self._disarm()
            if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE) or (
                self.cycle is not None and not self.cycle.response_complete
            ):
                self.transport.abort()  # an answer is on its way: nothing else can be said
                return
            body = ApiError(status, message).body
            head = (
                f"HTTP/1.1 {status} {'Bad Request' if status == 400 else 'Request Timeout'}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

    return Protocol


def _bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises InputError if the address cannot be had."""
    try:
        info = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        found = socket.socket(info[0], socket.SOCK_STREAM)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(info[4])
            found.listen(2048)  # from here on clients are let in, once the model is there
        except BaseException:
            found.close()
            raise
    except (OSError, UnicodeError, OverflowError) as e:
        why = getattr(e, "strerror", None) or str(e)
        raise InputError("--host, --port", "", Phrase(f"{host}:{port}: {why}"), "a free address") from None
    return found


class Running:
    """An endpoint that serves in a thread: `url` is its root, `endpoint` its state."""

    def __init__(self, url: str, endpoint: Endpoint, server: uvicorn.Server) -> None:
        self.url, self.endpoint, self.server = url, endpoint, server


def _server(settings: Settings) -> tuple[uvicorn.Server, Endpoint, socket.socket]:
    try:
        import h11  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError:
        raise MissingDependency("the endpoint", "serve") from None
    from tapeout.serving.endpoint.app import make_app
    from tapeout.serving.endpoint.served import Served

    listener = _bind(settings.host, settings.port)
    try:
        app = make_app(Served.load(settings), settings)
    except BaseException:
        listener.close()
        raise
    config = uvicorn.Config(
        app,
        http=_protocol(settings),
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(int(settings.drain_seconds), 1),
    )
    endpoint: Endpoint = app.endpoint  # type: ignore[attr-defined]

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            endpoint.draining = True
            await super().shutdown(sockets)

    return Server(config), endpoint, listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(settings: Settings | None = None, **changes: Any) -> None:
    """Serve until SIGINT or SIGTERM, then finish what is under way. `changes` are fields of `Settings`.

    Raises InputError for settings, models and addresses that cannot be, MissingDependency without the `serve`
    extra. On a second SIGINT streams are dropped.
    """
    from tapeout.serving.endpoint import logs

    chosen = replace(settings or Settings(), **changes)
    logs.configure(chosen.log_level)
    server, endpoint, listener = _server(chosen)
    target = endpoint.served.chip.target
    logging.getLogger(__name__).info(
        "serving",
        extra={
            "fields": {
                "url": _url(listener),
                "model": endpoint.served.name,
                "chip": target.name,
                "chips": target.chips,
                "plan": chosen.plan,
                "keys": len(chosen.api_keys),
            }
        },
    )
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    # uvicorn raises the signal that ended it again once everything is closed; that is no failure
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            server.run([listener])
    finally:
        signal.signal(signal.SIGTERM, previous)
        sys.setswitchinterval(before)


@contextlib.contextmanager
def running(settings: Settings | None = None, **changes: Any) -> Iterator[Running]:
    """An endpoint that serves within the `with` block, on a free port unless one is chosen.

    >>> with running(max_sequences=8) as endpoint:
    ...     print(endpoint.url)
    """
    chosen = replace(settings or Settings(port=0), **changes)
    server, endpoint, listener = _server(chosen)
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    failure: list[BaseException] = []

    def work() -> None:
        try:
            server.run([listener])
        except BaseException as e:
            failure.append(e)

    thread = threading.Thread(target=work, name="tapeout-http", daemon=True)
    thread.start()
    try:
        while not server.started:
            if failure or not thread.is_alive():
                raise TapeoutError(f"the endpoint did not start: {failure[0] if failure else 'see its log'}")
            time.sleep(0.005)
        yield Running(_url(listener), endpoint, server)
    finally:
        server.should_exit = True
        thread.join()
        sys.setswitchinterval(before)
        listener.close()
