"""A thousand hostile requests, while others are being served."""

from __future__ import annotations

import gc
import json
import random
import socket
import threading
import time
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from tapeout.serving.endpoint.errors import TYPES
from tapeout.serving.endpoint.server import Running

COUNT = 1000
GOOD = {"model": "demo", "prompt": "And God said", "max_tokens": 30, "temperature": 0, "ignore_eos": True}


def body(rng: random.Random) -> bytes:
    """Something that is sent as a request."""
    kind = rng.randrange(9)
    if kind == 0:
        return rng.randbytes(rng.randrange(200))
    good = json.dumps(GOOD).encode()
    if kind == 1:  # malformed JSON
        at = rng.randrange(len(good))
        return good[:at] + bytes([rng.randrange(256)]) + good[at + rng.randrange(2) :]
    if kind == 2:  # wrong types
        key = rng.choice(
            [*GOOD, "n", "stop", "seed", "logprobs", "logit_bias", "stream", "top_p", "stream_options"]
        )
        value = rng.choice(
            [None, True, -1, 0, 1.5, 1e300, "x", "", [], {}, [[]], {"a": {}}, [None], "9" * 50, 2**70]
        )
        return json.dumps({**GOOD, key: value}).encode()
    if kind == 3:  # invalid UTF-8 and half surrogates
        return good.replace(b"And", rng.choice([b"\xff\xfe", b"\xc3\x28", b"\\ud800", b"\xed\xa0\x80"]))
    if kind == 4:  # nesting, numbers, keys
        return rng.choice(
            [b"[" * 50_000, b'{"a":' * 20_000, b"9" * 6000, b'{"prompt":"a","prompt":"b"}', b"NaN"]
        )
    if kind == 5:  # too much asked for
        return json.dumps(
            {**GOOD, rng.choice(["max_tokens", "n", "logprobs"]): 10 ** rng.randrange(3, 15)}
        ).encode()
    if kind == 6:  # tokens that are none, very long prompts
        return json.dumps(
            {**GOOD, "prompt": rng.choice([[-1], [10**9], ["a", 1], "x" * 100_000, [1] * 5000])}
        ).encode()
    if kind == 7:
        return b'{"prompt": "' + b"\\u0000" * 100 + b'", "max_tokens": 2, "unknown": 1}'
    return b" " * rng.randrange(1, 100_000)


def attack(at: Running, seed: int) -> int:
    """One hostile connection; the status that it got, 0 for none."""
    rng = random.Random(seed)
    split = urlsplit(at.url)
    path = rng.choice(
        ["/v1/completions", "/v1/chat/completions", "/v1/completions", "/", "/v1/models/%ff%00"]
    )
    data = body(rng)
    length = len(data)
    method = rng.choice(["POST"] * 8 + ["GET", "PUT", "BREW"])
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    manner = rng.randrange(8)
    with socket.create_connection((split.hostname, split.port), timeout=20) as connection:
        try:
            if manner == 0:  # leaves in the middle of a stream
                data = json.dumps(
                    {**GOOD, "stream": True, "max_tokens": 200, "n": rng.choice((1, 3))}
                ).encode()
                head = head.replace(f"{method} {path}", "POST /v1/completions", 1)
                connection.sendall(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
                got = connection.recv(rng.randrange(20, 2000))
                return int(got.split(b" ")[1])
            if manner == 1:  # leaves in the middle of the body
                connection.sendall(f"{head}content-length: {length + 10}\r\n\r\n".encode() + data)
                return 0
            if manner == 2 and seed % 10 == 0:  # sends slowly, for longer than it may
                for byte in f"{head}content-length: 40\r\n\r\n{{".encode():
                    connection.sendall(bytes([byte]))
                    time.sleep(0.003)
            elif manner == 3:  # no HTTP
                connection.sendall(rng.randbytes(rng.randrange(1, 300)) + b"\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
            elif manner == 4:  # lies about the length
                wrong = rng.choice(["-5", "abc", "9" * 30, str(1 << 40), f"{length}, {length + 1}"])
                connection.sendall(f"{head}content-length: {wrong}\r\n\r\n".encode() + data[:100])
                connection.shutdown(socket.SHUT_WR)
            elif manner == 5:  # bad chunks, absurd headers
                extra = rng.choice(
                    ["transfer-encoding: chunked\r\n\r\nzz\r\n", "x: " + "y" * 80_000 + "\r\n\r\n"]
                )
                connection.sendall((head + extra).encode())
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.sendall(
                    f"{head}content-length: {length}\r\nconnection: close\r\n\r\n".encode() + data
                )
            got = connection.recv(100)
            return int(got.split(b" ")[1]) if got else 0
        except (ConnectionError, TimeoutError):
            return 0


def test_nothing_is_lost_leaked_or_changed(endpoint: Running, client: object) -> None:
    good = {k: v for k, v in GOOD.items() if k != "ignore_eos"}

    def ask() -> str:
        found = client.completions.create(**good, extra_body={"ignore_eos": True})  # type: ignore[attr-defined]
        return str(found.choices[0].text)

    def storm(seeds: range) -> Counter[int]:
        with ThreadPoolExecutor(8) as pool:
            return Counter(pool.map(lambda s: attack(endpoint, s), seeds))

    expected = ask()
    storm(range(COUNT, COUNT + 100))  # caches fill
    results: list[str] = []
    over = threading.Event()

    def others() -> None:
        while not over.is_set():
            results.append(ask())

    witnesses = [threading.Thread(target=others) for _ in range(2)]
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    began = time.monotonic()
    for w in witnesses:
        w.start()
    statuses = storm(range(COUNT))
    over.set()
    for w in witnesses:
        w.join()
    assert time.monotonic() - began < 300
    assert set(statuses) <= {0, 200, *TYPES} - {500, 504}, statuses
    assert statuses[400] > 100 and statuses[200] > 50
    assert results and set(results) == {expected}
    end = time.monotonic() + 10
    engine = endpoint.endpoint.engine
    while (endpoint.endpoint.outstanding or engine.scheduler.busy) and time.monotonic() < end:
        time.sleep(0.05)
    assert endpoint.endpoint.outstanding == 0 and not engine.scheduler.busy and engine.scheduler.used == 0
    while len(endpoint.server.server_state.connections) > 1 and time.monotonic() < end:
        time.sleep(0.05)  # the client's own connection is kept
    assert len(endpoint.server.server_state.connections) <= 3
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    held = sum(s.nbytes for s, _, ended in engine.scheduler.prefixes._held.values() if ended)
    assert grown < held + 8 * 2**20, f"{grown} bytes, of which {held} in the prefix cache"
    assert ask() == expected


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_survives_its_neighbours(endpoint: Running, client: object, seed: int) -> None:
    """Chunks of one stream while others come and go in the same batch."""
    options = {
        **{k: v for k, v in GOOD.items() if k != "ignore_eos"},
        "max_tokens": 100,
        "seed": seed,
        "temperature": 1,
    }
    alone = client.completions.create(**options)  # type: ignore[attr-defined]
    with ThreadPoolExecutor(6) as pool:
        waves = pool.map(lambda s: attack(endpoint, 8 * s), range(40))
        chunks = client.completions.create(**options, stream=True)  # type: ignore[attr-defined]
        assert "".join(c.choices[0].text for c in chunks) == alone.choices[0].text
        list(waves)
