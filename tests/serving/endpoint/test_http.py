"""Keys, limits, metrics, errors, disconnects, shutdown: everything around the answers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from tapeout.serving.endpoint.server import Running, running
from tapeout.serving.endpoint.settings import Settings

BODY = {"model": "demo", "prompt": "In the beginning", "max_tokens": 4, "temperature": 0}

HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def send(
    at: Running, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request; (status, headers, body)."""
    split = urlsplit(at.url)
    with closing(http.client.HTTPConnection(split.hostname or "", split.port, timeout=30)) as connection:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        base = {"content-type": "application/json"} if data is not None else {}
        connection.request(method, path, data, {**base, **(headers or {})})
        response = connection.getresponse()
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def error(reply: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, Any]]:
    """Status and error object."""
    return reply[0], json.loads(reply[2])["error"]


@contextmanager
def raw(at: Running) -> Iterator[socket.socket]:
    """A connection to write bytes to."""
    split = urlsplit(at.url)
    with socket.create_connection((split.hostname, split.port), timeout=30) as connection:
        yield connection


def settled(at: Running, seconds: float = 10.0) -> bool:
    """Whether nothing is left in the engine, within some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not at.endpoint.outstanding and not at.endpoint.engine.scheduler.busy:
            return True
        time.sleep(0.02)
    return False


def test_models(endpoint: Running, client: Any) -> None:
    (model,) = client.models.list().data
    assert model.id == "demo" and model.max_model_len == 1024 and client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_health_and_unknown_paths(endpoint: Running) -> None:
    assert send(endpoint, "GET", "/health")[0] == 200
    status, told = error(send(endpoint, "GET", "/v2/models"))
    assert status == 404 and told["type"] == "not_found_error"
    status, told = error(send(endpoint, "GET", "/v1/completions"))
    assert status == 405 and told["message"]
    assert (
        error(send(endpoint, "POST", "/v1/completions", b"hello", {"content-type": "text/plain"}))[0] == 415
    )


def test_request_ids_are_kept_or_made(endpoint: Running) -> None:
    assert send(endpoint, "GET", "/health", headers={"x-request-id": "abc-1"})[1]["x-request-id"] == "abc-1"
    made = send(endpoint, "GET", "/health", headers={"x-request-id": "a b\u00e9"})[1]["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{24}", made)


def test_metrics_have_vllm_s_names_and_count(endpoint: Running) -> None:
    def values() -> dict[str, float]:
        text = send(endpoint, "GET", "/metrics")[2].decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r'[a-z_:0-9]+\{([a-z_]+="[^"]*",?)*\} [-+.e0-9]+', line) for line in lines), (
            lines
        )
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}

    assert settled(endpoint)
    before = values()
    assert send(endpoint, "POST", "/v1/completions", BODY)[0] == 200
    after = values()
    label = '{model_name="demo",engine="0"}'

    def grew(name: str, labels: str = label) -> float:
        return after[name + labels] - before.get(name + labels, 0)

    assert grew("vllm:generation_tokens_total") == 4
    assert grew("vllm:time_to_first_token_seconds_count") == 1
    assert grew("vllm:inter_token_latency_seconds_count") == 3
    assert grew("vllm:e2e_request_latency_seconds_count") == 1
    assert grew("tapeout:chip_time_to_first_token_seconds_count") == 1
    assert grew("tapeout:chip_joules_total") > 0
    assert grew("vllm:request_success_total", '{model_name="demo",engine="0",finished_reason="length"}') == 1
    assert after["vllm:num_requests_running" + label] == after["vllm:num_requests_waiting" + label] == 0
    buckets = [v for k, v in after.items() if k.startswith("vllm:e2e_request_latency_seconds_bucket")]
    assert (
        buckets == sorted(buckets) and buckets[-1] == after["vllm:e2e_request_latency_seconds_count" + label]
    )


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b'"x"', b"{}", b"\xff\xfe", b'{"prompt": NaN}', b'{"prompt": "a", "prompt": "b"}',
        b'{"prompt":' + b"[" * 100_000, b'{"max_tokens":' + b"9" * 5000 + b"}", b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "max_tokens": 1e400}',
    ],
)  # fmt: skip
def test_bodies_that_are_no_request(endpoint: Running, body: bytes) -> None:
    status, told = error(send(endpoint, "POST", "/v1/completions", body))
    assert status == 400 and told["type"] == "invalid_request_error" and told["message"]


def test_a_body_may_not_be_too_large(endpoint: Running) -> None:
    large = endpoint.endpoint.settings.body_bytes + 1
    assert error(send(endpoint, "POST", "/v1/completions", b" " * large))[0] == 413
    with raw(endpoint) as connection:  # announced without a length: found out while it comes
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        try:
            for _ in range(large // 65536 + 2):
                connection.sendall(chunk)
        except OSError:
            pass  # the answer came first
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_slow_senders_are_told_and_cut_off(endpoint: Running) -> None:
    with raw(endpoint) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost:")
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
        assert reply.startswith(b"HTTP/1.1 408") and b"timeout_error" in reply
    with raw(endpoint) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
        )
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
        assert reply.startswith(b"HTTP/1.1 408") and b"timeout_error" in reply


def test_what_is_not_http_gets_an_error_object(endpoint: Running) -> None:
    with raw(endpoint) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        reply = b"".join(iter(lambda: connection.recv(4096), b""))
    assert (
        reply.startswith(b"HTTP/1.1 400") and json.loads(reply.partition(b"\r\n\r\n")[2])["error"]["message"]
    )


def stream_then_leave(at: Running, body: dict[str, Any]) -> None:
    """Read the beginning of a stream and close the connection."""
    data = json.dumps({**BODY, **body, "stream": True}).encode()
    with raw(at) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(data) + data)
        assert b"200 OK" in connection.recv(200)


def test_a_client_that_leaves_frees_its_place(endpoint: Running) -> None:
    metrics = endpoint.endpoint.metrics
    assert settled(endpoint)
    before = metrics.finished["abort"]
    stream_then_leave(endpoint, {"max_tokens": 1000, "ignore_eos": True, "n": 4})
    assert settled(endpoint, 2.0)
    assert metrics.finished["abort"] == before + 4
    # one that is not streaming is noticed too
    data = json.dumps({**BODY, "max_tokens": 1000, "ignore_eos": True}).encode()
    with raw(endpoint) as connection:
        connection.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(data) + data)
        while not endpoint.endpoint.outstanding:
            time.sleep(0.005)
    assert settled(endpoint, 2.0)
    until = time.monotonic() + 2.0
    while metrics.finished["abort"] < before + 5 and time.monotonic() < until:
        time.sleep(0.005)  # it is counted after its place is free
    assert metrics.finished["abort"] == before + 5


def test_keys() -> None:
    with running(Settings(port=0, threads=1, log_level="error", api_keys=("first", "second"))) as at:

        def status(header: str | None) -> int:
            headers = {} if header is None else {"authorization": header}
            codes = {
                send(at, "GET", "/v1/models", headers=headers)[0],
                send(at, "POST", "/v1/completions", BODY, headers)[0],
            }
            (code,) = codes
            return code

        assert status("Bearer first") == status("bearer second") == 200
        for bad in (
            None,
            "",
            "Bearer",
            "Bearer third",
            "Basic first",
            "Bearer first second",
            "Bearer \u00e9",
        ):
            assert status(bad) == 401
        reply = send(at, "GET", "/v1/models")
        assert error(reply)[1]["code"] == "invalid_api_key" and reply[1]["www-authenticate"] == "Bearer"
        assert send(at, "GET", "/health")[0] == send(at, "GET", "/metrics")[0] == 200
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=at.url + "/v1", api_key="wrong", max_retries=0).models.list()


def test_back_pressure_timeouts_and_shutdown() -> None:
    """At a pace that makes every step last, so that there is something to refuse, to time out and to wait for."""
    settings = Settings(
        port=0, threads=1, log_level="error", max_sequences=2, max_step_tokens=64, max_waiting=1, pace=3000.0,
        request_seconds=2.0,
    )  # fmt: skip
    long = {**BODY, "max_tokens": 500, "ignore_eos": True}
    replies: list[tuple[int, dict[str, str], bytes]] = []
    with running(settings) as at:

        def ask(body: dict[str, Any]) -> threading.Thread:
            thread = threading.Thread(
                target=lambda: replies.append(send(at, "POST", "/v1/completions", body))
            )
            thread.start()
            return thread

        threads = [ask({**long, "stream": True})]
        for body in (long, long):
            while at.endpoint.outstanding < len(threads):
                time.sleep(0.005)
            threads.append(ask(body))
        while at.endpoint.outstanding < 3:
            time.sleep(0.005)
        refused = send(at, "POST", "/v1/completions", BODY)
        assert error(refused)[0] == 429 and error(refused)[1]["type"] == "rate_limit_error"
        assert 1 <= int(refused[1]["retry-after"]) <= 60
        status, told = error(send(at, "POST", "/v1/completions", {**BODY, "n": 4}))
        assert status == 400 and told["param"] == "n"
        for thread in threads:
            thread.join()
        assert sorted(r[0] for r in replies) == [200, 504, 504]
        for status, _, body in replies:
            last = body.decode().strip().split("\n\n")
            told = json.loads(last[0] if status == 504 else last[-2].removeprefix("data: "))["error"]
            assert told["type"] == "timeout_error" and (status == 504 or last[-1] == "data: [DONE]")
        assert settled(at)
        replies.clear()
        thread = ask({**BODY, "max_tokens": 40, "ignore_eos": True, "stream": True})
        while at.endpoint.engine.scheduler.used_sequences == 0:
            time.sleep(0.005)
        at.server.should_exit = True
        while not at.endpoint.draining:
            time.sleep(0.005)
        with pytest.raises(OSError):  # nobody new is let in
            while True:
                send(at, "GET", "/health")
        thread.join()
    events = replies[0][2].decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert json.loads(events[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == "length"
